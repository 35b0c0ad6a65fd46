import test from 'ava'
import fc from 'fast-check'
import { Random } from '../../lib/sampling/random.js'
import type { SamplingOptions } from '../../lib/sampling/options.js'
import { Sampler } from '../../lib/sampling/sampler.js'
import { ThresholdFinder } from '../../lib/sampling/threshold.js'
import { plainCandidates } from './plain-candidates.js'

/** The plainest sampler: which ids may be drawn, and with what probability. */
function distribution(
  logits: ArrayLike<number>,
  { temperature = 1, topK = 0, topP = 1 }: SamplingOptions,
): Map<number, number> {
  const order = Array.from(logits, (logit, id) => ({ id, logit })).sort((a, b) => b.logit - a.logit || a.id - b.id)
  const cut = topK > 0 ? (order[Math.min(topK, order.length) - 1]?.logit ?? -Infinity) : -Infinity
  const kept = order.filter(({ logit }) => logit >= cut)
  const mass = (list: readonly { readonly logit: number }[]): number =>
    list.reduce((sum, { logit }) => sum + Math.exp((logit - (order[0]?.logit ?? 0)) / temperature), 0)
  const total = mass(kept)
  let count = 1
  while (count < kept.length && mass(kept.slice(0, count)) < topP * total) count++
  const nucleus = kept.slice(0, topP < 1 ? count : kept.length)
  return new Map(nucleus.map((entry) => [entry.id, mass([entry]) / mass(nucleus)]))
}

function noise(count: number, seed: number): Float32Array {
  const random = new Random(seed)
  return Float32Array.from({ length: count }, () => 6 * (random.next() + random.next() + random.next() - 1.5))
}

test('greedy takes the largest logit, the lowest id of equals', (t) => {
  t.is(new Sampler().next(Float32Array.of(-1, 3, 2, 3)), 1)
  t.is(new Sampler({ temperature: 0, topK: 1, topP: 0.1 }).next(Float32Array.of(-4, -2, -2)), 1)
})

test('banned ids are never chosen and the logits stay as they are', (t) => {
  const logits = Float32Array.of(5, 4, 3, 9, 9)
  const before = Float32Array.from(logits)
  t.is(new Sampler({}, { ids: [0], from: 3 }).next(logits), 1)
  const sampler = new Sampler({ temperature: 5, seed: 3 }, { ids: [0], from: 3 })
  for (let i = 0; i < 200; i++) t.true([1, 2].includes(sampler.next(logits)))
  t.deepEqual(logits, before)
})

