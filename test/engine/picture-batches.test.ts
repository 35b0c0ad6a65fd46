// Pictures that share batches, on a tower that only keeps books.

import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { Batches } from '../../lib/engine/batches.js'
import { Job } from '../../lib/engine/job.js'
import { batchSize, PictureBatches } from '../../lib/engine/picture-batches.js'
import { LlavaError } from '../../lib/errors.js'
import type { NativeCancellation } from '../../lib/native.js'

/** What the tower makes of pixels [1]: what was asked for, and the pixel. */
interface Result {
  readonly text: string
  freed: boolean
}

class Flag implements NativeCancellation {
  onCancel: () => void = () => undefined
  cancel(): void {
    this.onCancel()
  }
}

/** The batches it saw; `cancelled` where nobody waited any more. */
class Books {
  readonly batches: { readonly pixels: readonly number[]; cancelled: boolean }[] = []
  readonly results: Result[] = []
  failing: (pixels: readonly number[]) => boolean = () => false

  readonly tower = new PictureBatches<string, Result>(
    {
      encode: async (pixelValues, count, kinds, cancellation) => {
        const batch = { pixels: [...pixelValues], cancelled: false }
        this.batches.push(batch)
        if (!(cancellation instanceof Flag)) throw new Error('a flag of somebody else')
        cancellation.onCancel = () => {
          batch.cancelled = true
        }
        for (let n = 0; n < 3; n++) await turn()
        if (this.failing(batch.pixels)) throw new LlavaError('OUT_OF_MEMORY', 'the batch')
        const results = batch.pixels.map((pixel): Result => ({ text: `${kinds.join('+')} ${pixel}`, freed: false }))
        this.results.push(...results)
        return { results, computeMs: 12 * count }
      },
      free(result) {
        result.freed = true
      },
    },
    16,
    () => new Flag(),
  )

  encode(pixel: number, kinds: readonly string[] = ['a'], signal?: AbortSignal): Promise<string> {
    const job = new Job(signal, { cancel: () => undefined })
    return this.tower.encode(Float32Array.of(pixel), kinds, job).then(({ result, computeMs }) => {
      if (computeMs !== 12) throw new Error(`a share of ${computeMs} ms`)
      return result.text
    })
  }
}

const codeOf = async (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => undefined,
    (error: unknown) => (error as LlavaError).code,
  )

test('pictures of one breath share a batch, those that come meanwhile the next, sixteen at most', async (t) => {
  const books = new Books()
  const first = [1, 2].map((pixel) => books.encode(pixel))
  await turn()
  const later = Array.from({ length: 20 }, (_, n) => books.encode(10 + n))
  t.deepEqual(await Promise.all([...first, ...later]), [
    'a 1',
    'a 2',
    ...Array.from({ length: 20 }, (_, n) => `a ${10 + n}`),
  ])
  t.deepEqual(
    books.batches.map(({ pixels }) => pixels.length),
    [2, 16, 4],
  )
})

test('a batch is of those who want the same; the longest wait decides what', async (t) => {
  const books = new Books()
  const wanted = [['a'], ['a', 'b'], ['a'], ['b'], ['a', 'b']]
  const texts = await Promise.all(wanted.map((kinds, n) => books.encode(n, kinds)))
  t.deepEqual(texts, ['a 0', 'a+b 1', 'a 2', 'b 3', 'a+b 4'])
  t.deepEqual(
    books.batches.map(({ pixels }) => pixels),
    [[0, 2], [1, 4], [3]],
  )
})

test('who stops is over at once; the batch stops when nobody waits for it, and what nobody waits for is freed', async (t) => {
  const books = new Books()
  const stop = new AbortController()
  const calls = [codeOf(books.encode(1, ['a'], stop.signal)), codeOf(books.encode(2))]
  await turn()
  stop.abort()
  t.is(await calls[0], 'ABORTED')
  t.deepEqual(books.results, []) // the batch is under way
  t.is(await calls[1], undefined)
  t.is(books.batches[0]?.cancelled, false)
  t.deepEqual(
    books.results.map(({ freed }) => freed),
    [true, false],
  )

  const both = new AbortController()
  const more = [3, 4].map((pixel) => codeOf(books.encode(pixel, ['a'], both.signal)))
  const waiting = codeOf(books.encode(5, ['b'], both.signal))
  await turn()
  both.abort()
  t.deepEqual(await Promise.all([...more, waiting]), ['ABORTED', 'ABORTED', 'ABORTED'])
  t.is(books.batches[1]?.cancelled, true)
  t.is(await books.encode(6), 'a 6')
  t.is(books.batches.length, 3) // none for the one that still waited
})

test('a batch that fails is run again for each picture alone', async (t) => {
  const books = new Books()
  books.failing = (pixels) => pixels.includes(2)
  const codes = await Promise.all([1, 2, 3].map((pixel) => codeOf(books.encode(pixel))))
  t.deepEqual(codes, [undefined, 'OUT_OF_MEMORY', undefined])
  t.deepEqual(
    books.batches.map(({ pixels }) => pixels),
    [[1, 2, 3], [1], [2], [3]],
  )
})

test('a batch fills the products: sixteen of a small tower, one at a time of a large one', (t) => {
  const rows = { 'B/32 of 224': 50, 'L/14 of 224': 257, 'L/14 of 336': 577, 'SO400M/14 of 384': 729, 'a tiny one': 5 }
  const onCpu = 1280
  const onGpu = 20_000
  const sizes = (rowsOfPass: number) => Object.values(rows).map((each) => batchSize(each, rowsOfPass))
  t.deepEqual(sizes(onCpu), [16, 3, 1, 1, 16])
  t.deepEqual(sizes(onGpu), [32, 32, 27, 21, 32])
  t.is(batchSize(577, onCpu, 4), 4) // those that are better had together
})

test('a batch takes what its limit has room for, in order, and one item however much it weighs', async (t) => {
  const batches: (readonly number[])[] = []
  const items = new Batches<number, 'few' | 'many', number>(
    {
      async encode(some, kinds) {
        batches.push([kinds[0] === 'few' ? 0 : 1, ...some])
        await turn()
        return { results: some.map((item) => 2 * item), computeMs: 1 }
      },
      free: () => undefined,
      weightOf: (item) => item,
      limit: ([kind]) => (kind === 'few' ? 10 : 100),
    },
    () => new Flag(),
  )
  const job = new Job(undefined, { cancel: () => undefined })
  const asked = [4, 5, 60, 3, 1, 30, 200, 7]
  const results = await Promise.all(asked.map((item) => items.encode(item, [item < 20 ? 'few' : 'many'], job)))
  t.deepEqual(
    results.map(({ result }) => result),
    asked.map((item) => 2 * item),
  )
  t.deepEqual(batches, [
    [0, 4, 5],
    [1, 60, 30],
    [0, 3, 1],
    [1, 200],
    [0, 7],
  ])
})
