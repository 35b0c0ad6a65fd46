// The automaton of a grammar over bytes, made as far as it is walked.
//   A position in the grammar is a language (what is left of the terminal that is being read) and a frame (what follows it). A state is a set of
//   positions: all that the bytes so far may have led to. States, frames and languages that are equal are one object, so a step that was taken before
//   is a look-up in a table.
// A state holds only positions from which the text can be brought to its end with the bytes there are, so no step leads into a dead end.

import type { Expression, Grammar, Sequence } from './grammar.js'
import type { Language, Languages } from './language.js'

/** What follows: the parts of a sequence from `at` on, then `next`. */
interface Frame {
  readonly id: number
  readonly sequence: Sequence
  readonly at: number
  readonly next: Frame | undefined
}

interface Position {
  readonly language: Language
  readonly frame: Frame | undefined
}

export class State {
  /** The text may end here. */
  readonly accepting: boolean
  /** The text may go on here. */
  readonly goesOn: boolean
  /** Each can go on by a byte. */
  readonly positions: readonly Position[]
  /** By class of bytes; `null`: nothing begins so. */
  readonly next: (State | null | undefined)[] = []
  /** An equal state as far as few bytes can tell. */
  near: State | undefined

  constructor(positions: readonly Position[], accepting: boolean) {
    this.positions = positions
    this.accepting = accepting
    this.goesOn = positions.length > 0
  }
}

export class Automaton {
  /** `undefined`: there is no text. */
  readonly start: State | undefined
  readonly #languages: Languages
  /** By byte, the class of those that no language here tells apart. */
  readonly #classOf = new Uint8Array(256)
  /** By class, one of its bytes. */
  readonly #bytes: number[] = []
  /** By class, whether some byte of it can be written. */
  readonly #writable: boolean[] = []
  readonly #frames = new Map<string, Frame>()
  readonly #states = new Map<string, State>()
  readonly #finishable: Uint8Array
  /** By language: whether it has a string, and whether it has one that is not empty, in bytes that can be written. */
  readonly #live = new Map<Language, boolean>()
  readonly #longer = new Map<Language, boolean>()

  /** @param bytes those that can be written one by one */
  constructor({ languages, expressions }: Grammar, root: Expression, bytes: ReadonlySet<number>) {
    this.#languages = languages
    this.#classify(bytes)
    this.#finishable = this.#findFinishable(expressions)
    if (this.#finishable[root.id] === 1) {
      const found = new Closure()
      this.#enter(root, undefined, found)
      this.start = this.#state(found) ?? undefined
    }
  }

  /** How much was made: a measure of memory. */
  get size(): number {
    return this.#states.size + this.#frames.size + this.#languages.size
  }

  /** The state after one more byte; `null`: no text begins so. */
  step(state: State, byte: number): State | null {
    const place = this.#classOf[byte]!
    const known = state.next[place]
    return known === undefined ? (state.next[place] = this.#step(state, byte)) : known
  }

  /** A state that agrees with this one on the next `length` bytes. Languages in which only counts differ that are out of reach lead to the same one. */
  near(state: State, length: number): State {
    return (state.near ??= this.#near(state, length))
  }

  #near(state: State, length: number): State {
    const found = new Closure()
    found.accepting = state.accepting
    for (const { language, frame } of state.positions) found.add(this.#languages.within(language, length), frame)
    return this.#state(found) ?? state
  }

  #step(state: State, byte: number): State | null {
    const found = new Closure()
    for (const { language, frame } of state.positions) this.#read(this.#languages.derive(language, byte), frame, found)
    return this.#state(found)
  }

  /** Bytes that every set holds together or not at all are one class. Derivatives are made of the same sets and their unions. */
  #classify(writable: ReadonlySet<number>): void {
    const sets = [...this.#languages.sets]
    const byMembership = new Map<string, number>()
    for (let byte = 0; byte < 256; byte++) {
      const membership = sets.map((set) => (set.has(byte) ? '1' : '0')).join('')
      const place = byMembership.get(membership) ?? byMembership.size
      byMembership.set(membership, place)
      this.#classOf[byte] = place
      this.#bytes[place] ??= byte
      this.#writable[place] = (this.#writable[place] ?? false) || writable.has(byte)
    }
  }

  /** By expression, whether it has a text: the smallest solution of what a sequence, a choice and a rule need. */
  #findFinishable(expressions: readonly Expression[]): Uint8Array {
    const finishable = new Uint8Array(expressions.length)
    const holds = (expression: Expression): boolean => {
      switch (expression.kind) {
        case 'terminal':
          return this.#isLive(expression.language)
        case 'sequence':
          return expression.parts.every(({ id }) => finishable[id] === 1)
        case 'choice':
          return expression.of.some(({ id }) => finishable[id] === 1)
        case 'rule':
          return expression.body !== undefined && finishable[expression.body.id] === 1
      }
    }
    for (let changed = true; changed;) {
      changed = false
      for (const expression of expressions) {
        if (finishable[expression.id] === 1 || !holds(expression)) continue
        finishable[expression.id] = 1
        changed = true
      }
    }
    return finishable
  }

