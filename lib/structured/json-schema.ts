// A JSON Schema (draft 2020-12; `definitions`, lists of `items` and `nullable` of older forms too) as a grammar of the JSON texts that fit it.
//   Every text of the grammar fits the schema; of the texts that fit, those are in the grammar that a model has a use for:
//   - properties in the schema's order, then others; others only where additionalProperties or patternProperties ask for them, or nothing names any;
//   - of a list, all items that `prefixItems` names, further ones only where `items` asks for them;
//   - strings as JSON.stringify writes them, numbers without exponent; no white space but one space after ':' and ','.
// A value meets several schemas at once (allOf, $ref beside other keywords, properties of each): they are a set, `Schemas`, and a rule of the grammar is made
// for each set that occurs. anyOf and oneOf are taken apart first: a set of schemas becomes alternatives, each a list of schemas without such keywords.

import { LlavaError } from '../errors.js'
import { anyCodePoint, writeJsonString } from './code-points.js'
import { numberLanguage, type Bound } from './decimal.js'
import { formats } from './formats.js'
import type { Expression, Grammar, Rule } from './grammar.js'
import { literalLanguage, sameValue, separator, type JsonValue } from './json-literal.js'
import type { Language } from './language.js'
import { regexLanguage } from './regex.js'
import {
  anything,
  checkKeywords,
  countOf,
  keywordOf,
  nothing,
  numberOf,
  SchemaNodes,
  valuesOf,
  type SchemaNode,
} from './schema-node.js'
import { malformed, placeOf, unsupported } from './unsupported.js'

/** Schemas that one value must fit all of. */
type Schemas = readonly SchemaNode[]

/** Of these no keyword but a schema's own is left to look at: references, allOf, anyOf and oneOf have been followed. */
type Flat = readonly SchemaNode[]

const types = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'] as const
type Type = (typeof types)[number]

/** Most alternatives of one value: allOf multiplies those of its schemas. */
const mostAlternatives = 1000

/** How deep properties of properties are looked at to tell alternatives apart. */
const mostDepth = 4

/** Throws INVALID_ARGUMENT for what is no schema, and for what is not supported, by keyword and JSON pointer. */
export function jsonSchemaGrammar(schema: unknown, grammar: Grammar): Expression {
  return new SchemaCompiler(schema, grammar).root()
}

class SchemaCompiler {
  readonly #grammar: Grammar
  readonly #nodes: SchemaNodes
  readonly #rules = new Map<string, Rule>()
  readonly #checked = new Set<SchemaNode>()
  readonly #patterns = new Map<string, Language>()
  readonly #anyString: Language
  readonly #character: Language

  constructor(schema: unknown, grammar: Grammar) {
    this.#grammar = grammar
    this.#nodes = new SchemaNodes(schema)
    this.#character = writeJsonString(grammar.languages, anyCodePoint)
    this.#anyString = grammar.languages.repeat(this.#character)
  }

  root(): Expression {
    return this.#value([this.#nodes.root])
  }

