// A directory of vectors, for the readers of clip-retrieval (OutputSink writes what they read) and of autofaiss:
//   img_emb/img_emb_0000.npy          vectors [rows, …] of pictures, and beside them
//   metadata/metadata_0000.parquet    their names, column image_path; texts: text_emb/text_emb_0000.npy, column caption
//   errors.jsonl                      what could not be embedded: {"path", "code", "message"} a line
//   unfinished/                       the shard that is not full yet
// Numbers have four digits, as readers sort the files' names as text. The directory itself says what is done: every
// name stands in one of these files, once. A shard counts when its .npy has its name; the Parquet file has it before.

import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { LlavaError, outputFailure } from '../errors.js'
import { JsonLines } from './json-lines.js'
import { UnfinishedShard, type ShardFiles, type Vector } from './unfinished-shard.js'
import { giveName, writeWhole } from '../partial-file.js'

/** What the names are: paths of pictures, or texts. */
export type NameColumn = 'image_path' | 'caption'

export interface ShardOptions {
  readonly column: NameColumn
  /** Vectors of a full shard. */
  readonly shardSize: number
  /** Names that count as never tried if they failed. */
  readonly retry?: ReadonlySet<string>
}

/** An input that has no vector. */
export interface FailedInput {
  readonly path: string
  readonly code: string
  readonly message: string
}

const vectorFolders = { image_path: 'img_emb', caption: 'text_emb' } as const satisfies Record<NameColumn, string>

/** Holds what is not whole yet. */
const unfinished = 'unfinished'

export class ShardDirectory {
  readonly #directory: string
  readonly #column: NameColumn
  readonly #shardSize: number
  readonly #present = new Set<string>()
  readonly #failures: JsonLines<FailedInput>
  readonly #failed: Set<string>
  readonly #pendingFailures: FailedInput[] = []
  #shards = 0
  #next = 0 // the number of the shard that is not full yet
  #rows = 0
  #shard: UnfinishedShard | undefined

  private constructor(directory: string, { column, shardSize }: ShardOptions, failures: JsonLines<FailedInput>) {
    this.#directory = directory
    this.#column = column
    this.#shardSize = shardSize
    this.#failures = failures
    this.#failed = new Set(failures.values.map((failure) => failure.path))
  }

  /** Goes on with what is in a directory, which only this process may work in. */
  static async open(directory: string, options: ShardOptions): Promise<ShardDirectory> {
    const folders = [vectorFolders[options.column], 'metadata', unfinished].map((folder) =>
      path.join(directory, folder),
    )
    for (const folder of folders) await outputFailure(folder, () => mkdir(folder, { recursive: true }))
    const opened = new ShardDirectory(directory, options, await openFailures(directory, options.retry))
    try {
      await opened.#read()
      await opened.#finishFullShard() // its writer was stopped before it could
      return opened
    } catch (error) {
      await opened.close()
      throw error
    }
  }

  /** Vectors that are there. */
  get rows(): number {
    return this.#rows
  }

  /** Finished shards. */
  get shards(): number {
    return this.#shards
  }

  /** Rows of the shard that is not full yet. */
  get unfinishedRows(): number {
    return this.#shard?.names.length ?? 0
  }

  /** Whether a name has its vector. */
  has(name: string): boolean {
    return this.#present.has(name)
  }

  /** Whether a name is known to have none. */
  hasFailed(name: string): boolean {
    return this.#failed.has(name)
  }

  async add(name: string, vector: Vector): Promise<void> {
    this.#shard ??= await UnfinishedShard.begin(this.#unfinished, vector)
    await this.#shard.add(name, vector)
    this.#present.add(name)
    this.#rows++
    await this.#finishFullShard()
  }

  fail(failure: FailedInput): void {
    this.#failed.add(failure.path)
    this.#pendingFailures.push(failure)
  }

  /** Resolves when all that was taken is on the disk. */
  async flush(): Promise<void> {
    await this.#shard?.flush()
    await this.#failures.append(this.#pendingFailures.splice(0))
  }

  async #finishFullShard(): Promise<void> {
    if (this.unfinishedRows >= this.#shardSize) await this.finishShard()
  }

