// A grammar's automaton over the tokens of a vocabulary. Its masks are kept by state: inside a text most tokens meet one that was made before.

import { LRUCache } from 'lru-cache'
import { finish, finishInSlices } from '../slices.js'
import { Automaton, type State } from './automaton.js'
import type { Expression, Grammar } from './grammar.js'
import { maskOf, type Mask } from './mask.js'
import type { Pieces, Vocabulary } from './vocabulary.js'

/** A thousand masks of a vocabulary of 32,000. */
const maskBytes = 2 ** 22

export class TokenAutomaton {
  readonly start: State
  readonly #automaton: Automaton
  readonly #vocabulary: Vocabulary
  readonly #pieces: Pieces
  /** Masks that are being made, for all answers that wait for them. */
  readonly #preparing = new Map<State, Promise<void>>()
  readonly #masks = new LRUCache<State, Mask>({ maxSize: maskBytes, sizeCalculation: ({ nbytes }) => nbytes + 64 })

  /** `undefined` where the vocabulary can write no text of the grammar. */
  static of(grammar: Grammar, root: Expression, vocabulary: Vocabulary, pieces: Pieces): TokenAutomaton | undefined {
    const automaton = new Automaton(grammar, root, vocabulary.writable)
    return automaton.start && new TokenAutomaton(automaton, automaton.start, vocabulary, pieces)
  }

  private constructor(automaton: Automaton, start: State, vocabulary: Vocabulary, pieces: Pieces) {
    this.#automaton = automaton
    this.start = start
    this.#vocabulary = vocabulary
    this.#pieces = pieces
  }

  /** How much was made so far: a measure of memory. */
  get size(): number {
    return this.#automaton.size
  }

  bytes(id: number): Uint8Array {
    return this.#pieces.bytes(id)
  }

  /** Makes the mask of a state in slices of the event loop's time; `undefined`: it is there. */
  prepare(state: State): Promise<void> | undefined {
    const near = this.#automaton.near(state, this.#vocabulary.longest)
    if (this.#masks.has(near)) return undefined
    const known = this.#preparing.get(near)
    if (known !== undefined) return known
    const preparing = finishInSlices(maskOf(near, this.#automaton, this.#vocabulary))
      .then((mask) => {
        this.#masks.set(near, mask)
      })
      .finally(() => this.#preparing.delete(near))
    this.#preparing.set(near, preparing)
    return preparing
  }

  /** The tokens that may follow. */
  mask(state: State): Mask {
    const near = this.#automaton.near(state, this.#vocabulary.longest)
    const known = this.#masks.get(near)
    if (known !== undefined) return known
    const mask = finish(maskOf(near, this.#automaton, this.#vocabulary))
    this.#masks.set(near, mask)
    return mask
  }

  /** The state after more bytes; `null`: no text begins so. */
  read(state: State, bytes: Uint8Array): State | null {
    let at: State | null = state
    for (const byte of bytes) {
      if (at === null) return null
      at = this.#automaton.step(at, byte)
    }
    return at
  }
}
