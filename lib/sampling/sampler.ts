// Logits to one id, in the order of Hugging Face's `generate`:
//   bias → penalties → n-grams → the caller's processor → masks, the format's last → temperature, top-k, top-p, min-p, typical-p → a draw.
// Temperature 0 is greedy: the largest logit, ties to the lowest id. Nothing of the length of the vocabulary is made anew for a token.
// Where nothing but bans comes before temperature, the few likeliest tokens are enough for a greedy choice and for
// top-k; the rest sees the same numbers.

import { randomInt } from 'node:crypto'
import { LlavaError, invalidArgument } from '../errors.js'
import { checkSampling, type LogitsProcessor, type SamplingOptions } from './options.js'
import { Penalties } from './penalties.js'
import { Random } from './random.js'
import { Truncation } from './truncation.js'
import type { Candidates } from '../native.js'

/** Ids that are never chosen: those listed, and every one from `from` on; those of `eosIds` are not chosen before `minTokens` others. */
export interface BannedIds {
  readonly ids: readonly number[]
  readonly from?: number
  readonly eosIds?: readonly number[]
}

/** Holds an answer to a form, whatever the other options make of its logits. */
export interface Constraint {
  /** What was accepted is a whole answer, and nothing may follow. */
  readonly ended: boolean
  /** Works out what may come next, so that `restrict` takes no time; `undefined`: that is known. */
  prepare(): Promise<void> | undefined
  /**
   * Rules out of logits z [V] what may not come next, and leaves something that may: where z rules all of that out, as it is in `raw` [V].
   * @param goOn not to end where the answer can go on
   */
  restrict(z: Float32Array, raw: Float32Array, goOn: boolean): void
  /** Goes on by a token that was chosen. */
  accept(id: number): void
}

/** The largest top-k that is drawn from candidates. */
const mostTopK = 128

/** Candidates beyond the k of top-k, so that equals of the last one are seldom cut off. */
const spareCandidates = 4

export class Sampler {
  readonly seed: number
  readonly #options: SamplingOptions
  readonly #banned: BannedIds
  readonly #bias: readonly (readonly [id: number, bias: number])[]
  readonly #penalties: Penalties
  readonly #random: Random
  /** What it chose. */
  readonly #ids: number[] = []
  #truncation: Truncation | undefined
  #constraint: Constraint | undefined

  /**
   * One per answer: it remembers what it chose.
   * @param options keys of `logitBias` are token ids here
   * @param stream which of the seed's independent sequences: the number of the answer, where several are drawn from one prompt
   */
  constructor(options: SamplingOptions = {}, banned: BannedIds = { ids: [] }, stream = 0) {
    checkSampling(options)
    this.seed = options.seed ?? randomInt(2 ** 47)
    this.#options = options
    this.#banned = banned
    this.#bias = Object.entries(options.logitBias ?? {}).map(([id, bias]) => [Number(id), bias])
    this.#penalties = new Penalties(options)
    this.#random = new Random(this.seed, stream)
  }

  /** Holds what it chooses from now on to a form. */
  constrain(constraint: Constraint): void {
    this.#constraint = constraint
  }

  /** What it chose is a whole answer in the form it is held to, and nothing may follow. */
  get ended(): boolean {
    return this.#constraint?.ended ?? false
  }

  /** Begins what the next choice needs and logits do not matter for; `undefined`: nothing. */
  prepare(): Promise<void> | undefined {
    return this.#constraint?.prepare()
  }

