// Encoded pictures on disk: the same bits for later processes, never more than the limit, and nothing that is not
// whole.

import { spawn } from 'node:child_process'
import fs, { mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { syncBuiltinESMExports } from 'node:module'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { LLaVA, type OpenOptions } from '../../lib/index.js'
import { PictureStore } from '../../lib/engine/picture-store.js'
import { goldenCase } from '../tiny-model.js'

const { model: modelPath, picture } = goldenCase('hf-f32')
const floats = 1000
const { utimes: touched } = fs
const bytesOfOne = 4 + 4 * floats

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-pictures-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function storeIn(directory: string, limit = 1e9, fingerprint = 'model'): PictureStore {
  return new PictureStore({ directory, limit, sizeOf: () => floats, fingerprint: () => Promise.resolve(fingerprint) })
}

const values = (n: number) => [Float32Array.from({ length: floats }, (_, i) => n + i / floats)]
const projected = ['projected'] as const

async function put(store: PictureStore, digest: string, n: number): Promise<void> {
  store.put(digest, projected, () => values(n))
  await store.settled()
}

/** Every file below, by its path there. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => path.join(parentPath, name))
}

test('what is put is got, by other stores too, for its model and results alone', async (t) => {
  await withFolder(async (folder) => {
    const store = storeIn(folder)
    t.is(await store.get('a', projected), undefined)
    await put(store, 'a', 1)
    t.deepEqual(await store.get('a', projected), values(1))
    t.deepEqual(await storeIn(folder).get('a', projected), values(1))
    t.is(await storeIn(folder, 1e9, 'another').get('a', projected), undefined)
    t.is(await store.get('a', ['pooled_features']), undefined)
    t.is(await store.get('b', projected), undefined)
    t.deepEqual(store.use, { limit: 1e9, hits: 1, misses: 3 })
  })
})

test.serial('what may be read but not touched is found all the same', async (t) => {
  await withFolder(async (folder) => {
    const store = storeIn(folder)
    await put(store, 'a', 1)
    fs.utimes = () => Promise.reject(Object.assign(new Error('a directory to be read only'), { code: 'EROFS' }))
    syncBuiltinESMExports()
    try {
      t.deepEqual(await store.get('a', projected), values(1))
    } finally {
      fs.utimes = touched
      syncBuiltinESMExports()
    }
    t.deepEqual(store.use, { limit: 1e9, hits: 1, misses: 0 })
  })
})

test('a file that is cut short, longer, or of other bytes counts as not there, and is replaced', async (t) => {
  await withFolder(async (folder) => {
    const store = storeIn(folder)
    for (const damage of [
      async (file: string) => truncate(file, bytesOfOne - 1),
      async (file: string) => truncate(file, 0),
      async (file: string) => writeFile(file, Buffer.alloc(1), { flag: 'a' }),
      async (file: string) => {
        const bytes = await readFile(file)
        bytes[2000]! ^= 1
        await writeFile(file, bytes)
      },
    ]) {
      await put(store, 'a', 1)
      const [file] = await filesIn(folder)
      await damage(file!)
      t.is(await store.get('a', projected), undefined)
    }
    await put(store, 'a', 2)
    t.deepEqual(await store.get('a', projected), values(2))
  })
})

test('there is never more than the limit; what was not used for longest goes, whichever model it is of', async (t) => {
  await withFolder(async (folder) => {
    const limit = 10.5 * bytesOfOne
    const store = storeIn(folder, limit)
    const other = storeIn(folder, limit, 'another')
    await put(other, 'old', 0)
    for (const [n, file] of (await filesIn(folder)).entries()) await utimes(file, n, n)
    for (let n = 0; n < 30; n++) {
      await put(store, `picture${n}`, n)
      await store.get('picture0', projected) // in use
      const sizes = await Promise.all((await filesIn(folder)).map(async (file) => (await stat(file)).size))
      t.true(sizes.reduce((sum, size) => sum + size, 0) <= limit)
    }
    t.deepEqual(await store.get('picture0', projected), values(0))
    t.deepEqual(await store.get('picture29', projected), values(29))
    t.is(await store.get('picture1', projected), undefined)
    t.is(await other.get('old', projected), undefined)
    await put(storeIn(folder, bytesOfOne - 1), 'large', 5) // larger than all there may be
    t.is(await store.get('large', projected), undefined)
  })
})

test('of pictures that are put at once, too, no more are there than the limit allows', async (t) => {
  await withFolder(async (folder) => {
    const limit = 3.5 * bytesOfOne
    const store = storeIn(folder, limit)
    for (let n = 0; n < 8; n++) store.put(`picture${n}`, projected, () => values(n))
    await store.settled()
    const sizes = await Promise.all((await filesIn(folder)).map(async (file) => (await stat(file)).size))
    t.true(sizes.length > 0 && sizes.reduce((sum, size) => sum + size, 0) <= limit)
  })
})

test('a directory that cannot be written to, or is a file, stores nothing and fails nothing', async (t) => {
  await withFolder(async (folder) => {
    const file = path.join(folder, 'file')
    await writeFile(file, '')
    const store = storeIn(file)
    await put(store, 'a', 1)
    t.is(await store.get('a', projected), undefined)
  })
})

async function answered(t: ExecutionContext, folder: string, options: OpenOptions = {}) {
  await using model = await LLaVA.open(modelPath, {
    template: 'hf',
    threads: 2,
    pictureCacheDirectory: folder,
    ...options,
  })
  const { tokenIds } = await model.ask(picture, 'What is it?', { maxTokens: 8, logprobs: 1 })
  const { picturesOnDisk } = model.info().caches
  t.truthy(picturesOnDisk)
  using encoded = await model.encodeImage(picture)
  return { tokenIds, projected: encoded.projected(), onDisk: picturesOnDisk! }
}

test('a second process asks without the tower, and gets the same bits', async (t) => {
  await withFolder(async (folder) => {
    const directory = path.join(folder, 'made', 'where it is not there')
    const first = await answered(t, directory)
    t.is(first.onDisk.hits, 0)
    const second = await answered(t, directory)
    t.is(second.onDisk.hits, 1)
    t.deepEqual([second.tokenIds, second.projected], [first.tokenIds, first.projected])
    const exact = await answered(t, directory, { visionFeatureLayer: -1 })
    t.is(exact.onDisk.hits, 0) // sees otherwise
  })
})

test('processes that are killed while they write leave nothing that is not whole', async (t) => {
  await withFolder(async (folder) => {
    const script = fileURLToPath(new URL('store-writer.js', import.meta.url))
    for (let round = 0; round < 6; round++) {
      const writers = [0, 1].map(() =>
        spawn(process.execPath, [script, folder, `${floats}`], { stdio: ['ignore', 'pipe', 'inherit'] }),
      )
      await Promise.all(writers.map((writer) => new Promise((resolve) => writer.stdout.once('data', resolve))))
      await new Promise((resolve) => setTimeout(resolve, 20 * round))
      for (const writer of writers) writer.kill('SIGKILL')
      await Promise.all(writers.map((writer) => new Promise((resolve) => writer.once('close', resolve))))
    }
    const store = storeIn(folder)
    let whole = 0
    for (const file of await filesIn(folder)) {
      if (file.endsWith('.tmp')) continue
      const [digest] = path.basename(file).split('.')
      t.deepEqual(await store.get(digest!, projected), values(Number(digest)))
      whole++
    }
    t.true(whole > 0)
  })
})