  #enter(expression: Expression, frame: Frame | undefined, found: Closure): void {
    if (this.#finishable[expression.id] === 0) return
    switch (expression.kind) {
      case 'terminal':
        this.#read(expression.language, frame, found)
        return
      case 'sequence':
        this.#resume(this.#frame(expression, 0, frame), found)
        return
      case 'choice':
        for (const one of expression.of) this.#enter(one, frame, found)
        return
      case 'rule':
        if (found.isNew(`rule ${expression.id} ${frame?.id ?? ''}`)) this.#enter(expression.body!, frame, found)
    }
  }

  /** Goes on with what is left of a terminal, and where that may be nothing, with what follows. */
  #read(language: Language, frame: Frame | undefined, found: Closure): void {
    if (this.#isLonger(language)) found.add(language, frame)
    if (language.nullable) this.#resume(frame, found)
  }

  #resume(frame: Frame | undefined, found: Closure): void {
    if (frame === undefined) {
      found.accepting = true
      return
    }
    if (!found.isNew(`frame ${frame.id}`)) return
    const { sequence, at, next } = frame
    const part = sequence.parts[at]
    if (part === undefined) this.#resume(next, found)
    else this.#enter(part, at + 1 < sequence.parts.length ? this.#frame(sequence, at + 1, next) : next, found)
  }

  #frame(sequence: Sequence, at: number, next: Frame | undefined): Frame {
    const key = `${sequence.id} ${at} ${next?.id ?? ''}`
    const known = this.#frames.get(key)
    if (known !== undefined) return known
    const made = { id: this.#frames.size, sequence, at, next }
    this.#frames.set(key, made)
    return made
  }

  #state({ positions, accepting }: Closure): State | null {
    if (positions.size === 0 && !accepting) return null
    const key = `${[...positions.keys()].sort().join()} ${accepting}`
    const known = this.#states.get(key)
    if (known !== undefined) return known
    const made = new State([...positions.values()], accepting)
    this.#states.set(key, made)
    return made
  }

  /** Whether a language has a string: plainly so, or found among its derivatives, the nearest first. */
  #isLive(language: Language): boolean {
    const known = this.#live.get(language)
    if (known !== undefined) return known
    const from = new Map<Language, Language | undefined>([[language, undefined]])
    for (const one of from.keys()) {
      if (one.nullable || this.#live.get(one) === true) {
        for (let on: Language | undefined = one; on !== undefined; on = from.get(on)) this.#live.set(on, true)
        return true
      }
      if (one.plain && this.#isPlainlyLive(one)) {
        for (let on: Language | undefined = one; on !== undefined; on = from.get(on)) this.#live.set(on, true)
        return true
      }
      if (one.plain || this.#live.get(one) === false) continue
      for (const next of this.#derivatives(one)) if (!from.has(next)) from.set(next, one)
    }
    for (const one of from.keys()) this.#live.set(one, false)
    return false
  }

  #isPlainlyLive({ shape }: Language): boolean {
    switch (shape.kind) {
      case 'byte':
        return this.#bytes.some((byte, place) => this.#writable[place]! && shape.set.has(byte))
      case 'sequence':
        return this.#isLive(shape.first) && this.#isLive(shape.rest)
      case 'choice':
        return shape.of.some((one) => this.#isLive(one))
      case 'repeat':
        return shape.min === 0 || this.#isLive(shape.of)
      default:
        return shape.kind === 'empty'
    }
  }

  #isLonger(language: Language): boolean {
    const known = this.#longer.get(language)
    if (known !== undefined) return known
    const longer =
      language !== this.#languages.none &&
      language !== this.#languages.empty &&
      this.#derivatives(language).some((next) => this.#isLive(next))
    this.#longer.set(language, longer)
    return longer
  }

  #derivatives(language: Language): Language[] {
    return this.#bytes.filter((_, place) => this.#writable[place]).map((byte) => this.#languages.derive(language, byte))
  }
}

/** What a step leads to, while it is being found. */
class Closure {
  readonly positions = new Map<string, Position>()
  accepting = false
  readonly #seen = new Set<string>()

  add(language: Language, frame: Frame | undefined): void {
    this.positions.set(`${language.id}:${frame?.id ?? ''}`, { language, frame })
  }

  isNew(what: string): boolean {
    if (this.#seen.has(what)) return false
    this.#seen.add(what)
    return true
  }
}
