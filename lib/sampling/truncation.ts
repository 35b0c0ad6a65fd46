// Processed logits to the probabilities of a draw, not normalised: weight = exp((z - max) / T), for the ids that are not cut off.
//   top-k      keep z >= k-th largest (ties stay)
//   top-p      keep the fewest most probable ids whose mass reaches p (ties: lower ids first)
//   min-p      keep what is at least m times as probable as the most probable: weight >= m, for the largest weight is 1
//   typical-p  keep the fewest ids with |-ln p - H| smallest whose mass reaches p (ties stay); H the entropy of what is left by then
// in Hugging Face's order, each on what the one before left. What is left stands at the front of the arrays, by rising id.

import type { SamplingOptions } from './options.js'
import { ThresholdFinder } from './threshold.js'

export class Truncation {
  /** Of the last call: how many ids are left, which, and their weights. */
  count = 0
  readonly ids: Int32Array
  readonly weights: Float64Array
  readonly #z: Float32Array
  readonly #nearness: Float32Array
  readonly #temperature: number
  readonly #topK: number
  readonly #topP: number
  readonly #minP: number
  readonly #typicalP: number
  readonly #finder: ThresholdFinder

  /** @param capacity V */
  constructor({ temperature = 1, topK = 0, topP = 1, minP = 0, typicalP = 1 }: SamplingOptions, capacity: number) {
    this.ids = new Int32Array(capacity)
    this.weights = new Float64Array(capacity)
    this.#z = new Float32Array(capacity)
    this.#nearness = new Float32Array(typicalP < 1 ? capacity : 0)
    this.#temperature = temperature
    this.#topK = topK
    this.#topP = topP
    this.#minP = minP
    this.#typicalP = typicalP
    this.#finder = new ThresholdFinder(capacity)
  }

  /** Finds what is left of logits [V]; returns the sum of the weights. @param max the largest of `z` */
  weigh(z: Float32Array, max: number): number {
    const cut = this.#topK > 0 && this.#topK < z.length ? this.#finder.find(z, undefined, this.#topK).value : -Infinity
    this.count = 0
    let total = 0
    for (let id = 0; id < z.length; id++) {
      const value = z[id] as number
      if (value >= cut) total += this.#add(id, value, max)
    }
    return this.#truncate(total, max)
  }

  /** The same of logits of which only those of `ids`, by rising id, are left after top-k. */
  weighKept(ids: readonly number[], z: readonly number[], max: number): number {
    this.count = 0
    let total = 0
    for (const [place, id] of ids.entries()) total += this.#add(id, z[place] as number, max)
    return this.#truncate(total, max)
  }

  #truncate(total: number, max: number): number {
    if (this.#topP < 1) total = this.#keepNucleus(this.#topP * total)
    if (this.#minP > 0) total = this.#keepProbable(this.#minP)
    if (this.#typicalP < 1) total = this.#keepTypical(max, this.#typicalP * total, total)
    return total
  }

  /** Adds an id to those that are left, unless it weighs nothing; returns its weight. */
  #add(id: number, value: number, max: number): number {
    const weight = Math.exp((value - max) / this.#temperature)
    if (weight === 0) return 0
    const place = this.count++
    this.ids[place] = id
    this.#z[place] = value
    this.weights[place] = weight
    return weight
  }

  /** `target` is the weight to reach. */
  #keepNucleus(target: number): number {
    const { weights, count } = this
    const z = this.#z
    const { value: cut, above } = this.#finder.find(z.subarray(0, count), weights, target)
    this.count = 0
    let total = 0
    let reached = above // weight so far, counting what lies above the cut first
    for (let i = 0; i < count; i++) {
      const value = z[i] as number
      if (value < cut || (value === cut && reached >= target)) continue
      if (value === cut) reached += weights[i] as number
      total += this.#keep(i)
    }
    return total
  }

  #keepProbable(least: number): number {
    const { weights, count } = this
    this.count = 0
    let total = 0
    for (let i = 0; i < count; i++) if ((weights[i] as number) >= least) total += this.#keep(i)
    return total
  }

  /** -ln p - H = (ln total - ln weight) - (ln total - mean of ln weight) = mean - ln weight, and ln weight = (z - max) / T needs no logarithm. */
  #keepTypical(max: number, target: number, total: number): number {
    const { weights, count } = this
    const z = this.#z
    const temperature = this.#temperature
    const nearness = this.#nearness.subarray(0, count)
    let sum = 0
    for (let i = 0; i < count; i++) sum += ((weights[i] as number) * ((z[i] as number) - max)) / temperature
    const mean = sum / total
    for (let i = 0; i < count; i++) nearness[i] = -Math.abs(mean - ((z[i] as number) - max) / temperature)
    const { value: cut } = this.#finder.find(nearness, weights, target)
    this.count = 0
    let left = 0
    for (let i = 0; i < count; i++) if ((nearness[i] as number) >= cut) left += this.#keep(i)
    return left
  }

  /** Moves the id at `from` to those that are left; returns its weight. */
  #keep(from: number): number {
    const { ids, weights } = this
    const z = this.#z
    const to = this.count++
    const weight = weights[from] as number
    ids[to] = ids[from] as number
    z[to] = z[from] as number
    weights[to] = weight
    return weight
  }
}
