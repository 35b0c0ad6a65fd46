// Logits to one id: banned ids out, then temperature, top-k, top-p, softmax and a draw, in Hugging Face's order.
//   z -> z / T;  keep z >= k-th largest (ties stay);  keep the fewest most probable ids whose mass reaches p (ties: lower ids first).
// Temperature 0 is greedy: the largest logit, ties to the lowest id.

import { randomInt } from 'node:crypto'
import { LlavaError, invalidArgument } from '../errors.js'
import { Random } from './random.js'
import { ThresholdFinder } from './threshold.js'

export interface SamplingOptions {
  /** 0 (default): greedy. Higher is more random. */
  readonly temperature?: number
  /** Draw among the k most probable; 0 (default): no limit. */
  readonly topK?: number
  /** Draw among the most probable whose probabilities reach p in sum, in (0, 1]; 1 (default): no limit. */
  readonly topP?: number
  /** An integer; the same seed gives the same text. Default: a random one. */
  readonly seed?: number
}

/** Ids that are never chosen: those listed, and every one from `from` on. */
export interface BannedIds {
  readonly ids: readonly number[]
  readonly from?: number
}

export class Sampler {
  readonly seed: number
  readonly #temperature: number
  readonly #topK: number
  readonly #topP: number
  readonly #banned: BannedIds
  readonly #random: Random
  #scratch: { readonly logits: Float32Array; readonly weights: Float64Array; readonly finder: ThresholdFinder } | undefined

  constructor(options: SamplingOptions = {}, banned: BannedIds = { ids: [] }) {
    const { temperature = 0, topK = 0, topP = 1, seed = randomInt(2 ** 47) } = options
    if (typeof temperature !== 'number' || !(temperature >= 0 && temperature < Infinity)) {
      throw invalidArgument('temperature', 'a number that is 0 or greater', temperature)
    }
    if (!Number.isSafeInteger(topK) || topK < 0) throw invalidArgument('topK', 'an integer that is 0 or greater', topK)
    if (typeof topP !== 'number' || !(topP > 0 && topP <= 1)) throw invalidArgument('topP', 'a number in (0, 1]', topP)
    if (!Number.isSafeInteger(seed)) throw invalidArgument('seed', 'an integer', seed)
    this.seed = seed
    this.#temperature = temperature
    this.#topK = topK
    this.#topP = topP
    this.#banned = banned
    this.#random = new Random(seed)
  }

  /** @param logits [V]; left as they are */
  next(logits: Float32Array): number {
    const { logits: z, weights, finder } = (this.#scratch = this.#scratch?.logits.length === logits.length ? this.#scratch : scratchOf(logits.length))
    z.set(logits)
    for (const id of this.#banned.ids) z[id] = -Infinity
    if (this.#banned.from !== undefined) z.fill(-Infinity, this.#banned.from)

    const best = argmax(z)
    if (this.#temperature === 0) return best
    const max = z[best] as number
    const kept = this.#topK > 0 && this.#topK < z.length ? finder.find(z, undefined, this.#topK).value : -Infinity
    let total = softmaxNumerators(z, max, kept, this.#temperature, weights)
    if (this.#topP < 1) total = keepNucleus(z, weights, finder, this.#topP * total)
    return draw(weights, this.#random.next() * total)
  }
}

function scratchOf(count: number): { logits: Float32Array; weights: Float64Array; finder: ThresholdFinder } {
  return { logits: new Float32Array(count), weights: new Float64Array(count), finder: new ThresholdFinder(count) }
}

function argmax(z: Float32Array): number {
  let best = -1
  let max = -Infinity
  for (let id = 0; id < z.length; id++) {
    const value = z[id] as number
    if (value > max) {
      max = value
      best = id
    } else if (value !== value) throw new LlavaError('INTERNAL', `the logit of token ${id} is not a number`)
  }
  if (best < 0 || max === Infinity) throw new LlavaError('INTERNAL', `no token can be chosen: the largest logit is ${max}`)
  return best
}

/** weights = exp((z - max) / T) where z >= kept, else 0; returns their sum. */
function softmaxNumerators(z: Float32Array, max: number, kept: number, temperature: number, weights: Float64Array): number {
  let total = 0
  for (let id = 0; id < z.length; id++) {
    const value = z[id] as number
    const weight = value >= kept ? Math.exp((value - max) / temperature) : 0
    weights[id] = weight
    total += weight
  }
  return total
}

/** Zeroes the weights outside the nucleus, whose weight is at least `target`; returns what is left. */
function keepNucleus(z: Float32Array, weights: Float64Array, finder: ThresholdFinder, target: number): number {
  const { value: cut, above } = finder.find(z, weights, target)
  let total = 0
  let tied = above // weight so far, counting what lies above the cut first
  for (let id = 0; id < z.length; id++) {
    const value = z[id] as number
    if (value < cut || (value === cut && tied >= target)) weights[id] = 0
    else if (value === cut) tied += weights[id] as number
    total += weights[id] as number
  }
  return total
}

/** The first id at which the running sum passes `point`. */
function draw(weights: Float64Array, point: number): number {
  let sum = 0
  let last = 0
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id] as number
    if (weight === 0) continue
    last = id
    sum += weight
    if (sum > point) return id
  }
  return last
}