// A share p of n draws has the deviation sqrt(p (1-p) / n); the seed is fixed, so six deviations either hold or do not.
test('draws follow the probabilities of temperature, top-k and top-p', (t) => {
  const logits = Float32Array.of(1, 2, 0.5, 2, -1, 1.5, 0, -3)
  const draws = 20_000
  for (const options of [
    { temperature: 1 },
    { temperature: 0.5 },
    { temperature: 2, topK: 3 },
    { temperature: 1, topP: 0.7 },
    { temperature: 1.5, topK: 5, topP: 0.8 },
    { temperature: 1, topK: 1 },
  ]) {
    const sampler = new Sampler({ ...options, seed: 11 })
    const counts = new Map<number, number>()
    for (let i = 0; i < draws; i++) {
      const id = sampler.next(logits)
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    const shares = distribution(logits, options)
    t.deepEqual([...counts.keys()].sort(), [...shares.keys()].sort(), JSON.stringify(options))
    for (const [id, p] of shares)
      t.true(
        Math.abs((counts.get(id) ?? 0) / draws - p) <= 6 * Math.sqrt((p * (1 - p)) / draws),
        JSON.stringify({ options, id }),
      )
  }
})

test('logits equal to the k-th largest all stay', (t) => {
  const sampler = new Sampler({ temperature: 100, topK: 2, seed: 1 })
  const seen = new Set(Array.from({ length: 300 }, () => sampler.next(Float32Array.of(1, 0, 1, 1, 0))))
  t.deepEqual([...seen].sort(), [0, 2, 3])
})

test('of equal logits at the edge of the nucleus the lower ids stay', (t) => {
  const sampler = new Sampler({ temperature: 1, topP: 0.5, seed: 1 })
  const seen = new Set(Array.from({ length: 300 }, () => sampler.next(new Float32Array(4))))
  t.deepEqual([...seen].sort(), [0, 1])
})

test('the most probable id stays, however small top-p is', (t) => {
  const sampler = new Sampler({ temperature: 1, topP: 1e-9, seed: 1 })
  for (let i = 0; i < 50; i++) t.is(sampler.next(Float32Array.of(0, 0.1, 0)), 1)
})

test('a temperature next to 0 is greedy', (t) => {
  const logits = noise(500, 4)
  const greedy = new Sampler().next(logits)
  for (const temperature of [1e-9, Number.MIN_VALUE])
    t.is(new Sampler({ temperature, topP: 0.9, topK: 50, seed: 2 }).next(logits), greedy)
})

test('the same seed draws the same ids, another seed other ones', (t) => {
  const rows = Array.from({ length: 30 }, (_, row) => noise(1000, row))
  const ids = (seed: number): number[] => {
    const sampler = new Sampler({ temperature: 1, topP: 0.9, seed })
    return rows.map((row) => sampler.next(row))
  }
  t.deepEqual(ids(5), ids(5))
  t.notDeepEqual(ids(5), ids(6))
})

test('without a seed each sampler has its own, and says which', (t) => {
  const [a, b] = [new Sampler({ temperature: 1 }), new Sampler({ temperature: 1 })]
  t.not(a.seed, b.seed)
})

test('the threshold is that of a full sort', (t) => {
  // Any float, corner cases, and values so close that they part only in the last digits of the descent.
  const value = fc.oneof(
    fc.float({ noNaN: true }),
    fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity),
    fc.nat(4000).map((n) => 1 + n / 2 ** 16),
  )
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 50 }), fc.nat(), (list, pick) => {
      const k = 1 + (pick % list.length)
      const sorted = Float32Array.from(list).sort().reverse()
      t.true(new ThresholdFinder(list.length).find(Float32Array.from(list), undefined, k).value === sorted[k - 1])
    }),
  )
})

test('logits that are not numbers are a typed error', (t) => {
  for (const temperature of [0, 1]) {
    const sampler = new Sampler({ temperature, seed: 1 })
    for (const logits of [[0, Number.NaN, 1], [0, Infinity], [-Infinity, -Infinity], []])
      t.throws(() => sampler.next(Float32Array.from(logits)), { code: 'MODEL_CORRUPT', message: /llava info --check/ })
  }
})

/** What a sampler may still choose, of equal logits. */
function choosable(sampler: () => Sampler, logits: Float32Array, history: readonly number[] = []): number[] {
  const seen = new Set<number>()
  for (let n = 0; n < 60; n++) {
    const one = sampler()
    for (const id of history) {
      const sure = new Float32Array(logits.length)
      sure[id] = 1e6
      one.next(sure)
    }
    seen.add(one.next(logits))
  }
  return [...seen].sort()
}

test('a logit bias is added first, and -Infinity rules out', (t) => {
  t.is(new Sampler({ logitBias: { 0: 3 } }).next(Float32Array.of(1, 3, 2)), 0)
  t.is(new Sampler({ logitBias: { 1: -Infinity } }).next(Float32Array.of(1, 3, 2)), 2)
  // bias, then repetition: (-1 + 2) / 4 < 0.5 < 2 - 1 / 4
  const sampler = new Sampler({ logitBias: { 0: 2 }, repetitionPenalty: 4 })
  t.is(sampler.next(Float32Array.of(-1, 0.5)), 0)
  t.is(sampler.next(Float32Array.of(-1, 0.5)), 1)
})

