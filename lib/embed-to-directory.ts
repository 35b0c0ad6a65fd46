// Vectors of any number of inputs into a directory, and further from wherever an earlier call was stopped.
// What is done is known by name: an input whose name is in the directory is not computed again, whatever has become of
// its file since.

import { mkdir, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { embeddingKinds, type EmbedInput, type EmbedOptions, type EmbedResult } from './embedding.js'
import { calledFrom, Job } from './engine/job.js'
import { LlavaError, invalidArgument, outputFailure } from './errors.js'
import { withLock } from './hub/lock.js'
import { imageChecks } from './image/image-options.js'
import type { LLaVA } from './llava.js'
import { abortSignal, callback, checkOptions, flag, oneOf, text, wholeNumber, type OptionCheck } from './options.js'
import { templateNames } from './prompt/templates.js'
import { ShardDirectory, type NameColumn } from './vectors/shard-directory.js'

/** An input and what it is called in the directory: of a picture its path. */
export interface NamedInput {
  readonly name: string
  readonly input: EmbedInput
}

/** Element types that a .npy holds. */
export const directoryDtypes = ['f32', 'f16', 'int8', 'binary'] as const

export type DirectoryDtype = (typeof directoryDtypes)[number]

/** Those of `embedMany`, but `dtype` is `f16` unless it is given. */
export interface EmbedToDirectoryOptions extends Omit<EmbedOptions, 'dtype'> {
  readonly dtype?: DirectoryDtype
  /**
   * What the names are, and so where vectors stand: `image_path` (default; img_emb), or `caption`: texts (text_emb).
   */
  readonly names?: NameColumn
  /** Vectors of a file; default 10,000. */
  readonly shardSize?: number
  /** Tries those again that failed before. Default false. */
  readonly retryErrors?: boolean
  /** What else the vectors depend on, as how the model was opened; calls that state other settings are refused. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>
  readonly onProgress?: (progress: DirectoryProgress) => void
}

export interface DirectoryProgress {
  /** `wait`: another process seems to work in the directory; `embed`: inputs are embedded. */
  readonly stage: 'wait' | 'embed'
  /** Inputs that are done, those of earlier calls and those that failed among them. */
  readonly done: number
  readonly total: number
  /** Those of them that failed. */
  readonly failed: number
}

export interface EmbeddedDirectory {
  readonly directory: string
  /** Vectors in it, and finished files of them. */
  readonly rows: number
  readonly shards: number
  /**
   * Of these inputs: those that this call embedded, that had been before, and that have no vector, as errors.jsonl
   * says.
   */
  readonly embedded: number
  readonly present: number
  readonly failed: number
}

const defaultShardSize = 10_000

/** Milliseconds of work that a stop may cost, beside what is under way. */
const flushEveryMs = 5000

/** Failures of one input, after which the others go on; others end the call. */
const inputFailures: readonly string[] = ['IMAGE_UNREADABLE', 'IMAGE_TOO_LARGE', 'CONTEXT_OVERFLOW']

const settingsCheck: OptionCheck = (name, value) => {
  const isScalar = (one: unknown) => ['string', 'number', 'boolean'].includes(typeof one)
  if (typeof value !== 'object' || value === null || !Object.values(value).every(isScalar))
    throw invalidArgument(name, 'an object of strings, numbers and booleans', value)
}

/** Options that are not `embedMany`'s, or have another meaning there. */
const ownChecks = {
  dtype: oneOf(...directoryDtypes),
  names: oneOf('image_path', 'caption'),
  shardSize: wholeNumber(1),
  retryErrors: flag,
  settings: settingsCheck,
  onProgress: callback,
  signal: abortSignal,
} satisfies Partial<Record<keyof EmbedToDirectoryOptions, OptionCheck>>

const checks = {
  ...imageChecks,
  ...ownChecks,
  kind: oneOf(...embeddingKinds),
  normalize: flag,
  template: oneOf(...templateNames),
  system: text,
} satisfies Record<keyof EmbedToDirectoryOptions, OptionCheck>

/**
 * Embeds inputs into a directory, laid out as clip-retrieval's: `img_emb/img_emb_0000.npy` [rows, …] and beside it
 * `metadata/metadata_0000.parquet`, whose column `image_path` names the rows, in files of `shardSize` rows;
 * `errors.jsonl` has the inputs that have no vector, `manifest.json` the options.
 *
 * Inputs are known by their names. A call goes on where an earlier one was stopped, by whatever it was: what is in the
 * directory is not computed again, nothing is lost but what the last five seconds computed, and nothing comes twice.
 * Names that are new go into further files; vectors whose names are not among the inputs stay. A name that comes twice
 * counts once.
 *
 * @throws {LlavaError} INVALID_ARGUMENT (its vectors were made with other options), BUSY (another process works in the
 * directory), OUTPUT_FAILED, and what ends `embedMany`; what was computed before is kept.
 */
export async function embedToDirectory(
  model: LLaVA,
  inputs: Iterable<NamedInput>,
  directory: string,
  options: EmbedToDirectoryOptions,
): Promise<EmbeddedDirectory> {
  text('directory', directory)
  checkOptions('embedToDirectory()', options, checks)
  checks.kind('kind', options.kind)
  const byName = named(inputs)
  const callSite = new Error()
  const job = new Job(options.signal, { cancel: () => undefined })
  try {
    return await new Run(model, byName, path.resolve(directory), options).alone(job.stopped)
  } catch (error) {
    throw calledFrom(callSite, job.explain(error))
  } finally {
    job.end()
  }
}

/** Inputs by their names, in order. */
function named(inputs: Iterable<NamedInput>): ReadonlyMap<string, EmbedInput> {
  if (typeof inputs !== 'object' || inputs === null || !(Symbol.iterator in inputs))
    throw invalidArgument('inputs', 'a list of { name, input }', inputs)
  const byName = new Map<string, EmbedInput>()
  for (const one of inputs) {
    if (typeof one !== 'object' || one === null || typeof one.name !== 'string')
      throw invalidArgument(`inputs[${byName.size}]`, 'an object with a name, a string, and an input', one)
    byName.set(one.name, one.input)
  }
  return byName
}

class Run {
  readonly #model: LLaVA
  readonly #inputs: ReadonlyMap<string, EmbedInput>
  readonly #directory: string
  readonly #options: EmbedToDirectoryOptions
  #embedded = 0
  #failed = 0
  #present = 0
  #hasManifest = false

  constructor(
    model: LLaVA,
    inputs: ReadonlyMap<string, EmbedInput>,
    directory: string,
    options: EmbedToDirectoryOptions,
  ) {
    this.#model = model
    this.#inputs = inputs
    this.#directory = directory
    this.#options = options
  }

  /** Does the work while no other process does. */
  async alone(signal: AbortSignal): Promise<EmbeddedDirectory> {
    await outputFailure(this.#directory, () => mkdir(this.#directory, { recursive: true }))
    const onHeld = () => {
      throw new LlavaError(
        'BUSY',
        `${this.#directory}: another process is writing vectors there; wait until it is done`,
      )
    }
    const onWait = () => {
      this.#report('wait')
    }
    return withLock(path.join(this.#directory, '.lock'), { signal, onWait, onHeld }, async (held) => {
      try {
        return await this.#do(held)
      } catch (error) {
        throw held.reason instanceof LlavaError ? held.reason : error // the lock was lost
      }
    })
  }

  async #do(signal: AbortSignal): Promise<EmbeddedDirectory> {
    const { names: column = 'image_path', shardSize = defaultShardSize, retryErrors = false } = this.#options
    this.#hasManifest = await agrees(this.#directory, this.#manifest())
    const retry = retryErrors ? { retry: new Set(this.#inputs.keys()) } : {}
    const shards = await ShardDirectory.open(this.#directory, { column, shardSize, ...retry })
    try {
      await this.#embed(shards, signal)
      await shards.finishShard()
    } catch (error) {
      if (!(signal.reason instanceof LlavaError)) await shards.flush()
      throw error
    } finally {
      await shards.close()
    }
    await shards.tidy()
    const { rows, shards: count } = shards
    const counts = { embedded: this.#embedded, present: this.#present, failed: this.#failed }
    return { directory: this.#directory, rows, shards: count, ...counts }
  }

  async #embed(shards: ShardDirectory, signal: AbortSignal): Promise<void> {
    const left = [...this.#inputs.keys()].filter((name) => !shards.has(name) && !shards.hasFailed(name))
    this.#failed = [...this.#inputs.keys()].filter((name) => shards.hasFailed(name)).length
    this.#present = this.#inputs.size - left.length - this.#failed
    this.#report('embed')
    let flushed = performance.now()
    for await (const result of this.#vectors(left, signal)) {
      await this.#take(left[result.index] as string, result, shards)
      this.#report('embed')
      if (performance.now() - flushed < flushEveryMs) continue
      await shards.flush()
      flushed = performance.now()
    }
  }

  async #take(name: string, result: EmbedResult<DirectoryDtype>, shards: ShardDirectory): Promise<void> {
    const { embedding, error } = result
    if (error !== undefined && !inputFailures.includes(error.code)) throw error
    if (!this.#hasManifest)
      await shards.write(manifestOf(this.#directory), Buffer.from(`${JSON.stringify(this.#manifest(), null, 2)}\n`))
    this.#hasManifest = true
    if (error !== undefined) {
      shards.fail({ path: name, code: error.code, message: error.message })
      this.#failed++
      return
    }
    await shards.add(name, embedding)
    this.#embedded++
  }

  #vectors(names: readonly string[], signal: AbortSignal): AsyncIterable<EmbedResult<DirectoryDtype>> {
    const others = Object.fromEntries(Object.entries(this.#options).filter(([name]) => !(name in ownChecks)))
    const { kind, dtype = 'f16' } = this.#options
    const inputs = names.map((name) => this.#inputs.get(name) as EmbedInput)
    return this.#model.embedMany(inputs, { ...others, kind, dtype, signal })
  }

  /** What two calls into one directory must agree in. */
  #manifest(): Manifest {
    const { kind, dtype = 'f16', normalize = false, names = 'image_path', settings = {} } = this.#options
    const { template, system, autoOrient = true } = this.#options
    const prompt = { ...(template !== undefined && { template }), ...(system !== undefined && { system }) }
    return { model: this.#model.info().path, kind, dtype, normalize, names, autoOrient, ...prompt, ...settings }
  }

  #report(stage: DirectoryProgress['stage']): void {
    const done = this.#present + this.#embedded + this.#failed
    this.#options.onProgress?.({ stage, done, total: this.#inputs.size, failed: this.#failed })
  }
}

type Manifest = Readonly<Record<string, string | number | boolean>>

/** Whether there is a manifest; where it is another one, the directory is refused. */
async function agrees(directory: string, manifest: Manifest): Promise<boolean> {
  const there = await readManifest(manifestOf(directory))
  const fail = (problem: string) => new LlavaError('INVALID_ARGUMENT', `${directory} holds vectors of ${problem}`)
  if (there === undefined) {
    const files = await readdir(directory, { recursive: true })
    if (files.some((name) => /^(?:img|text)_emb\W.*\.npy$/.test(name)))
      throw fail('another program; give another directory')
    return false
  }
  const said = (value: Manifest[string] | undefined) => JSON.stringify(value ?? null)
  const differences = [...new Set([...Object.keys(there), ...Object.keys(manifest)])]
    .filter((name) => there[name] !== manifest[name])
    .map((name) => `\`${name}\` was ${said(there[name])} and is now ${said(manifest[name])}`)
  if (differences.length > 0)
    throw fail(`other options: ${differences.join(', ')}; give the same ones, or another directory`)
  return true
}

async function readManifest(file: string): Promise<Manifest | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Manifest
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new LlavaError('OUTPUT_FAILED', `${file}: what the directory holds cannot be read`, { cause })
  }
}

function manifestOf(directory: string): string {
  return path.join(directory, 'manifest.json')
}