  /** @param logits [V]; left as they are */
  next(logits: Float32Array): number {
    const z = scratch(logits.length)
    z.set(logits)
    this.#process(z)
    this.#constraint?.restrict(z, logits, this.#ids.length < (this.#options.minTokens ?? 0))
    const best = argmax(z, logits)
    const id = (this.#options.temperature ?? 0) === 0 ? best : this.#draw(z, z[best] as number)
    this.#ids.push(id)
    this.#constraint?.accept(id)
    return id
  }

  /** How many of the likeliest tokens `nextOf` takes; `undefined`: the choice takes all logits. */
  get candidates(): number | undefined {
    const { temperature = 0, topK = 0, minTokens = 0, logitsProcessor } = this.#options
    const isPlain = this.#bias.length === 0 && !this.#penalties.active && logitsProcessor === undefined
    if (!isPlain || this.#constraint !== undefined) return undefined
    const banned = this.#banned.ids.length + (minTokens > 0 ? (this.#banned.eosIds?.length ?? 0) : 0)
    if (temperature === 0) return 1 + banned
    const count = topK + banned + spareCandidates
    return topK > 0 && topK <= mostTopK && count <= (this.#banned.from ?? Infinity) ? count : undefined
  }

  /**
   * Chooses the token that `next` would; `undefined`, where that takes all logits after all: nothing has changed then.
   */
  nextOf(best: Candidates): number | undefined {
    const { temperature = 0, topK = 0 } = this.#options
    const places = this.#allowed(best)
    const first = places[0]
    // whose mistake it is, `next` says
    if (first === undefined || !Number.isFinite(best.logits[first])) return undefined
    const id = temperature === 0 ? (best.ids[first] as number) : this.#drawOf(best, places, topK)
    if (id !== undefined) this.#ids.push(id)
    return id
  }

  /** Places of candidates that may be chosen. */
  #allowed({ ids: candidates }: Candidates): number[] {
    const { ids, from = Infinity, eosIds = [] } = this.#banned
    const isEarly = this.#ids.length < (this.#options.minTokens ?? 0)
    const isAllowed = (id: number) => id < from && !ids.includes(id) && !(isEarly && eosIds.includes(id))
    return [...candidates.keys()].filter((place) => isAllowed(candidates[place] as number))
  }

  /**
   * Draws where the k-th candidate has no equals behind it: those stay under top-k, and there may be more of them than
   * came.
   */
  #drawOf({ ids, logits }: Candidates, places: readonly number[], topK: number): number | undefined {
    const [last, next] = [places[topK - 1], places[topK]]
    if (last === undefined || next === undefined || !((logits[next] as number) < (logits[last] as number)))
      return undefined
    const kept = places.slice(0, topK).sort((a, b) => (ids[a] as number) - (ids[b] as number))
    const truncation = this.#truncationOf(topK)
    const total = truncation.weighKept(
      kept.map((place) => ids[place] as number),
      kept.map((place) => logits[place] as number),
      logits[places[0] as number] as number,
    )
    return draw(truncation, this.#random.next() * total)
  }

  #draw(z: Float32Array, most: number): number {
    const truncation = this.#truncationOf(z.length)
    return draw(truncation, this.#random.next() * truncation.weigh(z, most))
  }

  #truncationOf(capacity: number): Truncation {
    if (this.#truncation?.weights.length !== capacity) this.#truncation = new Truncation(this.#options, capacity)
    return this.#truncation
  }

  /** Everything up to the masks, in place. */
  #process(z: Float32Array): void {
    const { logitsProcessor, minTokens = 0 } = this.#options
    const { ids, from, eosIds = [] } = this.#banned
    for (const [id, bias] of this.#bias) z[id] = (z[id] as number) + bias
    this.#penalties.apply(z, this.#ids)
    if (logitsProcessor !== undefined) runProcessor(logitsProcessor, z, this.#ids)
    for (const id of ids) z[id] = -Infinity
    if (from !== undefined) z.fill(-Infinity, from)
    if (this.#ids.length < minTokens) for (const id of eosIds) z[id] = -Infinity
  }
}

let shared = new Float32Array(0)

/** [count], for one token of one answer: all share it, as a token is chosen without a pause. */
function scratch(count: number): Float32Array {
  if (shared.length !== count) shared = new Float32Array(count)
  return shared
}

/** An asynchronous processor would change logits after the draw: it is refused. */
function runProcessor(processor: LogitsProcessor, z: Float32Array, ids: readonly number[]): void {
  const process: (z: Float32Array, ids: readonly number[]) => unknown = processor.process.bind(processor)
  const result = process(z, ids)
  if (result instanceof Promise) {
    result.catch(() => undefined)
    throw invalidArgument('logitsProcessor.process', 'synchronous', result)
  }
}

/** The largest logit's id. `raw` are the logits before the caller's options, to tell whose mistake it is when there is none. */
function argmax(z: Float32Array, raw: Float32Array): number {
  let best = -1
  let max = -Infinity
  for (let id = 0; id < z.length; id++) {
    const value = z[id] as number
    if (value > max) {
      max = value
      best = id
    } else if (value !== value) throw nothingToChoose(Number.isNaN(raw[id]), `the logit of token ${id} is not a number`)
  }
  if (best < 0) throw nothingToChoose(!raw.some(Number.isFinite), 'no token can be chosen: every logit is -Infinity')
  if (max === Infinity) throw nothingToChoose(raw[best] === Infinity, `the logit of token ${best} is Infinity`)
  return best
}

function nothingToChoose(ours: boolean, what: string): LlavaError {
  if (ours) {
    const advice = 'weights that are no numbers do this; `llava info --check --model PATH` or checkModel() names them'
    return new LlavaError('MODEL_CORRUPT', `the model computes no usable logits (${what}): ${advice}`)
  }
  return new LlavaError('INVALID_ARGUMENT', `${what} after logit bias, penalties, n-grams and processor`)
}

/** The first id at which the running sum passes `point`; the last one, where rounding leaves the sum short. */
function draw({ ids, weights, count }: Truncation, point: number): number {
  let sum = 0
  let place = 0
  for (; place < count - 1; place++) {
    sum += weights[place] as number
    if (sum > point) break
  }
  return ids[place] as number
}
