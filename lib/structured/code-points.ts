// Sets of Unicode code points, and how they are written: in UTF-8, or inside a JSON string.

import { ByteSet } from './byte-set.js'
import type { Language, Languages } from './language.js'

type Range = readonly [low: number, high: number]

const last = 0x10ffff
/** First code point of each length of UTF-8, by length - 1. */
const firstOfLength = [0, 0x80, 0x800, 0x10000, last + 1] as const

export class CodePoints {
  /** Ascending, with gaps between. */
  readonly ranges: readonly Range[]

  private constructor(ranges: readonly Range[]) {
    this.ranges = ranges
  }

  static of(...ranges: readonly Range[]): CodePoints {
    const joined: [number, number][] = []
    for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
      const before = joined.at(-1)
      if (before !== undefined && low <= before[1] + 1) before[1] = Math.max(before[1], high)
      else joined.push([low, high])
    }
    return new CodePoints(joined)
  }

  /** The characters of a text. */
  static in(text: string): CodePoints {
    return CodePoints.of(
      ...Array.from(text, (character): Range => {
        const codePoint = character.codePointAt(0)!
        return [codePoint, codePoint]
      }),
    )
  }

  union(...others: readonly CodePoints[]): CodePoints {
    return CodePoints.of(...this.ranges, ...others.flatMap(({ ranges }) => ranges))
  }

  complement(): CodePoints {
    const gaps: Range[] = []
    let from = 0
    for (const [low, high] of this.ranges) {
      if (low > from) gaps.push([from, low - 1])
      from = high + 1
    }
    if (from <= last) gaps.push([from, last])
    return new CodePoints(gaps)
  }

  intersection(other: CodePoints): CodePoints {
    return this.complement().union(other.complement()).complement()
  }

  minus(other: CodePoints): CodePoints {
    return this.intersection(other.complement())
  }

  has(codePoint: number): boolean {
    return this.ranges.some(([low, high]) => low <= codePoint && codePoint <= high)
  }
}

export const anyCodePoint = CodePoints.of([0, last])
const surrogates = CodePoints.of([0xd800, 0xdfff])

/** Writes one character of a set. */
export type Writer = (languages: Languages, set: CodePoints) => Language

/** In UTF-8; surrogates have no form there. */
export const writeUtf8: Writer = (languages, set) => {
  const { ranges } = set.minus(surrogates)
  const lengths = [1, 2, 3, 4].map((length) =>
    ofLength(languages, clipped(ranges, firstOfLength[length - 1]!, firstOfLength[length]! - 1), length),
  )
  return languages.choice(...lengths)
}

const escapes: readonly (readonly [codePoint: number, escape: string])[] = [
  [0x08, '\\b'],
  [0x09, '\\t'],
  [0x0a, '\\n'],
  [0x0c, '\\f'],
  [0x0d, '\\r'],
  [0x22, '\\"'],
  [0x5c, '\\\\'],
]
const escaped = CodePoints.of([0, 0x1f], [0x22, 0x22], [0x5c, 0x5c], [0x7f, 0x7f])

/**
 * As `JSON.stringify` writes it, so that each character has one form. Control characters that have no short escape are not written: a model that began a
 * `\u` would have to end it as one of them.
 */
export const writeJsonString: Writer = (languages, set) =>
  languages.choice(
    writeUtf8(languages, set.minus(escaped)),
    languages.literals(escapes.filter(([codePoint]) => set.has(codePoint)).map(([, escape]) => escape)),
  )

function clipped(ranges: readonly Range[], low: number, high: number): Range[] {
  return ranges.map(([from, to]): Range => [Math.max(from, low), Math.min(to, high)]).filter(([from, to]) => from <= to)
}

/** Code points that all take `length` bytes. Lead bytes with the same rest are one set. */
function ofLength(languages: Languages, ranges: readonly Range[], length: number): Language {
  const lead = [0, 0xc0, 0xe0, 0xf0][length - 1]!
  return blocks(languages, ranges, 6 * (length - 1), lead)
}

/** The byte that holds the bits from `shift` on, and those after it. */
function blocks(languages: Languages, ranges: readonly Range[], shift: number, mark: number): Language {
  const size = 2 ** shift
  const byRest = new Map<Language, number[]>()
  const add = (block: number, rest: Language) => {
    const byte = mark + block
    const known = byRest.get(rest)
    if (known === undefined) byRest.set(rest, [byte])
    else known.push(byte)
  }
  const whole = continuation(languages, shift / 6)
  const partial = new Map<number, Range[]>()
  for (const [low, high] of ranges) {
    for (let block = Math.floor(low / size); block <= Math.floor(high / size); block++) {
      const [from, to] = [Math.max(low - block * size, 0), Math.min(high - block * size, size - 1)]
      if (from === 0 && to === size - 1) add(block, whole)
      else partial.set(block, [...(partial.get(block) ?? []), [from, to]])
    }
  }
  for (const [block, parts] of partial) add(block, blocks(languages, parts, shift - 6, 0x80))
  return languages.choice(
    ...Array.from(byRest, ([rest, bytes]) => languages.sequence(languages.byte(ByteSet.of(bytes)), rest)),
  )
}

/** So many bytes that go on a character. */
function continuation(languages: Languages, count: number): Language {
  return languages.sequence(...new Array<Language>(count).fill(languages.byte(ByteSet.range(0x80, 0xbf))))
}
