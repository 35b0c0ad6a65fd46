// Regular languages of byte strings, as expressions with intersection and complement, matched by derivatives (Brzozowski 1964):
//   the derivative of L by a byte b is { w : b w in L };  b1 … bn is in L exactly when L derived by b1, … , bn holds the empty string.
// Equal expressions are one object, so that derivatives of a language are few, and each is computed once: together they are the
// deterministic automaton, made as far as it is walked.

import { ByteSet } from './byte-set.js'

type Shape =
  | { readonly kind: 'none' }
  | { readonly kind: 'empty' }
  | { readonly kind: 'byte'; readonly set: ByteSet }
  | { readonly kind: 'sequence'; readonly first: Language; readonly rest: Language }
  | { readonly kind: 'choice'; readonly of: readonly Language[] }
  | { readonly kind: 'repeat'; readonly of: Language; readonly min: number; readonly max: number }
  | { readonly kind: 'both'; readonly of: readonly Language[] }
  | { readonly kind: 'not'; readonly of: Language }

export class Language {
  readonly id: number
  readonly shape: Shape
  /** Holds the empty string. */
  readonly nullable: boolean
  /** Without intersection and complement: it is empty only where it is `none`. */
  readonly plain: boolean
  /** By byte, derivatives that were asked for. */
  readonly derivatives: (Language | undefined)[] = []

  constructor(id: number, shape: Shape, nullable: boolean, plain: boolean) {
    this.id = id
    this.shape = shape
    this.nullable = nullable
    this.plain = plain
  }
}

/** Makes languages, and knows those it made. Languages of two makers must not be mixed. */
export class Languages {
  readonly #made = new Map<string, Language>()
  readonly #sets = new Map<string, ByteSet>()
  /** The empty set. */
  readonly none: Language = this.#intern('none', { kind: 'none' }, false, true)
  /** The empty string alone. */
  readonly empty: Language = this.#intern('empty', { kind: 'empty' }, true, true)

  /** How many languages were made. */
  get size(): number {
    return this.#made.size
  }

  /** The sets of bytes that languages consist of. */
  get sets(): Iterable<ByteSet> {
    return this.#sets.values()
  }

  /** One byte. */
  byte(set: ByteSet): Language {
    if (set.isEmpty) return this.none
    this.#sets.set(set.key, set)
    return this.#intern(`byte ${set.key}`, { kind: 'byte', set }, false, true)
  }

  /** One text, in UTF-8. */
  literal(text: string): Language {
    return this.sequence(...Array.from(Buffer.from(text), (byte) => this.byte(ByteSet.range(byte))))
  }

  /** One of several texts; those that begin alike share their beginning. */
  literals(texts: readonly string[]): Language {
    const byFirst = new Map<string, string[]>()
    for (const [first = '', ...rest] of texts.map((text) => Array.from(text))) {
      const others = byFirst.get(first)
      if (others === undefined) byFirst.set(first, [rest.join('')])
      else others.push(rest.join(''))
    }
    return this.choice(
      ...Array.from(byFirst, ([first, rest]) => {
        if (first === '') return this.empty
        return this.sequence(this.literal(first), rest.length === 1 ? this.literal(rest[0]!) : this.literals(rest))
      }),
    )
  }

  sequence(...parts: readonly Language[]): Language {
    return parts.reduceRight((rest, first) => this.#pair(first, rest), this.empty)
  }

  choice(...alternatives: readonly Language[]): Language {
    const of = new Map<number, Language>()
    let bytes: ByteSet | undefined
    const add = (one: Language): void => {
      if (one.shape.kind === 'choice') one.shape.of.forEach(add)
      else if (one.shape.kind === 'byte') bytes = bytes?.union(one.shape.set) ?? one.shape.set
      else if (one !== this.none) of.set(one.id, one)
    }
    alternatives.forEach(add)
    if (bytes !== undefined) {
      const byte = this.byte(bytes)
      of.set(byte.id, byte)
    }
    const list = [...of.values()].sort((a, b) => a.id - b.id)
    const everything = list.find(({ shape }) => shape.kind === 'not' && shape.of === this.none)
    if (everything !== undefined) return everything
    if (list.length <= 1) return list[0] ?? this.none
    return this.#intern(
      `choice ${list.map(({ id }) => id).join()}`,
      { kind: 'choice', of: list },
      list.some(({ nullable }) => nullable),
      list.every(({ plain }) => plain),
    )
  }

  optional(of: Language): Language {
    return this.choice(of, this.empty)
  }