test('penalties count what the sampler chose', (t) => {
  const sampler = new Sampler({ frequencyPenalty: 1 })
  const logits = Float32Array.of(3, 1.5, 0)
  t.deepEqual(
    Array.from({ length: 6 }, () => sampler.next(logits)),
    [0, 0, 1, 0, 1, 0],
  ) // 3, 2; 1.5 against 1; 1; 0.5 against 0; of 0, -0.5 and 0 the lower id
})

test('no n-gram comes twice', (t) => {
  const sampler = new Sampler({ noRepeatNgramSize: 2 })
  const ids = Array.from({ length: 12 }, () => sampler.next(Float32Array.of(6, 5, 4, 3, 2, 1)))
  const pairs = ids.slice(1).map((id, n) => `${ids[n] as number} ${id}`)
  t.is(new Set(pairs).size, pairs.length)
})

test('min-p and typical-p cut the tail', (t) => {
  const logits = Float32Array.of(2, 2 + Math.log(0.5), 2 + Math.log(0.2), -9)
  const sampler = (options: SamplingOptions) => () => new Sampler({ temperature: 1, ...options })
  t.deepEqual(choosable(sampler({ minP: 0.3 }), logits), [0, 1])
  t.deepEqual(choosable(sampler({ minP: 1 }), Float32Array.of(0, 2, 1, 2)), [1, 3])
  // p = 0.5, 0.3, 0.2: H = 1.03; |-ln p - H| = 0.34, 0.17, 0.58
  t.deepEqual(choosable(sampler({ typicalP: 0.2 }), Float32Array.of(Math.log(0.5), Math.log(0.3), Math.log(0.2))), [1])
})

test('temperature comes before min-p, penalties before temperature', (t) => {
  const logits = Float32Array.of(0, Math.log(0.25))
  t.deepEqual(
    choosable(() => new Sampler({ temperature: 2, minP: 0.4 }), logits),
    [0, 1],
  ) // 0.25 ^ (1 / 2) = 0.5
  t.deepEqual(
    choosable(() => new Sampler({ temperature: 1, minP: 0.4 }), logits),
    [0],
  )
  t.deepEqual(
    choosable(() => new Sampler({ temperature: 4, presencePenalty: 8, minP: 0.5 }), new Float32Array(3), [1]),
    [0, 2],
  ) // exp(-8 / 4) < 0.5
})

test('end-of-sequence ids are not chosen before minTokens others', (t) => {
  const sampler = new Sampler({ minTokens: 2 }, { ids: [], eosIds: [0, 2] })
  const logits = Float32Array.of(3, 1, 2)
  t.deepEqual(
    [1, 2, 3].map(() => sampler.next(logits)),
    [1, 1, 0],
  )
})

test('a logits processor sees penalised logits and the tokens so far, and may change the logits', (t) => {
  const seen: unknown[] = []
  const logitsProcessor = {
    favourite: 2,
    process(logits: Float32Array, tokenIds: readonly number[]) {
      seen.push([[...logits], [...tokenIds]])
      logits[this.favourite] = 9
    },
  }
  const sampler = new Sampler({ logitsProcessor, presencePenalty: 1 })
  t.deepEqual([sampler.next(Float32Array.of(1, 2, 3)), sampler.next(Float32Array.of(1, 2, 3))], [2, 2])
  t.deepEqual(seen, [
    [[1, 2, 3], []],
    [[1, 2, 2], [2]],
  ])
})

test('a logits processor cannot bring back what is never chosen', (t) => {
  const logitsProcessor = {
    process(logits: Float32Array) {
      logits.fill(0)
    },
  }
  t.is(
    new Sampler({ logitsProcessor, minTokens: 1 }, { ids: [0], from: 3, eosIds: [1] }).next(
      Float32Array.of(0, 0, -5, 0, 0),
    ),
    2,
  )
})

test('what a logits processor throws comes out as it is', (t) => {
  const error = new Error('mine')
  const logitsProcessor = {
    process() {
      throw error
    },
  }
  t.is(
    t.throws(() => new Sampler({ logitsProcessor }).next(new Float32Array(2))),
    error,
  )
})

