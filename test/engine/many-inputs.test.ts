// Vectors of any number of inputs: in order or as they are done, with bounded work under way, and an end that leaves nothing behind.

import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { eachInput, mostUnderWay } from '../../lib/engine/many-inputs.js'
import { LLaVA, LlavaError, type Embedding, type EmbedInput, type EmbedResult } from '../../lib/index.js'
import { goldenCase } from '../tiny-model.js'

const { model: modelPath, picture } = goldenCase('hf-f32')
const options = { kind: 'projected_mean' } as const

async function withModel<T>(work: (model: LLaVA) => Promise<T>): Promise<T> {
  await using model = await LLaVA.open(modelPath, { threads: 2 })
  return await work(model)
}

async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const result of results) all.push(result)
  return all
}

const grey = (value: number) => ({ width: 8, height: 8, data: new Uint8Array(192).fill(value) })
const vector = (value: number): Embedding => ({
  kind: 'projected_mean',
  dtype: 'f32',
  shape: [1],
  data: Float32Array.of(value),
})
const idle = { onStop: () => () => undefined, cancel: () => undefined, stop: () => undefined }
const texts = (count: number) => Array.from({ length: count }, (_, n) => `${n}`)

/** A source that counts what was asked of it. */
class Source implements AsyncIterable<string> {
  asked = 0
  left = false
  readonly #count: number
  constructor(count: number) {
    this.#count = count
  }
  [Symbol.asyncIterator](): AsyncIterator<string> {
    return {
      next: () =>
        Promise.resolve(
          this.asked < this.#count ? { done: false, value: `${this.asked++}` } : { done: true, value: undefined },
        ),
      return: () => {
        this.left = true
        return Promise.resolve({ done: true, value: undefined })
      },
    }
  }
}

test('vectors are those of embed, for lists, generators and async sources', async (t) => {
  await withModel(async (model) => {
    const inputs = [picture, grey(10), grey(200), picture]
    const expected = await Promise.all(inputs.map((input) => model.embed(input, options)))
    t.deepEqual(await model.embed(inputs, options), expected)
    const results = expected.map((embedding, index) => ({ index, embedding }))
    async function* later() {
      for (const input of inputs) {
        await sleep(1)
        yield input
      }
    }
    t.deepEqual(await collect(model.embedMany(inputs, options)), results)
    t.deepEqual(await collect(model.embedMany(new Set(inputs.slice(0, 3)), options)), results.slice(0, 3))
    t.deepEqual(await collect(model.embedMany(later(), options)), results)
    const asDone = await collect(model.embedMany(later(), { ...options, ordered: false }))
    t.deepEqual(
      asDone.toSorted((a, b) => a.index - b.index),
      results,
    )
    t.deepEqual(await collect(model.embedMany([], options)), [])
  })
})

test('a bad input is a result of its own; of a list it is the error', async (t) => {
  await withModel(async (model) => {
    const inputs: EmbedInput[] = [grey(1), 'no-such-file.jpg', grey(2), 7 as unknown as EmbedInput]
    const results = await collect(model.embedMany(inputs, options))
    t.deepEqual(
      results.map(({ index, embedding, error }) => [index, embedding?.shape, error?.code]),
      [
        [0, [32], undefined],
        [1, undefined, 'IMAGE_UNREADABLE'],
        [2, [32], undefined],
        [3, undefined, 'INVALID_ARGUMENT'],
      ],
    )
    t.regex(results[3]?.error?.message ?? '', /inputs\[3\]|image/)
    await t.throwsAsync(model.embed(inputs, options), { code: 'IMAGE_UNREADABLE' })
  })
})

test('results come in the order of their inputs, or as they are done', async (t) => {
  const embed = async (_: EmbedInput, index: number) => {
    await sleep(index === 0 ? 50 : 1)
    return vector(index)
  }
  const order = async (ordered: boolean) =>
    (await collect(eachInput(texts(4), embed, ordered, idle))).map(({ index }) => index)
  t.deepEqual(await order(true), [0, 1, 2, 3])
  t.is((await order(false)).at(-1), 0)
})

for (const ordered of [true, false]) {
  test(`no more inputs are asked for than results are taken and may be under way${ordered ? '' : ', as they are done'}`, async (t) => {
    const source = new Source(1000)
    let underWay = 0
    let most = 0
    const embed = async (_: EmbedInput, index: number) => {
      most = Math.max(most, ++underWay)
      await turn()
      underWay--
      return vector(index)
    }
    let taken = 0
    for await (const { index } of eachInput(source, embed, ordered, idle)) {
      t.true(source.asked - ++taken <= mostUnderWay, `${source.asked} asked for, ${taken} taken`)
      if (ordered) t.is(index, taken - 1)
      if (taken % 100 === 0) await sleep(5)
    }
    t.is(taken, 1000)
    t.true(most <= mostUnderWay)
  })
}