  /** Gives the shard its name, full or not; the next vector begins another one. */
  async finishShard(): Promise<void> {
    await this.flush()
    if (this.#shard === undefined) return
    await this.#shard.finish()
    await this.write(this.#metadata(this.#next), await parquet(this.#column, this.#shard.names))
    await giveName(this.#unfinished.vectors, this.#vectors(this.#next))
    await rm(this.#unfinished.names, { force: true })
    this.#shard = undefined
    this.#shards++
    this.#next++
  }

  /** Writes a file of the directory. */
  async write(file: string, bytes: Uint8Array): Promise<void> {
    await writeWhole(file, [bytes], path.join(this.#directory, unfinished))
  }

  /** Takes away the folder of the unfinished shard, of which there must be none. */
  async tidy(): Promise<void> {
    await rm(path.join(this.#directory, unfinished), { recursive: true, force: true })
  }

  /** Lets go of the files; what has not been flushed is lost. */
  async close(): Promise<void> {
    await Promise.all([this.#shard?.close(), this.#failures.close()])
  }

  async #read(): Promise<void> {
    const pattern = new RegExp(`^${vectorFolders[this.#column]}_(\\d+)\\.npy$`)
    const files = await readdir(path.join(this.#directory, vectorFolders[this.#column]))
    const numbers = files.flatMap((name) => pattern.exec(name)?.[1] ?? []).map(Number)
    this.#shards = numbers.length
    this.#next = Math.max(-1, ...numbers) + 1
    for (const number of numbers) this.#keep(await namesIn(this.#metadata(number), this.#column))
    const { vectors } = this.#unfinished
    const begun = (await readdir(path.dirname(vectors))).includes(path.basename(vectors))
    if (begun) this.#shard = await UnfinishedShard.resume(this.#unfinished)
    this.#keep(this.#shard?.names ?? [])
  }

  #keep(names: readonly string[]): void {
    for (const name of names) this.#present.add(name)
    this.#rows += names.length
  }

  get #unfinished(): ShardFiles {
    const number = numbered(this.#next)
    const file = (name: string) => path.join(this.#directory, unfinished, name)
    return {
      vectors: file(`${vectorFolders[this.#column]}_${number}.npy`),
      names: file(`names_${number}.jsonl`),
    }
  }

  #vectors(shard: number): string {
    const folder = vectorFolders[this.#column]
    return path.join(this.#directory, folder, `${folder}_${numbered(shard)}.npy`)
  }

  #metadata(shard: number): string {
    return path.join(this.#directory, 'metadata', `metadata_${numbered(shard)}.parquet`)
  }
}

async function openFailures(directory: string, retry?: ReadonlySet<string>): Promise<JsonLines<FailedInput>> {
  const file = path.join(directory, 'errors.jsonl')
  const failures = await JsonLines.open<FailedInput>(file)
  if (retry === undefined) return failures
  await failures.close()
  const kept = failures.values.filter((failure) => !retry.has(failure.path))
  const lines = kept.map((failure) => `${JSON.stringify(failure)}\n`)
  await writeWhole(file, [Buffer.from(lines.join(''))], path.join(directory, unfinished))
  return JsonLines.open(file)
}

function numbered(shard: number): string {
  return String(shard).padStart(4, '0')
}

async function parquet(column: NameColumn, names: readonly string[]): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import('hyparquet-writer')
  const columnData = [{ name: column, data: [...names], type: 'STRING' as const, nullable: false }]
  return new Uint8Array(parquetWriteBuffer({ columnData, createdBy: 'llava-native' }))
}

async function namesIn(file: string, column: NameColumn): Promise<readonly string[]> {
  const { parquetReadObjects } = await import('hyparquet')
  try {
    const { buffer, byteOffset, byteLength } = await readFile(file)
    const bytes = buffer.slice(byteOffset, byteOffset + byteLength)
    const rows = await parquetReadObjects({ file: bytes, columns: [column] })
    return rows.map((row) => row[column] as string)
  } catch (cause) {
    const advice = 'it and its vectors belong together: delete both, and both are made again'
    throw new LlavaError('OUTPUT_FAILED', `${file}: the names of a shard cannot be read; ${advice}`, { cause })
  }
}
