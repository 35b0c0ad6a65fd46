// Encoded pictures on disk, for later processes: a file each, named by what the tower saw and by the model that it is
// of.
//   DIRECTORY/FINGERPRINT/DIGEST.RESULTS   crc32 of the rest (u32), then the float32 values of each result
// A file comes to be by renaming, so that a process that is killed leaves none that is not whole, and any number of
// processes may share a directory. What is not as it should be counts as not there. When there is more than the limit,
// what was not used for longest goes.

import { readdir, readFile, rm, stat, utimes, mkdir } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import pLimit from 'p-limit'
import { finishInSlices } from '../slices.js'
import { writeWhole } from '../partial-file.js'
import type { ImageResult } from '../native.js'

/** Values of a picture's results, in the order of their names. */
export type StoredPicture = readonly Float32Array[]

export interface PictureStoreOptions {
  readonly directory: string
  /** Bytes, at most. */
  readonly limit: number
  /** Floats of a result. */
  readonly sizeOf: (result: ImageResult) => number
  /** Of the model, once it is needed, and again for each picture. */
  readonly fingerprint: () => Promise<string>
}

/** What a store did. */
export interface StoreUse {
  readonly limit: number
  readonly hits: number
  readonly misses: number
}

/** Pictures on their way to the disk, at most: more are not stored, rather than held in memory. */
const mostUnderWay = 8

/** Bytes that are checked between two turns of the event loop. */
const checkedAtOnce = 2 ** 20

/** A temporary file that is older was left by a process that is gone. */
const leftAfterMs = 3_600_000

/** What the limit is undercut by when there is more than it, so that not every picture has to look. */
const headroom = 1 / 16

export class PictureStore {
  readonly #options: PictureStoreOptions
  readonly #underWay = new Set<Promise<void>>()
  /** One after another: each looks at what room there is. */
  readonly #writes = pLimit(1)
  /** Bytes that may be written before somebody has to look what is there. */
  #room = 0
  #hits = 0
  #misses = 0

  constructor(options: PictureStoreOptions) {
    this.#options = options
  }

  get use(): StoreUse {
    return { limit: this.#options.limit, hits: this.#hits, misses: this.#misses }
  }

  async get(digest: string, results: readonly ImageResult[]): Promise<StoredPicture | undefined> {
    const found = await this.#read(digest, results).catch(() => undefined)
    if (found === undefined) this.#misses++
    else this.#hits++
    return found
  }

  /** Writes it some time later. A failure, such as a full disk, stores nothing. */
  put(digest: string, results: readonly ImageResult[], values: () => StoredPicture): void {
    if (this.#underWay.size >= mostUnderWay) return
    const picture = values()
    const writing = this.#writes(() => this.#write(digest, results, picture))
      .catch(() => undefined)
      .finally(() => this.#underWay.delete(writing))
    this.#underWay.add(writing)
  }

  /** Resolves once all is written. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay)
  }

  async #read(digest: string, results: readonly ImageResult[]): Promise<StoredPicture | undefined> {
    const file = await this.#fileOf(digest, results)
    const bytes = await readFile(file)
    const sizes = results.map(this.#options.sizeOf)
    const length = sizes.reduce((sum, size) => sum + size, 0) * Float32Array.BYTES_PER_ELEMENT
    if (bytes.length !== 4 + length || bytes.readUInt32LE(0) !== (await checksum(bytes.subarray(4)))) return undefined
    const now = new Date()
    await utimes(file, now, now).catch(() => undefined) // of a directory that may only be read
    const values = new Float32Array(bytes.buffer, bytes.byteOffset + 4, length / Float32Array.BYTES_PER_ELEMENT)
    let at = 0
    return sizes.map((size) => values.subarray(at, (at += size)))
  }

  async #write(digest: string, results: readonly ImageResult[], values: StoredPicture): Promise<void> {
    const parts = values.map(bytesOf)
    const head = Buffer.alloc(4)
    const nbytes = parts.reduce((sum, { length }) => sum + length, head.length)
    if (nbytes > this.#options.limit) return
    head.writeUInt32LE(await checksum(...parts))
    const file = await this.#fileOf(digest, results)
    await mkdir(path.dirname(file), { recursive: true })
    if (nbytes > this.#room) await this.#makeRoom(nbytes)
    this.#room -= nbytes
    await writeWhole(file, [head, ...parts])
  }

  async #fileOf(digest: string, results: readonly ImageResult[]): Promise<string> {
    const { directory, fingerprint } = this.#options
    return path.join(directory, await fingerprint(), `${digest}.${results.join('+')}`)
  }

  /**
   * Looks at what all models and processes have put there, and removes what was not used for longest, where `nbytes`
   * more would be too much.
   */
  async #makeRoom(nbytes: number): Promise<void> {
    const { directory, limit } = this.#options
    const names = await readdir(directory, { recursive: true })
    const files: { readonly file: string; readonly size: number; readonly usedMs: number }[] = []
    for (const name of names) {
      const file = path.join(directory, name)
      const found = await stat(file).catch(() => undefined) // another process may have removed it
      if (found?.isFile() !== true) continue
      if (name.endsWith('.tmp')) {
        if (Date.now() - found.mtimeMs > leftAfterMs) await rm(file, { force: true })
      } else files.push({ file, size: found.size, usedMs: found.mtimeMs })
    }
    let bytes = files.reduce((sum, { size }) => sum + size, 0)
    if (bytes + nbytes > limit) {
      for (const { file, size } of files.sort((a, b) => a.usedMs - b.usedMs)) {
        if (bytes + nbytes <= limit * (1 - headroom)) break
        await rm(file, { force: true })
        bytes -= size
      }
    }
    this.#room = Math.max(nbytes, Math.min(limit - bytes, limit * headroom)) // others write too: look again soon
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

function checksum(...parts: readonly Uint8Array[]): Promise<number> {
  return finishInSlices(checking(parts))
}

function* checking(parts: readonly Uint8Array[]): Generator<undefined, number> {
  let sum = 0
  for (const bytes of parts)
    for (let at = 0; at < bytes.length; at += checkedAtOnce) {
      sum = crc32(bytes.subarray(at, at + checkedAtOnce), sum)
      yield
    }
  return sum
}
