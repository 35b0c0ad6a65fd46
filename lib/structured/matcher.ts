// One answer's way through an automaton, token by token.

import { LlavaError } from '../errors.js'
import type { State } from './automaton.js'
import { anyLeft, applyMask } from './mask.js'
import type { TokenAutomaton } from './token-automaton.js'

export class Matcher {
  readonly #automaton: TokenAutomaton
  readonly #eosIds: readonly number[]
  readonly #bytes: Uint8Array[] = []
  #state: State

  constructor(automaton: TokenAutomaton, eosIds: readonly number[]) {
    this.#automaton = automaton
    this.#eosIds = eosIds
    this.#state = automaton.start
  }

  /** The text so far is whole. */
  get complete(): boolean {
    return this.#state.accepting
  }

  /** The text is whole, and nothing may follow it; or nothing that follows could end it, as the model has no token for that. */
  get ended(): boolean {
    return this.#state.accepting && (!this.#state.goesOn || this.#eosIds.length === 0)
  }

  /** What was written so far. */
  get text(): string {
    return Buffer.concat(this.#bytes).toString()
  }

  /** Works out what may come next, a little at a time; `undefined`: it is known. */
  prepare(): Promise<void> | undefined {
    return this.#automaton.prepare(this.#state)
  }

  /**
   * Rules out of logits z [V] what would not lead to a text of the language; an end-of-sequence token stays where the text is whole, unless `goOn` is set and
   * it can go on. Where bans left nothing that may come, z is `raw` at what may.
   */
  restrict(z: Float32Array, raw: Float32Array, goOn: boolean): void {
    const mayEnd = this.#state.accepting && !(goOn && this.#state.goesOn)
    const ends = mayEnd ? this.#eosIds.map((id) => z[id]!) : []
    applyMask(this.#automaton.mask(this.#state), z)
    for (const [place, value] of ends.entries()) z[this.#eosIds[place]!] = value
    if (anyLeft(z)) return
    z.set(raw)
    applyMask(this.#automaton.mask(this.#state), z)
    if (mayEnd) for (const id of this.#eosIds) z[id] = raw[id]!
  }

  /** Goes on by a token that was chosen. */
  accept(id: number): void {
    if (this.#eosIds.includes(id)) return
    const piece = this.#automaton.bytes(id)
    const next = this.#automaton.read(this.#state, piece)
    if (next === null || piece.length === 0) throw new LlavaError('INTERNAL', `token ${id} was chosen against its mask`)
    this.#state = next
    this.#bytes.push(piece)
  }
}
