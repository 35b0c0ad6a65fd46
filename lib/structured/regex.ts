// A JavaScript regular expression as a language. @eslint-community/regexpp reads the syntax.
//   quantifiers, groups, classes, \d \w \s, \u{…}, \p{…}, ., alternatives anywhere; ^ and $ at the ends of a pattern's alternatives;
//   (?=X) and (?!X) there too, outside groups: what follows, L, becomes L ∩ X·all, or L less X·all.
// Which of several ways to match is taken does not matter to what is matched, so lazy quantifiers are as greedy ones.

import { RegExpParser, type AST } from '@eslint-community/regexpp'
import { LlavaError } from '../errors.js'
import { anyCodePoint, CodePoints, type Writer } from './code-points.js'
import type { Language, Languages } from './language.js'
import { placeOf, unsupported } from './unsupported.js'

export interface RegexOptions {
  readonly languages: Languages
  /** How a character is written. */
  readonly write: Writer
  /** The option or JSON pointer that it stands at, for errors. */
  readonly where: string
  /** What may stand before and after a match; nothing where it is the whole text. */
  readonly around: 'nothing' | 'anything'
}

/** Throws INVALID_ARGUMENT for what is no pattern, and for what is not supported. @param flags as of a RegExp */
export function regexLanguage(source: string, flags: string, options: RegexOptions): Language {
  for (const flag of ['i', 'm'])
    if (flags.includes(flag)) throw unsupported(`the flag \`${flag}\` of a pattern`, options.where)
  const open = options.around === 'anything'
  return new Compiler(flags.includes('s'), options).pattern(parsed(source, flags, options.where).alternatives, {
    openStart: open,
    openEnd: open,
  })
}

/** As code points (`u`), which JSON Schema asks for; patterns that are none by those stricter rules as they were of old. */
function parsed(source: string, flags: string, where: string): AST.Pattern {
  const parser = new RegExpParser()
  const parse = (unicode: boolean) => parser.parsePattern(source, 0, source.length, { unicode })
  try {
    if (flags.includes('v')) return parser.parsePattern(source, 0, source.length, { unicodeSets: true })
    try {
      return parse(true)
    } catch (error) {
      if (flags.includes('u')) throw error
      return parse(false)
    }
  } catch (cause) {
    throw new LlavaError('INVALID_ARGUMENT', `${placeOf(where)}: ${JSON.stringify(source)} is no regular expression`, {
      cause,
    })
  }
}

/** What stands for one character. */
type SetNode =
  | AST.CharacterClassElement
  | AST.CharacterClass
  | AST.CharacterSet
  | AST.ExpressionCharacterClass
  | AST.ExpressionCharacterClass['expression']
  | AST.ClassSetOperand

/** Where other text may stand around an alternative. */
interface Edges {
  readonly openStart: boolean
  readonly openEnd: boolean
}

class Compiler {
  readonly #languages: Languages
  readonly #options: RegexOptions
  readonly #any: Language
  readonly #dot: CodePoints

  constructor(dotAll: boolean, options: RegexOptions) {
    this.#languages = options.languages
    this.#options = options
    this.#any = this.#languages.repeat(options.write(this.#languages, anyCodePoint))
    this.#dot = dotAll ? anyCodePoint : lineTerminators.complement()
  }

  pattern(alternatives: readonly AST.Alternative[], edges: Edges): Language {
    return this.#languages.choice(...alternatives.map(({ elements }) => this.#anchored(elements, edges)))
  }

  /** An alternative that may begin with ^ and end with $. */
  #anchored(elements: readonly AST.Element[], { openStart, openEnd }: Edges): Language {
    const from = elements.findIndex((element) => !isEdge(element, 'start'))
    const until = elements.findLastIndex((element) => !isEdge(element, 'end')) + 1
    const inner = from < 0 ? [] : elements.slice(from, Math.max(from, until))
    const inside = {
      openStart: openStart && !elements.some((element) => isEdge(element, 'start')),
      openEnd: openEnd && !elements.some((element) => isEdge(element, 'end')),
    }
    const [only] = inner
    if (inner.length === 1 && only !== undefined && isGroup(only)) return this.pattern(this.#alternatives(only), inside)
    let rest = inside.openEnd ? this.#any : this.#languages.empty
    for (const element of inner.toReversed()) {
      rest =
        element.type === 'Assertion' && element.kind === 'lookahead'
          ? this.#ahead(element, rest)
          : this.#languages.sequence(this.#element(element), rest)
    }
    return inside.openStart ? this.#languages.sequence(this.#any, rest) : rest
  }

