// What an answer said weighs on what it says next. For the ids it holds, with `count` their number in it:
//   repetition  z > 0: z / r, else z · r;      frequency, presence  z -= f · count + p
// and no n tokens in a row come twice: what would complete such an n-gram again is ruled out.

import type { SamplingOptions } from './options.js'

export class Penalties {
  /** Whether it does anything. */
  readonly active: boolean
  readonly #repetition: number
  readonly #presence: number
  readonly #frequency: number
  readonly #ngramSize: number
  /** By id, how often it is in the answer. */
  #counts = new Uint32Array(0)
  /** The ids that are there, each once. */
  readonly #seen: number[] = []
  /** How many ids of the answer are counted. */
  #counted = 0

  constructor({
    repetitionPenalty = 1,
    presencePenalty = 0,
    frequencyPenalty = 0,
    noRepeatNgramSize = 0,
  }: SamplingOptions) {
    this.#repetition = repetitionPenalty
    this.#presence = presencePenalty
    this.#frequency = frequencyPenalty
    this.#ngramSize = noRepeatNgramSize
    this.active = this.#weighs || noRepeatNgramSize > 0
  }

  /**
   * @param z logits [V], changed in place
   * @param ids the answer so far: those of the last call and what came since
   */
  apply(z: Float32Array, ids: readonly number[]): void {
    if (this.#weighs) this.#penalise(z, ids)
    if (this.#ngramSize > 0) banRepeats(z, ids, this.#ngramSize)
  }

  get #weighs(): boolean {
    return this.#repetition !== 1 || this.#presence !== 0 || this.#frequency !== 0
  }

  #penalise(z: Float32Array, ids: readonly number[]): void {
    if (this.#counts.length !== z.length) this.#counts = new Uint32Array(z.length)
    const counts = this.#counts
    for (; this.#counted < ids.length; this.#counted++) {
      const id = ids[this.#counted] as number
      if (counts[id] === 0) this.#seen.push(id)
      counts[id] = (counts[id] as number) + 1
    }
    for (const id of this.#seen) {
      const value = z[id] as number
      z[id] =
        (value > 0 ? value / this.#repetition : value * this.#repetition) -
        (this.#frequency * (counts[id] as number) + this.#presence)
    }
  }
}

/** Rules out every id that followed, somewhere in `ids`, the `size - 1` ids that now stand at the end. */
function banRepeats(z: Float32Array, ids: readonly number[], size: number): void {
  const tail = ids.length - (size - 1)
  for (let start = 0; start + size <= ids.length; start++) {
    let same = 0
    while (same < size - 1 && ids[start + same] === ids[tail + same]) same++
    if (same === size - 1) z[ids[start + same] as number] = -Infinity
  }
}