  /** `of`, from `min` to `max` times. */
  repeat(of: Language, min = 0, max = Infinity): Language {
    if (max < min) return this.none
    if (max === 0 || of === this.empty) return this.empty
    if (of === this.none) return min === 0 ? this.empty : this.none
    if (min === 1 && max === 1) return of
    if (of.shape.kind === 'repeat' && of.shape.min === 0 && of.shape.max === Infinity) return of
    const least = of.nullable ? 0 : min // repeats that are empty may be left out
    return this.#intern(
      `repeat ${of.id} ${least} ${max}`,
      { kind: 'repeat', of, min: least, max },
      least === 0,
      of.plain,
    )
  }

  /** The strings that are in all of them. */
  both(...languages: readonly Language[]): Language {
    const of = new Map<number, Language>()
    const add = (one: Language): void => {
      if (one.shape.kind === 'both') one.shape.of.forEach(add)
      else if (!(one.shape.kind === 'not' && one.shape.of === this.none)) of.set(one.id, one)
    }
    languages.forEach(add)
    const list = [...of.values()].sort((a, b) => a.id - b.id)
    if (list.includes(this.none)) return this.none
    if (list.includes(this.empty)) return list.every(({ nullable }) => nullable) ? this.empty : this.none
    if (list.length === 0) return this.not(this.none)
    if (list.length === 1) return list[0]!
    return this.#intern(
      `both ${list.map(({ id }) => id).join()}`,
      { kind: 'both', of: list },
      list.every(({ nullable }) => nullable),
      false,
    )
  }

  /** All byte strings that are not in it. */
  not(of: Language): Language {
    if (of.shape.kind === 'not') return of.shape.of
    return this.#intern(`not ${of.id}`, { kind: 'not', of }, !of.nullable, false)
  }

  /** What may follow `byte` at the beginning of a string of the language. */
  derive(language: Language, byte: number): Language {
    return (language.derivatives[byte] ??= this.#derive(language.shape, byte))
  }

  #derive(shape: Shape, byte: number): Language {
    switch (shape.kind) {
      case 'none':
      case 'empty':
        return this.none
      case 'byte':
        return shape.set.has(byte) ? this.empty : this.none
      case 'sequence': {
        const { first, rest } = shape
        const inFirst = this.#pair(this.derive(first, byte), rest)
        return first.nullable ? this.choice(inFirst, this.derive(rest, byte)) : inFirst
      }
      case 'choice':
        return this.choice(...shape.of.map((one) => this.derive(one, byte)))
      case 'repeat': {
        const { of, min, max } = shape
        return this.#pair(this.derive(of, byte), this.repeat(of, Math.max(min - 1, 0), max - 1))
      }
      case 'both':
        return this.both(...shape.of.map((one) => this.derive(one, byte)))
      case 'not':
        return this.not(this.derive(shape.of, byte))
    }
  }

  /**
   * A language that agrees with this one on all beginnings of at most `length` bytes: on which are some string's beginning, and on which are in it. Counts
   * that so many bytes cannot bring to an end are forgotten, so that long texts go through few languages. What holds intersections stays as it is.
   */
  within(language: Language, length: number): Language {
    const { shape } = language
    if (!language.plain) return language
    switch (shape.kind) {
      case 'sequence':
        return this.#pair(this.within(shape.first, length), this.within(shape.rest, length))
      case 'choice':
        return this.choice(...shape.of.map((one) => this.within(one, length)))
      case 'repeat': {
        const max = shape.max > length ? Infinity : shape.max
        return this.repeat(this.within(shape.of, length), Math.min(shape.min, length + 1), max)
      }
      default:
        return language
    }
  }

  /** Right-associative, so that equal sequences are one object. */
  #pair(first: Language, rest: Language): Language {
    if (first === this.none || rest === this.none) return this.none
    if (first === this.empty) return rest
    if (rest === this.empty) return first
    if (first.shape.kind === 'sequence') return this.#pair(first.shape.first, this.#pair(first.shape.rest, rest))
    return this.#intern(
      `sequence ${first.id} ${rest.id}`,
      { kind: 'sequence', first, rest },
      first.nullable && rest.nullable,
      first.plain && rest.plain,
    )
  }

  #intern(key: string, shape: Shape, nullable: boolean, plain: boolean): Language {
    const known = this.#made.get(key)
    if (known !== undefined) return known
    const made = new Language(this.#made.size, shape, nullable, plain)
    this.#made.set(key, made)
    return made
  }
}