  /** A value that fits all schemas. */
  #value(schemas: Schemas): Expression {
    const distinct = [...new Set(schemas)].filter((node) => node !== anything).sort((a, b) => a.id - b.id)
    const key = distinct.map(({ id }) => id).join()
    const known = this.#rules.get(key)
    if (known !== undefined) return known
    const rule = this.#grammar.rule()
    this.#rules.set(key, rule)
    return this.#grammar.define(
      rule,
      this.#grammar.choice(...this.#alternatives(distinct).map((flat) => this.#flatValue(flat))),
    )
  }

  /** What a value that fits all schemas may be. */
  #alternatives(schemas: Schemas): Flat[] {
    return this.#product(schemas.map((node) => this.#expand(node, [])))
  }

  #expand(node: SchemaNode, path: readonly SchemaNode[]): Flat[] {
    if (typeof node.schema === 'boolean') return node.schema ? [[]] : []
    if (path.includes(node))
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `${placeOf(node.where)}: this schema refers to itself and to nothing else`,
      )
    if (!this.#checked.has(node)) checkKeywords(node)
    this.#checked.add(node)
    const follow = (one: SchemaNode) => this.#expand(one, [...path, node])
    const readers: Readonly<Record<string, () => Flat[][]>> = {
      properties: () => [[[node]]],
      $ref: () => [follow(this.#nodes.target(keywordOf(node, '$ref'), node.where))],
      allOf: () => this.#nodes.listed(node, 'allOf')!.map(follow),
      anyOf: () => [this.#nodes.listed(node, 'anyOf')!.flatMap(follow)],
      oneOf: () => [this.#apart(this.#nodes.listed(node, 'oneOf')!.map(follow), node)],
    }
    // in the schema's order, which is that of the properties
    const parts = Object.keys(node.schema).flatMap((keyword) => readers[keyword]?.() ?? [])
    if (keywordOf(node, 'properties') === undefined) parts.unshift([[node]])
    return this.#product(parts)
  }

  #product(parts: readonly (readonly Flat[])[]): Flat[] {
    const all = parts.reduce<Flat[]>(
      (left, right) => {
        if (left.length * right.length > mostAlternatives)
          throw unsupported(`a value of more than ${mostAlternatives} alternatives`, parts[0]?.[0]?.[0]?.where ?? '#')
        return left.flatMap((one) => right.map((other) => [...one, ...other]))
      },
      [[]],
    )
    return all.map((flat) => [...new Set(flat)])
  }

  // oneOf: exactly one. Its alternatives must be seen not to overlap.

  #apart(alternatives: readonly (readonly Flat[])[], { where }: SchemaNode): Flat[] {
    for (const [n, one] of alternatives.entries())
      for (const [m, other] of alternatives.slice(0, n).entries()) {
        if (one.every((a) => other.every((b) => this.#areApart(a, b, mostDepth)))) continue
        throw unsupported(
          `\`oneOf\` whose alternatives ${m} and ${n} may fit one value`,
          where,
          'use `anyOf`, or give both a required property with different `const`',
        )
      }
    return alternatives.flat()
  }

  /** No value fits both, by types, by values, or by a property that both require. */
  #areApart(a: Flat, b: Flat, depth: number): boolean {
    const values = this.#values([...a, ...b])
    if (values !== undefined) return values.length === 0
    const [typesA, typesB] = [this.#types(a), this.#types(b)]
    const common = types.filter((type) => typesA.has(type) && typesB.has(type))
    if (common.length === 0) return true
    if (depth === 0 || common.some((type) => type !== 'object')) return false
    return this.#objectsApart(a, b, depth) || this.#objectsApart(b, a, depth)
  }

  #objectsApart(a: Flat, b: Flat, depth: number): boolean {
    const namesA = required(a)
    const namesB = required(b)
    return [...namesA].some((name) => {
      const ofB = this.#alternatives(this.#property(b, name))
      if (ofB.length === 0) return true
      if (!namesB.has(name)) return false
      const ofA = this.#alternatives(this.#property(a, name))
      return ofA.every((one) => ofB.every((other) => this.#areApart(one, other, depth - 1)))
    })
  }

  // Values.

  #flatValue(flat: Flat): Expression {
    const { languages } = this.#grammar
    const values = this.#values(flat)
    if (values !== undefined)
      return this.#grammar.terminal(languages.choice(...values.map((value) => literalLanguage(languages, value))))
    const allowed = this.#types(flat)
    const scalars: Language[] = []
    if (allowed.has('null')) scalars.push(languages.literal('null'))
    if (allowed.has('boolean')) scalars.push(languages.literals(['true', 'false']))
    if (allowed.has('integer')) scalars.push(this.#number(flat, !allowed.has('number')))
    if (allowed.has('string')) scalars.push(this.#quoted(this.#string(flat)))
    return this.#grammar.choice(
      this.#grammar.terminal(languages.choice(...scalars)),
      ...(allowed.has('array') ? [this.#array(flat)] : []),
      ...(allowed.has('object') ? [this.#object(flat)] : []),
    )
  }

  /** What enum and const leave, of values that fit the rest; `undefined` where neither is there. */
  #values(flat: Flat): JsonValue[] | undefined {
    const lists = flat.map(valuesOf).filter((list) => list !== undefined)
    const [first, ...others] = lists
    return first?.filter(
      (value) => others.every((list) => list.some((other) => sameValue(value, other))) && this.#fits(value, flat),
    )
  }

  #types(flat: Flat): ReadonlySet<Type> {
    return new Set(types.filter((type) => flat.every((node) => typesOf(node).has(type))))
  }

  /** Whether a value of an enum fits the keywords beside it. */
  #fits(value: JsonValue, flat: Flat): boolean {
    const type = typeOf(value)
    if (!this.#types(flat).has(type)) return false
    if (typeof value === 'number') return fitsBounds(value, flat)
    if (typeof value === 'string') {
      const { languages } = this.#grammar
      let left = this.#string(flat)
      for (const byte of Buffer.from(JSON.stringify(value).slice(1, -1))) left = languages.derive(left, byte)
      return (
        left.nullable || !flat.some((node) => stringKeywords.some((keyword) => keywordOf(node, keyword) !== undefined))
      )
    }
    if (typeof value !== 'object' || value === null) return true
    for (const node of flat) {
      const keyword = structureKeywords.find((one) => keywordOf(node, one) !== undefined)
      if (keyword !== undefined)
        throw unsupported(`\`${keyword}\` beside \`enum\` or \`const\` of lists or objects`, node.where)
    }
    return true
  }

  // Numbers and strings.

  #number(flat: Flat, integer: boolean): Language {
    const { lower, upper } = boundsOf(flat)
    return numberLanguage(this.#grammar.languages, { integer, lower, upper })
  }

  /** Without quotes. */
  #string(flat: Flat): Language {
    const { languages } = this.#grammar
    const min = largest(flat.map((node) => countOf(node, 'minLength')))
    const max = smallest(flat.map((node) => countOf(node, 'maxLength')))
    const parts = flat.flatMap((node) => this.#stringParts(node))
    if (min === undefined && max === undefined) return parts.length === 0 ? this.#anyString : languages.both(...parts)
    return languages.both(...parts, languages.repeat(this.#character, min ?? 0, max ?? Infinity))
  }

  #stringParts(node: SchemaNode): Language[] {
    const pattern = keywordOf(node, 'pattern')
    const format = keywordOf(node, 'format')
    if (pattern !== undefined && typeof pattern !== 'string') throw malformed('pattern', 'a string', node.where)
    if (format !== undefined && typeof format !== 'string') throw malformed('format', 'a string', node.where)
    const parts: Language[] = []
    if (pattern !== undefined) parts.push(this.#pattern(pattern, node.where))
    const known = format === undefined || !mayBeString(node) ? undefined : formats.get(format)
    if (known !== undefined) parts.push(this.#pattern(`^(?:${known})$`, node.where))
    // elsewhere an unknown format is an annotation; here it is one where a pattern says what it means
    else if (format !== undefined && pattern === undefined && mayBeString(node))
      throw unsupported(
        `\`format: ${JSON.stringify(format)}\``,
        node.where,
        `known are ${[...formats.keys()].join(', ')}`,
      )
    return parts
  }

  /** Strings in which a pattern is found. */
  #pattern(pattern: string, where: string): Language {
    const known = this.#patterns.get(pattern)
    if (known !== undefined) return known
    const { languages } = this.#grammar
    const found = regexLanguage(pattern, '', { languages, write: writeJsonString, where, around: 'anything' })
    this.#patterns.set(pattern, found)
    return found
  }

  #quoted(characters: Language): Language {
    const quote = this.#grammar.languages.literal('"')
    return this.#grammar.languages.sequence(quote, characters, quote)
  }

  // Lists.

  #array(flat: Flat): Expression {
    const grammar = this.#grammar
    const listed = Math.max(0, ...flat.map((node) => this.#prefix(node).length))
    const most = smallest(flat.map((node) => countOf(node, 'maxItems'))) ?? Infinity
    const least = Math.max(largest(flat.map((node) => countOf(node, 'minItems'))) ?? 0, Math.min(listed, most))
    const last = Math.min(most, this.#lastItem(flat, listed, least))
    const item = (place: number) => this.#value(flat.flatMap((node) => this.#item(node, place)))
    const further = (place: number): Expression => {
      // from here on all are alike
      if (place >= Math.max(listed, least) && last === Infinity) {
        const rest = grammar.rule()
        return grammar.define(rest, grammar.choice(close, grammar.sequence(comma, item(place), rest)))
      }
      return grammar.choice(
        ...(place >= least ? [close] : []),
        ...(place < last ? [grammar.sequence(comma, item(place), further(place + 1))] : []),
      )
    }
    const close = grammar.terminal(grammar.languages.literal(']'))
    const comma = grammar.terminal(separator(grammar.languages, ','))
    const open = grammar.terminal(grammar.languages.literal('['))
    return grammar.sequence(
      open,
      grammar.choice(...(least === 0 ? [close] : []), ...(last > 0 ? [grammar.sequence(item(0), further(1))] : [])),
    )
  }

  /** `prefixItems`, or `items` as a list, as it was before draft 2020-12. */
  #prefix(node: SchemaNode): SchemaNode[] {
    const items = keywordOf(node, 'items')
    return this.#nodes.listed(node, Array.isArray(items) ? 'items' : 'prefixItems') ?? []
  }

  #rest(node: SchemaNode): SchemaNode | undefined {
    return this.#nodes.single(node, Array.isArray(keywordOf(node, 'items')) ? 'additionalItems' : 'items')
  }

  /** How many items are written at most: those that are listed, where nothing is said of others. */
  #lastItem(flat: Flat, listed: number, least: number): number {
    const hasRest = flat.some((node) => this.#rest(node) !== undefined)
    if (!hasRest && flat.some((node) => keywordOf(node, 'unevaluatedItems') === false)) return listed
    const isClosed = flat.some((node) => this.#rest(node) === undefined && this.#prefix(node).length > 0)
    return isClosed ? Math.max(listed, least) : Infinity
  }

  #item(node: SchemaNode, place: number): Schemas {
    const one = this.#prefix(node)[place] ?? this.#rest(node)
    return one === undefined ? [] : [one]
  }

  // Objects.

  #object(flat: Flat): Expression {
    const grammar = this.#grammar
    const needed = required(flat)
    const names = [...new Set([...flat.flatMap((node) => [...(this.#properties(node)?.keys() ?? [])]), ...needed])]
    const others = this.#others(flat, names)
    const least = largest(flat.map((node) => countOf(node, 'minProperties'))) ?? 0
    const most = smallest(flat.map((node) => countOf(node, 'maxProperties'))) ?? Infinity
    if (others !== undefined && least > needed.size + 1)
      throw unsupported(
        `\`minProperties\` of more than ${needed.size + 1}`,
        flat.find((node) => countOf(node, 'minProperties') === least)?.where ?? '#',
        'name the properties that are wanted in `required`',
      )
    const counts = least > needed.size || most < Infinity
    const members = names.map((name) =>
      this.#member(literalLanguage(grammar.languages, name), this.#property(flat, name)),
    )
    const comma = grammar.terminal(separator(grammar.languages, ','))
    const close = grammar.terminal(grammar.languages.literal('}'))
    const made = new Map<string, Rule>()
    /** What follows when `count` properties were written, and those before `place` were decided on. */
    const rest = (place: number, count: number): Expression => {
      const counted = counts ? Math.min(count, Math.max(least, most === Infinity ? 0 : most)) : Math.min(count, 1)
      const key = `${place} ${counted}`
      const known = made.get(key)
      if (known !== undefined) return known
      const rule = grammar.rule()
      made.set(key, rule)
      const write = (member: Expression, next: number) =>
        counted >= most ? [] : [grammar.sequence(...(count > 0 ? [comma] : []), member, rest(next, counted + 1))]
      const member = members[place]
      if (member === undefined) {
        const further = others === undefined ? [] : write(others, place)
        return grammar.define(rule, grammar.choice(...further, ...(counted >= least || !counts ? [close] : [])))
      }
      const skip = needed.has(names[place]!) ? [] : [rest(place + 1, counted)]
      return grammar.define(rule, grammar.choice(...write(member, place + 1), ...skip))
    }
    return grammar.sequence(grammar.terminal(grammar.languages.literal('{')), rest(0, 0))
  }

  #properties(node: SchemaNode): Map<string, SchemaNode> | undefined {
    return this.#nodes.byName(node, 'properties')
  }

  /** Name, colon and value. */
  #member(name: Language, schemas: Schemas): Expression {
    const { languages } = this.#grammar
    return this.#grammar.sequence(
      this.#grammar.terminal(languages.sequence(name, separator(languages, ':'))),
      this.#value(schemas),
    )
  }

  /** What the value of a property must fit. */
  #property(flat: Flat, name: string): Schemas {
    const schemas = flat.flatMap((node) => this.#propertyOf(node, name))
    const isForbidden =
      flat.some((node) => !this.#namesHold(node, name)) ||
      (schemas.length === 0 && flat.some((node) => keywordOf(node, 'unevaluatedProperties') === false))
    return isForbidden ? [nothing] : schemas
  }

  #propertyOf(node: SchemaNode, name: string): Schemas {
    const named = this.#properties(node)?.get(name)
    const matched = this.#patternProperties(node)
      .filter(([pattern]) => this.#holds(pattern, name))
      .map(([, schema]) => schema)
    const found = named === undefined ? matched : [named, ...matched]
    const additional = this.#nodes.single(node, 'additionalProperties')
    return found.length === 0 && additional !== undefined ? [additional] : found
  }

  #patternProperties(node: SchemaNode): [pattern: Language, schema: SchemaNode][] {
    return Array.from(this.#nodes.byName(node, 'patternProperties') ?? [], ([pattern, schema]) => [
      this.#pattern(pattern, node.where),
      schema,
    ])
  }

  #holds(language: Language, text: string): boolean {
    let left = language
    for (const byte of Buffer.from(JSON.stringify(text).slice(1, -1))) left = this.#grammar.languages.derive(left, byte)
    return left.nullable
  }

  /** The names that `propertyNames` allows. */
  #names(node: SchemaNode): Language {
    const schema = this.#nodes.single(node, 'propertyNames')
    if (schema === undefined) return this.#anyString
    const { languages } = this.#grammar
    const written = this.#alternatives([schema]).map((flat) => {
      const values = this.#values(flat)?.filter((value) => typeof value === 'string')
      if (values !== undefined) return languages.literals(values.map((value) => JSON.stringify(value).slice(1, -1)))
      return this.#types(flat).has('string') ? this.#string(flat) : languages.none
    })
    return languages.choice(...written)
  }

  #namesHold(node: SchemaNode, name: string): boolean {
    return keywordOf(node, 'propertyNames') === undefined || this.#holds(this.#names(node), name)
  }

  /** A member whose name none of `names` is; `undefined` where there are none. Names that fit several patterns of one schema are not written. */
  #others(flat: Flat, names: readonly string[]): Expression | undefined {
    if (!this.#wantsOthers(flat)) return undefined
    const { languages } = this.#grammar
    const written = languages.literals(names.map((name) => JSON.stringify(name).slice(1, -1)))
    const free = languages.both(...flat.map((node) => this.#names(node)), this.#anyString, languages.not(written))
    let kinds: { readonly names: Language; readonly schemas: Schemas }[] = [{ names: free, schemas: [] }]
    for (const node of flat) {
      const patterns = this.#patternProperties(node)
      const additional = this.#nodes.single(node, 'additionalProperties')
      const rest = languages.both(...patterns.map(([pattern]) => languages.not(pattern)))
      const parts = [
        ...patterns.map(([pattern, schema]) => {
          const elsewhere = patterns.filter(([other]) => other !== pattern).map(([other]) => languages.not(other))
          return { names: languages.both(pattern, ...elsewhere), schemas: [schema] }
        }),
        { names: rest, schemas: additional === undefined ? [] : [additional] },
      ]
      kinds = kinds.flatMap((kind) =>
        parts.map((part) => ({
          names: languages.both(kind.names, part.names),
          schemas: [...kind.schemas, ...part.schemas],
        })),
      )
    }
    return this.#grammar.choice(...kinds.map((kind) => this.#member(this.#quoted(kind.names), kind.schemas)))
  }

  #wantsOthers(flat: Flat): boolean {
    const asks = (node: SchemaNode): boolean => {
      const additional = keywordOf(node, 'additionalProperties')
      return (additional !== undefined && additional !== false) || keywordOf(node, 'patternProperties') !== undefined
    }
    const names = (node: SchemaNode): boolean =>
      ['properties', 'required', 'additionalProperties'].some((keyword) => keywordOf(node, keyword) !== undefined) ||
      keywordOf(node, 'unevaluatedProperties') === false
    return flat.some(asks) || !flat.some(names)
  }
}

const stringKeywords = ['minLength', 'maxLength', 'pattern', 'format'] as const
const structureKeywords = [
  ...['items', 'prefixItems', 'minItems', 'maxItems', 'properties', 'required', 'additionalProperties'],
  ...['patternProperties', 'propertyNames', 'minProperties', 'maxProperties'],
]

function required(flat: Flat): ReadonlySet<string> {
  return new Set(
    flat.flatMap((node) => {
      const names = keywordOf(node, 'required')
      if (names === undefined) return []
      if (!Array.isArray(names) || !names.every((name) => typeof name === 'string'))
        throw malformed('required', 'a list of names', node.where)
      return names
    }),
  )
}

function typesOf(node: SchemaNode): ReadonlySet<Type> {
  const given = keywordOf(node, 'type')
  if (given === undefined) return new Set(types)
  const list: readonly unknown[] = Array.isArray(given) ? given : [given]
  if (!list.every((one): one is Type => types.includes(one as Type)))
    throw malformed('type', `one of ${types.join(', ')}, or a list of them`, node.where)
  return new Set<Type>([
    ...list,
    ...(list.includes('number') ? ['integer' as const] : []),
    ...(keywordOf(node, 'nullable') === true ? ['null' as const] : []),
  ])
}

function mayBeString(node: SchemaNode): boolean {
  return typesOf(node).has('string')
}

function typeOf(value: JsonValue): Type {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value as 'boolean' | 'string' | 'object'
}

function boundsOf(flat: Flat): { readonly lower: Bound | undefined; readonly upper: Bound | undefined } {
  const all = (keyword: string, exclusive: boolean): Bound[] =>
    flat.flatMap((node) => {
      const value = numberOf(node, keyword)
      return value === undefined ? [] : [{ value, exclusive }]
    })
  const lower = [...all('minimum', false), ...all('exclusiveMinimum', true)]
  const upper = [...all('maximum', false), ...all('exclusiveMaximum', true)]
  const strictFirst = (a: Bound, b: Bound) => Number(b.exclusive) - Number(a.exclusive)
  return {
    lower: lower.sort((a, b) => b.value - a.value || strictFirst(a, b))[0],
    upper: upper.sort((a, b) => a.value - b.value || strictFirst(a, b))[0],
  }
}

function fitsBounds(value: number, flat: Flat): boolean {
  const { lower, upper } = boundsOf(flat)
  const isAbove = lower === undefined || value > lower.value || (value === lower.value && !lower.exclusive)
  const isBelow = upper === undefined || value < upper.value || (value === upper.value && !upper.exclusive)
  return isAbove && isBelow
}

function largest(counts: readonly (number | undefined)[]): number | undefined {
  const given = counts.filter((count) => count !== undefined)
  return given.length === 0 ? undefined : Math.max(...given)
}

function smallest(counts: readonly (number | undefined)[]): number | undefined {
  const given = counts.filter((count) => count !== undefined)
  return given.length === 0 ? undefined : Math.min(...given)
}