  #ahead({ alternatives, negate }: AST.LookaheadAssertion, rest: Language): Language {
    const ahead = this.pattern(alternatives, { openStart: false, openEnd: true })
    return this.#languages.both(rest, negate ? this.#languages.not(ahead) : ahead)
  }

  #sequence({ elements }: AST.Alternative): Language {
    return this.#languages.sequence(...elements.map((element) => this.#element(element)))
  }

  #element(element: AST.Element): Language {
    switch (element.type) {
      case 'Quantifier':
        return this.#languages.repeat(this.#element(element.element), element.min, element.max)
      case 'Group':
      case 'CapturingGroup':
        return this.#languages.choice(...this.#alternatives(element).map((one) => this.#sequence(one)))
      case 'Character':
      case 'CharacterSet':
      case 'CharacterClass':
      case 'ExpressionCharacterClass':
        return this.#options.write(this.#languages, this.#set(element))
      case 'Assertion': {
        const names = { start: '^ inside a pattern', end: '$ inside a pattern', word: 'a word boundary' }
        throw this.#refusal(
          element.kind === 'lookahead'
            ? 'a lookahead inside a group'
            : element.kind === 'lookbehind'
              ? 'a lookbehind'
              : names[element.kind],
          element.raw,
        )
      }
      case 'Backreference':
        throw this.#refusal('a backreference', element.raw)
    }
  }

  #alternatives(group: AST.Group | AST.CapturingGroup): readonly AST.Alternative[] {
    if (group.type === 'Group' && group.modifiers != null) throw this.#refusal('a modifier of a group', group.raw)
    return group.alternatives
  }

  #set(element: SetNode): CodePoints {
    switch (element.type) {
      case 'Character':
        return CodePoints.of([element.value, element.value])
      case 'CharacterClassRange':
        return CodePoints.of([element.min.value, element.max.value])
      case 'CharacterSet':
        return element.kind === 'any' ? this.#dot : negated(this.#named(element), element.negate)
      case 'CharacterClass':
        return negated(CodePoints.of().union(...element.elements.map((one) => this.#set(one))), element.negate)
      case 'ExpressionCharacterClass':
        return negated(this.#set(element.expression), element.negate)
      case 'ClassIntersection':
        return this.#set(element.left).intersection(this.#set(element.right))
      case 'ClassSubtraction':
        return this.#set(element.left).minus(this.#set(element.right))
      case 'ClassStringDisjunction':
        throw this.#refusal('a class of strings', element.raw)
    }
  }

  #named(set: Exclude<AST.CharacterSet, AST.AnyCharacterSet>): CodePoints {
    if (set.kind !== 'property') return classes[set.kind]
    if (set.strings) throw this.#refusal('a property of strings', set.raw)
    return ofProperty(set.value === null ? set.key : `${set.key}=${set.value}`)
  }

  #refusal(what: string, raw: string): LlavaError {
    return unsupported(`${what} (\`${raw}\`)`, this.#options.where)
  }
}

function isEdge(element: AST.Element, kind: 'start' | 'end'): boolean {
  return element.type === 'Assertion' && element.kind === kind
}

function isGroup(element: AST.Element): element is AST.Group | AST.CapturingGroup {
  return element.type === 'Group' || element.type === 'CapturingGroup'
}

function negated(set: CodePoints, negate: boolean): CodePoints {
  return negate ? set.complement() : set
}

const lineTerminators = CodePoints.in('\n\r\u2028\u2029')

/** ECMAScript's. */
const classes = {
  digit: CodePoints.of([0x30, 0x39]),
  word: CodePoints.of([0x30, 0x39], [0x41, 0x5a], [0x61, 0x7a]).union(CodePoints.in('_')),
  space: CodePoints.of([0x09, 0x0d], [0x2000, 0x200a]).union(
    CodePoints.in(' \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff'),
  ),
} as const

const properties = new Map<string, CodePoints>()

/** A Unicode property, found by asking the engine about every code point. Planes 4 to 13 and the private ones are all alike. */
function ofProperty(name: string): CodePoints {
  const known = properties.get(name)
  if (known !== undefined) return known
  const runs = new RegExp(`\\p{${name}}+`, 'gu')
  const ranges: [number, number][] = []
  for (const plane of [0, 1, 2, 3, 14]) {
    let text = ''
    const first = plane * 0x10000
    for (let codePoint = first; codePoint < first + 0x10000; codePoint++)
      text += codePoint >= 0xd800 && codePoint < 0xe000 ? '' : String.fromCodePoint(codePoint)
    for (const [run] of text.matchAll(runs)) {
      const end = run.length - (run.codePointAt(run.length - 2)! > 0xffff ? 2 : 1)
      ranges.push([run.codePointAt(0)!, run.codePointAt(end)!])
    }
  }
  for (const [low, high] of [
    [0x40000, 0xdffff],
    [0xf0000, 0x10ffff],
  ] as const)
    if (new RegExp(`^\\p{${name}}$`, 'u').test(String.fromCodePoint(low))) ranges.push([low, high])
  const set = CodePoints.of(...ranges)
  properties.set(name, set)
  return set
}
