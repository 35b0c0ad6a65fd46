// Encoded pictures that are kept, on a tower that only keeps books.

import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { Job } from '../../lib/engine/job.js'
import { PictureCache } from '../../lib/engine/picture-cache.js'
import { LlavaError } from '../../lib/errors.js'
import type { NativeImageFeatures } from '../../lib/native.js'

const newJob = () => new Job(undefined, { cancel: () => undefined })

/** A cache with room for `pictures`, and what its tower was asked. */
function cacheOf(pictures: number) {
  const books = { encoded: [] as string[], live: 0, fails: false }
  const cache = new PictureCache(
    pictures * 10,
    (result) => (result === 'projected' ? 10 : 5),
    async (pixelValues, results, job) => {
      books.encoded.push(`${[...pixelValues].join()} ${results.join()}`)
      for (let n = 0; n < 3; n++) await turn()
      job.check()
      if (books.fails) throw new LlavaError('OUT_OF_MEMORY', 'out of memory')
      books.live++
      const image: NativeImageFeatures = {
        rows: 1,
        read: () => new Float32Array(0),
        dispose: () => {
          books.live--
        },
      }
      return { result: image, computeMs: 1 }
    },
  )
  return { books, cache }
}

const picture = (...values: number[]) => Float32Array.from(values)
const projected = ['projected'] as const

test('a picture that was seen before is not encoded again, wherever its pixels stand', async (t) => {
  const { cache, books } = cacheOf(2)
  const first = await cache.get(picture(1, 2), projected, newJob())
  const again = await cache.get(picture(9, 1, 2).subarray(1), projected, newJob())
  t.is(again.native, first.native)
  await cache.get(picture(1, 3), projected, newJob())
  t.deepEqual(books.encoded, ['1,2 projected', '1,3 projected'])
  t.deepEqual(cache.use, { entries: 2, bytes: 20, limit: 20, hits: 1, misses: 2 })
})

test('other results of it are', async (t) => {
  const { cache, books } = cacheOf(2)
  await cache.get(picture(1), projected, newJob())
  await cache.get(picture(1), ['image_features'], newJob())
  t.deepEqual(books.encoded, ['1 projected', '1 image_features'])
  t.is(cache.use.bytes, 15)
})

test('the least recently used leaves, once its users have left', async (t) => {
  const { cache, books } = cacheOf(2)
  const one = await cache.get(picture(1), projected, newJob())
  for (const n of [2, 1, 3]) (await cache.get(picture(n), projected, newJob())).release() // 2 is let go, by one of 1's users too
  t.is(books.live, 2)
  for (const n of [4, 5]) (await cache.get(picture(n), projected, newJob())).release()
  t.is(books.live, 3) // 1 is in use
  one.release()
  t.is(books.live, 2)
  cache.clear()
  t.is(books.live, 0)
})

test('equal pictures that come at once are encoded once; where the first stops or fails, another is', async (t) => {
  const { cache, books } = cacheOf(2)
  const job = newJob()
  const calls = [job, newJob(), newJob()].map((one) => cache.get(picture(1), projected, one))
  const stopped = t.throwsAsync(calls[0]!, { message: 'over' })
  await turn()
  job.stop(() => new Error('over'))
  await stopped
  const [second, third] = await Promise.all(calls.slice(1))
  t.is(second!.native, third!.native)
  t.is(books.encoded.length, 2)
  books.fails = true
  const failing = [1, 2].map(() => cache.get(picture(2), projected, newJob()))
  for (const { status } of await Promise.allSettled(failing)) t.is(status, 'rejected')
  t.is(books.encoded.length, 4)
})

test('without room, or for a picture that is larger than it, nothing is kept', async (t) => {
  for (const room of [0, 0.5]) {
    const { cache, books } = cacheOf(room)
    for (let n = 0; n < 2; n++) (await cache.get(picture(1), projected, newJob())).release()
    t.is(books.encoded.length, 2)
    t.is(books.live, 0)
  }
})