test('streams of one seed are different, each the same every time', (t) => {
  const rows = Array.from({ length: 20 }, (_, row) => noise(500, row))
  const ids = (stream: number) => {
    const sampler = new Sampler({ temperature: 1, seed: 4 }, { ids: [] }, stream)
    return rows.map((row) => sampler.next(row))
  }
  t.deepEqual(
    ids(0),
    rows.map(
      (
        (sampler) => (row: Float32Array) =>
          sampler.next(row)
      )(new Sampler({ temperature: 1, seed: 4 })),
    ),
  )
  t.deepEqual(ids(1), ids(1))
  t.notDeepEqual(ids(1), ids(0))
  t.notDeepEqual(ids(1), ids(2))
})

// Values that are often equal, and some that no token can be chosen by.
const oddLogits = fc.array(
  fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: -40, max: 40 }).map((value) => value / 8) },
    { weight: 20, arbitrary: fc.float({ min: -9, max: 9, noNaN: true }) },
    { weight: 1, arbitrary: fc.constantFrom(-Infinity, Infinity, Number.NaN, -0) },
  ),
  { minLength: 40, maxLength: 80 },
)

test('a token that the likeliest settle is the one that all logits give, and the next ones are too', (t) => {
  let [settled, left] = [0, 0]
  fc.assert(
    fc.property(
      fc.array(oddLogits, { minLength: 1, maxLength: 6 }),
      fc.constantFrom<SamplingOptions>(
        {},
        { minTokens: 2 },
        { temperature: 0.7, topK: 1 },
        { temperature: 1, topK: 5, topP: 0.8 },
        { temperature: 2, topK: 9, minP: 0.05, minTokens: 3 },
        { temperature: 1.5, topK: 20, typicalP: 0.7 },
      ),
      fc.nat(9),
      (rows, options, seed) => {
        const from = 38
        const sampler = () => new Sampler({ ...options, seed }, { ids: [3], from, eosIds: [1, 2] })
        const [few, all] = [sampler(), sampler()]
        const count = few.candidates
        t.not(count, undefined)
        for (const list of rows) {
          const logits = Float32Array.from(list)
          const best = plainCandidates(logits, count as number, from)
          const id = few.nextOf(best)
          let expected: number
          try {
            expected = all.next(logits)
          } catch (error) {
            t.is(id, undefined)
            t.throws(() => few.next(logits), { message: (error as Error).message })
            return
          }
          if (id === undefined) left++
          else settled++
          t.is(id ?? few.next(logits), expected)
        }
      },
    ),
    { numRuns: 2000 },
  )
  t.true(settled > 20 * left)
  t.true(left > 0)
})

test('whatever else changes logits takes all of them', (t) => {
  const banned = { ids: [3], from: 500, eosIds: [1, 2] }
  const count = (options: SamplingOptions) => new Sampler(options, banned).candidates
  t.is(count({}), 2)
  t.is(count({ minTokens: 1 }), 4)
  t.true((count({ temperature: 1, topK: 40 }) as number) > 40)
  for (const options of [
    { temperature: 1 },
    { temperature: 1, topP: 0.9 },
    { temperature: 1, topK: 129 },
    { logitBias: { 7: 1 } },
    { repetitionPenalty: 1.1 },
    { presencePenalty: 1 },
    { frequencyPenalty: 1 },
    { noRepeatNgramSize: 3 },
    { logitsProcessor: { process: () => undefined } },
  ])
    t.is(count(options), undefined, JSON.stringify(options))
  t.is(new Sampler({ temperature: 1, topK: 40 }, { ids: [], from: 30 }).candidates, undefined)
  const constrained = new Sampler({}, banned)
  constrained.constrain({ ended: false, prepare: () => undefined, restrict: () => undefined, accept: () => undefined })
  t.is(constrained.candidates, undefined)
})
