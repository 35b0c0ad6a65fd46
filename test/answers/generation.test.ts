import test from 'ava'
import { Generation, type GenerationParts } from '../../lib/answers/generation.js'
import type { NextLogits } from '../../lib/answers/next-logits.js'

const eos = 0
const alphabet = ' abcdefghij'
const none: NextLogits = { all: new Float32Array(1) }

/** A cycle that chooses the tokens of `script` in turn; token n reads as the n-th letter of the alphabet, 0 is EOS. */
function scripted(script: readonly number[], options: Partial<GenerationParts> = {}) {
  const chosen = script.values()
  const fed: number[] = []
  let streamed = ''
  const generation = new Generation({
    sampler: { next: () => chosen.next().value ?? eos, nextOf: () => undefined },
    text: { push: (id) => alphabet[id] ?? '', flush: () => '' },
    eosIds: [eos],
    stop: [],
    limit: 100,
    ...options,
  })
  const step = (id: number): Promise<NextLogits> => {
    fed.push(id)
    return Promise.resolve(none)
  }
  const run = (feed = step) =>
    generation.run(none, { step: feed, whole: () => Promise.resolve(none) }, (text) => (streamed += text))
  return { generation, run, fed, streamed: () => streamed }
}

test('an EOS token ends the answer as `stop` and is not part of it', async (t) => {
  const { generation, run } = scripted([1, 2, eos, 3])
  await run()
  t.is(generation.finishReason, 'stop')
  t.deepEqual(generation.tokenIds, [1, 2])
  t.is(generation.text, 'ab')
})

test('every EOS id ends the answer', async (t) => {
  const { generation, run } = scripted([1, 7, 2], { eosIds: [eos, 7] })
  await run()
  t.deepEqual(generation.tokenIds, [1])
})

test('the limit ends the answer as `length`, and the last token is not fed for nothing', async (t) => {
  const { generation, run, fed } = scripted([1, 2, 3, 4], { limit: 3 })
  await run()
  t.is(generation.finishReason, 'length')
  t.deepEqual(generation.tokenIds, [1, 2, 3])
  t.deepEqual(fed, [1, 2])
})

test('a limit of 0 gives an empty answer', async (t) => {
  const { generation, run, fed } = scripted([1], { limit: 0 })
  await run()
  t.is(generation.finishReason, 'length')
  t.is(generation.text, '')
  t.deepEqual(fed, [])
})

test('a stop string ends the answer as `stop_string` and is cut off', async (t) => {
  const { generation, run, fed, streamed } = scripted([1, 2, 3, 4, 5], { stop: ['cd'] })
  await run()
  t.is(generation.finishReason, 'stop_string')
  t.is(generation.text, 'ab')
  t.is(streamed(), 'ab')
  t.deepEqual(generation.tokenIds, [1, 2, 3, 4])
  t.deepEqual(fed, [1, 2, 3])
})

test('a stop string on the last token counts before the limit', async (t) => {
  const { generation, run } = scripted([1, 2], { stop: ['ab'], limit: 2 })
  await run()
  t.is(generation.finishReason, 'stop_string')
})

test('what was held for a stop string that did not come is given out at the end', async (t) => {
  const { generation, run, streamed } = scripted([1, 2, eos], { stop: ['bc'] })
  await run()
  t.is(generation.text, 'ab')
  t.is(streamed(), 'ab')
})

test('the streamed text is the text, without white space at its ends', async (t) => {
  const text = { push: (id: number) => (id === 10 ? ' \n' : (alphabet[id] ?? '')), flush: () => '' }
  const { generation, run, streamed } = scripted([10, 1, 10, 2, 10, eos], { text })
  await run()
  t.is(generation.text, 'a \nb')
  t.is(streamed(), 'a \nb')
})

test('half a character left at the end is given out', async (t) => {
  const { generation, run } = scripted([1, eos], { text: { push: () => 'a', flush: () => '\uFFFD' } })
  await run()
  t.is(generation.text, 'a\uFFFD')
})

test('when a step fails, what there was stays, marked `cancelled`', async (t) => {
  const { generation, run } = scripted([1, 2, 3])
  let steps = 0
  const failure = new Error('stopped')
  const error = await t.throwsAsync(run(() => (++steps < 2 ? Promise.resolve(none) : Promise.reject(failure))))
  t.is(error, failure)
  t.is(generation.finishReason, 'cancelled')
  t.deepEqual(generation.tokenIds, [1, 2])
  t.is(generation.text, 'ab')
})

test('each token is told before its text, with its log-probabilities among the logits it was chosen from', async (t) => {
  const told: unknown[] = []
  const logprobs = ({ all }: NextLogits, id: number) => ({
    id,
    text: '',
    bytes: [],
    logprob: all?.[0] as number,
    top: [],
  })
  const { generation } = scripted([1, 2, eos], {
    logprobs,
    onToken: ({ id, logprobs: scored }) => told.push([id, scored?.logprob]),
  })
  let fed = 0
  await generation.run(
    { all: Float32Array.of(-1) },
    { step: () => Promise.resolve({ all: Float32Array.of(-2 - fed++) }), whole: () => Promise.reject(new Error()) },
    (text) => told.push(text),
  )
  t.deepEqual(told, [[1, -1], 'a', [2, -2], 'b'])
  t.deepEqual(
    generation.logprobs.map(({ id, logprob }) => [id, logprob]),
    [
      [1, -1],
      [2, -2],
    ],
  )
})

test('where the likeliest do not settle a token, all logits do', async (t) => {
  const asked: string[] = []
  const best = { ids: Int32Array.of(0), logits: Float32Array.of(0), logSumExp: 0 }
  const generation = new Generation({
    sampler: {
      next: ([id]) => id as number,
      nextOf: ({ ids: [id] }) => (id === 9 ? undefined : id),
    },
    text: { push: (id) => alphabet[id] ?? '', flush: () => '' },
    eosIds: [eos],
    stop: [],
    limit: 100,
    logprobs: ({ all }, id) => ({ id, text: '', bytes: [], logprob: all === undefined ? -1 : -2, top: [] }),
  })
  const likeliest = [2, 9, eos].values()
  await generation.run(
    { all: Float32Array.of(1) },
    {
      step(id) {
        asked.push(`step ${id}`)
        return Promise.resolve({ best: { ...best, ids: Int32Array.of(likeliest.next().value as number) } })
      },
      whole() {
        asked.push('whole')
        return Promise.resolve({ all: Float32Array.of(3) })
      },
    },
    () => undefined,
  )
  t.is(generation.text, 'abc')
  t.deepEqual(asked, ['step 1', 'step 2', 'whole', 'step 3'])
  t.deepEqual(
    generation.logprobs.map(({ logprob }) => logprob),
    [-2, -1, -2],
  )
})
