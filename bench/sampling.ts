// What choosing a token costs in TypeScript, without the model: the sampler and the token's log-probabilities, from
// what native code gives it: the
// likeliest tokens where they are enough, else all logits too.

import type { Candidates } from '../lib/native.js'
import { logprobsOf } from '../lib/sampling/logprobs.js'
import { Random } from '../lib/sampling/random.js'
import { Sampler } from '../lib/sampling/sampler.js'
import type { SamplingOptions } from '../lib/sampling/options.js'

export interface SamplingCost {
  readonly name: string
  readonly vocabSize: number
  readonly tokens: number
  readonly medianMs: number
  readonly p95Ms: number
  readonly maxMs: number
}

const bias = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [17 * i, i % 2 === 0 ? 0.5 : -0.5]))

const cases: Readonly<Record<string, SamplingOptions>> = {
  greedy: {},
  'top-k and top-p': { temperature: 0.8, topK: 40, topP: 0.95 },
  'temperature alone': { temperature: 1 },
  'every option': {
    temperature: 0.9,
    topK: 1000,
    topP: 0.95,
    minP: 0.001,
    typicalP: 0.9,
    repetitionPenalty: 1.1,
    presencePenalty: 0.1,
    frequencyPenalty: 0.1,
    noRepeatNgramSize: 3,
    minTokens: 8,
    logitBias: bias,
  },
  'every option but top-k': {
    temperature: 0.9,
    topP: 0.95,
    minP: 1e-6,
    typicalP: 0.9,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.1,
    noRepeatNgramSize: 3,
    logitBias: bias,
  },
}

/** Alternatives whose log-probabilities are wanted too. */
const alternatives = 20

/**
 * Rows of logits like a model's: normal, with a spread that leaves some thousand tokens in the running, few of them
 * equal.
 */
function logitRows(count: number, vocabSize: number): readonly Float32Array[] {
  const random = new Random(7)
  const normals = Float32Array.from(
    { length: 4096 },
    () => 3 * Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next()),
  )
  return Array.from({ length: count }, (_, row) =>
    Float32Array.from(
      { length: vocabSize },
      (_value, id) => (normals[(id * 31 + row * 577 + (id >> 12)) & 4095] as number) - 5 + (id % 997) * 1e-5,
    ),
  )
}

/** Times `tokens` tokens of each case, after as many to warm up. */
export function measureSampling(vocabSize: number, tokens = 400): readonly SamplingCost[] {
  const rows = logitRows(8, vocabSize)
  return Object.entries(cases).map(([name, options]) => {
    timesOf(options, rows, tokens)
    const times = timesOf(options, rows, tokens).sort()
    const at = (share: number): number =>
      Number((times[Math.min(tokens - 1, Math.floor(share * tokens))] as number).toFixed(3))
    return { name, vocabSize, tokens, medianMs: at(0.5), p95Ms: at(0.95), maxMs: at(1) }
  })
}

/** Milliseconds of each token of one answer. */
function timesOf(options: SamplingOptions, rows: readonly Float32Array[], tokens: number): Float64Array {
  const from = (rows[0] as Float32Array).length - 8
  const sampler = new Sampler({ ...options, seed: 1 }, { ids: [0, 1], from, eosIds: [2] })
  const count = Math.max(sampler.candidates ?? 0, alternatives)
  const candidates = rows.map((logits) => likeliest(logits, count, from))
  return Float64Array.from({ length: tokens }, (_, n) => {
    const logits = rows[n % rows.length] as Float32Array
    const best = candidates[n % rows.length] as Candidates
    const start = performance.now()
    const id = (sampler.candidates === undefined ? undefined : sampler.nextOf(best)) ?? sampler.next(logits)
    logprobsOf(best, id, logits[id] as number, alternatives)
    return performance.now() - start
  })
}

/** As native code gives them; it is not timed. */
function likeliest(all: Float32Array, count: number, from: number): Candidates {
  const ids = Int32Array.from(all.subarray(0, from).keys())
    .sort((a, b) => (all[b] as number) - (all[a] as number))
    .slice(0, count)
  return { ids, logits: Float32Array.from(ids, (id) => all[id] as number), logSumExp: 0 }
}