test('who leaves stops the work and tells the source, also one that never gives its next input', async (t) => {
  await withModel(async (model) => {
    const source = new Source(1000)
    for await (const { index } of model.embedMany(source, { kind: 'hidden_last' })) if (index === 2) break
    t.true(source.left)
    t.is(model.info().memory.kvCache, 0)

    async function* stuck(): AsyncGenerator<EmbedInput> {
      yield 'one'
      await new Promise(() => undefined)
    }
    for await (const result of model.embedMany(stuck(), { kind: 'hidden_last' })) {
      t.is(result.index, 0)
      break
    }
  })
})

test('a signal, a model that is gone and a source that fails end the iteration with their error', async (t) => {
  const failure = new Error('mine')
  async function* stuck(): AsyncGenerator<EmbedInput> {
    yield 'one'
    await new Promise(() => undefined)
  }
  // eslint-disable-next-line require-yield -- it fails before it has anything
  function* failing(): Generator<EmbedInput> {
    throw failure
  }
  const model = await LLaVA.open(modelPath, { threads: 2 })
  const kind = 'hidden_last'
  await t.throwsAsync(collect(model.embedMany(failing(), { kind })), { is: failure })
  await t.throwsAsync(collect(model.embedMany(stuck(), { kind, signal: AbortSignal.timeout(50) })), { code: 'ABORTED' })
  await t.throwsAsync(collect(model.embedMany(texts(3), { kind, signal: AbortSignal.abort() })), { code: 'ABORTED' })
  const results = collect(model.embedMany(stuck(), { kind }))
  await sleep(20)
  model.dispose()
  await t.throwsAsync(results, { code: 'DISPOSED' })
  t.throws(() => model.embedMany([], { kind }), { code: 'DISPOSED' })
})

test('mistakes in the call are thrown by it', async (t) => {
  await withModel((model) => {
    const wrong = (inputs: unknown, given: unknown) => () =>
      model.embedMany(inputs as EmbedInput[], given as typeof options)
    t.throws(wrong('a text', options), { code: 'INVALID_ARGUMENT', message: /inputs one after another/ })
    t.throws(wrong([], { kind: 'none' }), { code: 'INVALID_ARGUMENT', message: /kind/ })
    t.throws(wrong([], { ...options, ordered: 1 }), { code: 'INVALID_ARGUMENT', message: /ordered/ })
    t.throws(wrong([], { ...options, concurrency: 1 }), { code: 'INVALID_ARGUMENT', message: /concurrency/ })
    return Promise.resolve()
  })
})

// serial: it reads the memory of the process
test.serial('memory does not grow with the number of inputs', async (t) => {
  await withModel(async (model) => {
    function* pictures(count: number): Generator<EmbedInput> {
      for (let n = 0; n < count; n++) yield { width: 64, height: 64, data: new Uint8Array(3 * 64 * 64).fill(n % 256) }
    }
    const run = async (count: number): Promise<number> => {
      let results = 0
      for await (const result of model.embedMany(pictures(count), options)) results += sizeOf(result)
      t.is(results, count * 32)
      return process.memoryUsage().rss
    }
    await run(4000) // until the collector's pace is found
    const before = await run(4000)
    const grown = (await run(12_000)) - before
    t.true(grown < 32 * 2 ** 20, `${grown} bytes more for 12,000 pictures, which are 141 MiB`)
  })
})

function sizeOf({ embedding, error }: EmbedResult): number {
  if (error !== undefined) throw new LlavaError(error.code, error.message)
  return embedding.data.length
}

test('progress counts what is done, of all where that is known, and what its listener throws ends the iteration', async (t) => {
  await withModel(async (model) => {
    const inputs = [picture, 'no/such/picture.png', grey(10)]
    const told: unknown[] = []
    await collect(model.embedMany(inputs, { ...options, onProgress: (progress) => told.push(progress) }))
    t.deepEqual(
      told,
      [0, 1, 2, 3].map((done) => ({ stage: 'inputs', done, total: 3 })),
    )
    told.length = 0
    await collect(model.embedMany(inputs.values(), { ...options, onProgress: (progress) => told.push(progress) }))
    t.deepEqual(told.at(-1), { stage: 'inputs', done: 3 })
    told.length = 0
    const questions = new Set([{ question: 'red?' }, { question: 'blue?' }])
    await collect(model.askMany(questions, { maxTokens: 2, onProgress: (progress) => told.push(progress) }))
    t.deepEqual(told.at(-1), { stage: 'inputs', done: 2, total: 2 })
    const onProgress = ({ done }: { readonly done: number }) => {
      if (done === 2) throw new RangeError('enough')
    }
    await t.throwsAsync(collect(model.embedMany(inputs, { ...options, onProgress })), { instanceOf: RangeError })
    function* failing(): Generator<string> {
      yield picture
      throw new RangeError('no more')
    }
    await t.throwsAsync(collect(model.embedMany(failing(), options)), { instanceOf: RangeError })
  })
})
