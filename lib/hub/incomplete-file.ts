// A file on its way from the hub, in parts that fill independently:
//   bytes [0, nbytes) are the file's, with gaps; behind them stands a record of float64: nbytes, the bytes of a part, and for each part where its gap begins.
// What is there without a gap is hashed as it grows, read back from the disk: the checksum is of what will be used, and resuming needs no second way.
// A byte is written once. The record follows the bytes it speaks of, so that a run that is killed loses some megabytes and a torn file fails its checksum.

import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { outputFailure } from '../errors.js'

/** Bytes [start, end) of the file, of which those before `at` are there. */
export interface Part {
  readonly start: number
  readonly end: number
  readonly at: number
}

/** What a file is to be in the end. */
export interface VerifiedFile {
  readonly nbytes: number
  /** Its SHA-256, or the SHA-1 of git's blob, which is shorter. */
  readonly etag: string
}

/** Bytes received between two records. */
const recordEvery = 16 << 20

/** Bytes of one read for the checksum: about a millisecond of hashing. */
const hashBytes = 1 << 20

export class IncompleteFile {
  readonly #path: string
  readonly #handle: FileHandle
  readonly #nbytes: number
  readonly #partBytes: number
  readonly #parts: { readonly start: number; readonly end: number; at: number }[]
  readonly #hash: Hash
  readonly #buffer = Buffer.allocUnsafe(hashBytes)
  #hashed = 0
  #hashing: Promise<void> | undefined
  #unrecorded = 0
  #closed = false

  private constructor(
    path: string,
    handle: FileHandle,
    { nbytes, etag }: VerifiedFile,
    partBytes: number,
    ats: readonly number[],
  ) {
    this.#path = path
    this.#handle = handle
    this.#nbytes = nbytes
    this.#hash = hashLike(etag, nbytes)
    this.#partBytes = partBytes
    this.#parts = Array.from({ length: Math.ceil(nbytes / partBytes) }, (_, i) => {
      const start = i * partBytes
      return { start, end: Math.min(start + partBytes, nbytes), at: ats[i] ?? start }
    })
  }

  /** Goes on with the file at `path`, or begins it; one that was begun keeps the parts it has. */
  static async open(path: string, file: VerifiedFile, partBytes: number): Promise<IncompleteFile> {
    return outputFailure(path, async () => {
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644)
      try {
        const { partBytes: kept = partBytes, ats = [] } = (await readRecord(handle, file.nbytes)) ?? {}
        return new IncompleteFile(path, handle, file, kept, ats)
      } catch (error) {
        await handle.close()
        throw error
      }
    })
  }

  /** How much of a file of this length is at `path`. */
  static async receivedAt(path: string, nbytes: number): Promise<number> {
    const handle = await open(path, 'r').catch(() => undefined)
    try {
      const { partBytes = 0, ats = [] } = (handle && (await readRecord(handle, nbytes))) ?? {}
      return ats.reduce((sum, at, i) => sum + at - i * partBytes, 0)
    } finally {
      await handle?.close()
    }
  }

  get parts(): readonly Part[] {
    return this.#parts
  }

  get received(): number {
    return this.#parts.reduce((sum, { start, at }) => sum + at - start, 0)
  }

  /** Takes bytes that stand at `position`, but for those that are there, and returns how many were new. They must not lie behind a gap of their part. */
  async put(position: number, bytes: Uint8Array): Promise<number> {
    let added = 0
    for (let from = position; from < Math.min(position + bytes.length, this.#nbytes);) {
      const part = this.#parts[Math.floor(from / this.#partBytes)]!
      const end = Math.min(position + bytes.length, part.end)
      added += await this.#append(part, bytes.subarray(part.at - position, end - position)) // none, where all of it is there
      from = part.end
    }
    this.#unrecorded += added
    if (this.#unrecorded >= recordEvery) await this.#record()
    this.#hashing ??= this.#hashOn().catch(() => undefined) // what failed fails again where it is waited for
    return added
  }

  async #append(part: { at: number }, bytes: Uint8Array): Promise<number> {
    await outputFailure(this.#path, async () => {
      for (let written = 0; written < bytes.length;) {
        written += (await this.#handle.write(bytes, written, bytes.length - written, part.at + written)).bytesWritten
      }
    })
    part.at += bytes.length
    return bytes.length
  }

  /** The checksum of the whole file, which must be there, of the kind that its etag is. */
  async checksum(signal: AbortSignal): Promise<string> {
    await this.#hashing
    await this.#hashOn(signal)
    return this.#hash.digest('hex')
  }

  /** Hashes up to the first gap. */
  async #hashOn(signal?: AbortSignal): Promise<void> {
    try {
      for (let end = this.#firstGap(); this.#hashed < end && !this.#closed; end = this.#firstGap()) {
        signal?.throwIfAborted()
        const length = Math.min(this.#buffer.length, end - this.#hashed)
        const { bytesRead } = await outputFailure(this.#path, () =>
          this.#handle.read(this.#buffer, 0, length, this.#hashed),
        )
        this.#hash.update(this.#buffer.subarray(0, bytesRead))
        this.#hashed += bytesRead
      }
    } finally {
      this.#hashing = undefined
    }
  }

  #firstGap(): number {
    return this.#parts.find(({ at, end }) => at < end)?.at ?? this.#nbytes
  }

  async #record(): Promise<void> {
    this.#unrecorded = 0
    const record = new Uint8Array(
      Float64Array.of(this.#nbytes, this.#partBytes, ...this.#parts.map(({ at }) => at)).buffer,
    )
    await outputFailure(this.#path, () => this.#handle.write(record, 0, record.length, this.#nbytes))
  }

  /** Gives the file its name, its bytes on the disk before. */
  async commit(name: string): Promise<void> {
    await outputFailure(name, async () => {
      await this.#handle.truncate(this.#nbytes)
      await this.#handle.sync()
      await this.#end()
      await rename(this.#path, name)
    })
  }

  async discard(): Promise<void> {
    await this.#end()
    await rm(this.#path, { force: true })
  }

  /** Leaves what there is for another time. */
  async close(): Promise<void> {
    if (this.#closed) return
    try {
      await this.#record()
    } finally {
      await this.#end()
    }
  }

  async #end(): Promise<void> {
    this.#closed = true
    await this.#hashing
    await this.#handle.close()
  }
}

/** A hash of the kind that made this etag: SHA-256 of the bytes, or git's SHA-1 of a header and the bytes. */
function hashLike(etag: string, nbytes: number): Hash {
  return etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${nbytes}\0`)
}

/** The record of a file of this length, if there is a sound one. */
async function readRecord(
  handle: FileHandle,
  nbytes: number,
): Promise<{ readonly partBytes: number; readonly ats: readonly number[] } | undefined> {
  const { size } = await handle.stat()
  const length = size - nbytes
  if (length < 24 || length % 8 !== 0 || length > 8 << 20) return undefined
  const bytes = Buffer.alloc(length)
  await handle.read(bytes, 0, length, nbytes)
  const [stated, partBytes = 0, ...ats] = new Float64Array(bytes.buffer, bytes.byteOffset, length / 8)
  const inRange = (at: number, i: number) =>
    Number.isInteger(at) && at >= i * partBytes && at <= Math.min((i + 1) * partBytes, nbytes)
  const sound =
    stated === nbytes &&
    Number.isInteger(partBytes) &&
    ats.length === Math.ceil(nbytes / partBytes) &&
    ats.every(inRange)
  return sound ? { partBytes, ats } : undefined
}
