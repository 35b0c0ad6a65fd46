// Vectors of a shard that is not full yet, in two files: a .npy whose header tells no rows until the shard is finished,
// and their names, one a line. Vectors are on the disk before their names are: after a stop at any moment a name that
// is there has its vector, and what is behind the last name goes.

import { open, rm, type FileHandle } from 'node:fs/promises'
import { LlavaError, outputFailure } from '../errors.js'
import { JsonLines, writeAt } from './json-lines.js'
import { bytesOf, headerOf, readHeader, writtenHeader, type NpyData, type NpyHeader } from './npy.js'

/** The vector, or the rows of vectors, of one input. */
export interface Vector {
  readonly shape: readonly number[]
  readonly data: NpyData
}

export interface ShardFiles {
  readonly vectors: string
  readonly names: string
}

/** Bytes of vectors that wait in memory. */
const mostPendingBytes = 16 << 20

export class UnfinishedShard {
  /** Of all rows, those that wait to be written among them. */
  readonly names: string[]
  readonly #files: ShardFiles
  readonly #header: NpyHeader
  readonly #vectors: FileHandle
  readonly #lines: JsonLines<string>
  readonly #pending: Uint8Array[] = []
  #pendingBytes = 0

  private constructor(files: ShardFiles, header: NpyHeader, vectors: FileHandle, lines: JsonLines<string>) {
    this.#files = files
    this.#header = header
    this.#vectors = vectors
    this.#lines = lines
    this.names = [...lines.values]
  }

  /** An empty shard for vectors like this one. */
  static async begin(files: ShardFiles, { shape, data }: Vector): Promise<UnfinishedShard> {
    return outputFailure(files.vectors, async () => {
      await rm(files.names, { force: true })
      const header = headerOf(data, [0, ...shape])
      const vectors = await open(files.vectors, 'w+')
      await writeAt(vectors, writtenHeader(header), 0)
      await vectors.sync()
      return new UnfinishedShard(files, header, vectors, await JsonLines.open(files.names))
    })
  }

  /** One that was begun, without vectors that have no name yet; undefined where not even its header is there. */
  static async resume(files: ShardFiles): Promise<UnfinishedShard | undefined> {
    return outputFailure(files.vectors, async () => {
      const vectors = await open(files.vectors, 'r+')
      const start = Buffer.alloc(128)
      await vectors.read(start, 0, start.length, 0)
      const header = readHeader(start)
      if (header === undefined) {
        await vectors.close()
        return undefined
      }
      const lines = await JsonLines.open<string>(files.names)
      const shard = new UnfinishedShard(files, { ...header, shape: header.shape.with(0, 0) }, vectors, lines)
      const end = shard.#positionOf(lines.values.length)
      if ((await vectors.stat()).size >= end) {
        await vectors.truncate(end)
        return shard
      }
      await shard.close()
      const advice = 'delete it; what it holds is then computed again'
      throw new LlavaError('OUTPUT_FAILED', `${files.vectors}: vectors that were there are missing; ${advice}`)
    })
  }

  /** Takes an input's vector, whose data must not change any more. */
  async add(name: string, { shape, data }: Vector): Promise<void> {
    const { descr, shape: sides } = headerOf(data, [0, ...shape])
    if (descr !== this.#header.descr || String(sides) !== String(this.#header.shape)) {
      const there = `${this.#header.descr} of shape [${this.#header.shape.slice(1).join(', ')}]`
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `${this.#files.vectors}: its vectors are ${there}, this one is ${descr} of shape [${shape.join(', ')}]; ` +
          'give the model that made them, or another directory',
      )
    }
    this.names.push(name)
    this.#pending.push(bytesOf(data))
    this.#pendingBytes += data.byteLength
    if (this.#pendingBytes >= mostPendingBytes) await this.flush()
  }

  /** Resolves when all that was taken is on the disk. */
  async flush(): Promise<void> {
    const count = this.#pending.length
    if (count === 0) return
    const bytes = Buffer.concat(this.#pending.splice(0))
    this.#pendingBytes = 0
    await outputFailure(this.#files.vectors, async () => {
      await writeAt(this.#vectors, bytes, this.#positionOf(this.names.length - count))
      await this.#vectors.datasync()
    })
    await this.#lines.append(this.names.slice(-count))
  }

  /** Writes how many rows there are: the .npy is then whole. */
  async finish(): Promise<void> {
    await this.flush()
    const header = { ...this.#header, shape: [this.names.length, ...this.#header.shape.slice(1)] }
    await outputFailure(this.#files.vectors, async () => {
      await writeAt(this.#vectors, writtenHeader(header), 0)
      await this.#vectors.sync()
    })
    await this.close()
  }

  /** Leaves what is on the disk for another time. */
  async close(): Promise<void> {
    await Promise.all([this.#vectors.close(), this.#lines.close()])
  }

  /** Where a row begins. */
  #positionOf(row: number): number {
    const { descr, shape } = this.#header
    const rowBytes = shape.slice(1).reduce((product, side) => product * side, Number(descr.at(-1)))
    return writtenHeader(this.#header).length + row * rowBytes
  }
}
