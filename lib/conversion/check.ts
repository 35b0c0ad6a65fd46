// Every byte of a model's weights read once: which tensors hold values that are no numbers, and checksums to hold against another copy's.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { invalidArgument } from '../errors.js'
import { calledFrom, Job } from '../engine/job.js'
import { describeNamedModel } from '../hub/named-model.js'
import { guarded, native, newCancellation, type Dtype } from '../native.js'
import { abortSignal, callback, checkOptions, given, text, wholeNumber, type OptionCheck } from '../options.js'
import type { ModelDescription } from '../weights/model-description.js'
import { notFound } from '../weights/model-error.js'

export interface CheckOptions {
  /** As for `LLaVA.open`: which parts make up the model. */
  readonly mmproj?: string
  readonly visionTower?: string
  readonly adapter?: string
  /** Compute threads; default as many as the process may use. */
  readonly threads?: number
  readonly signal?: AbortSignal
  /** Called after each tensor; what it throws fails the call. */
  readonly onProgress?: (progress: CheckProgress) => void
}

export interface CheckProgress {
  /** The tensor that was read last. */
  readonly tensor: string
  /** Bytes of weights read so far, and of all. */
  readonly done: number
  readonly total: number
}

/** What a tensor that the model computes with holds. */
export interface CheckedTensor {
  /** Canonical: Hugging Face's module path. */
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly nbytes: number
  readonly nan: number
  readonly infinite: number
  /** CRC-32 of its bytes as stored, eight hexadecimal digits: the same tensor has the same one in any file format. */
  readonly crc32: string
}

export interface CheckedModel {
  readonly path: string
  readonly format: ModelDescription['format']
  /** Whether every value is a number. */
  readonly sound: boolean
  /** `sha256` as `sha256sum` prints it, and as model hubs list it. */
  readonly files: readonly { readonly path: string; readonly nbytes: number; readonly sha256: string }[]
  readonly tensors: readonly CheckedTensor[]
  readonly elapsedMs: number
}

const checks = {
  mmproj: text,
  visionTower: text,
  adapter: text,
  threads: wholeNumber(1, 1024),
  signal: abortSignal,
  onProgress: callback,
} satisfies Record<keyof CheckOptions, OptionCheck>

/**
 * Reads every tensor of the model at `source`, in any form `LLaVA.open` takes. Values that are NaN or infinite are in the result, not an error.
 *
 * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, NATIVE_UNAVAILABLE, INVALID_ARGUMENT or ABORTED.
 */
export async function checkModel(source: string, options: CheckOptions = {}): Promise<CheckedModel> {
  if (typeof source !== 'string' || source === '') throw invalidArgument('source', 'the path of a model', source)
  checkOptions('checkModel()', options, checks)
  const callSite = new Error()
  const job = new Job(options.signal, newCancellation())
  try {
    const start = performance.now()
    const { mmproj, visionTower, adapter } = options
    const description = await job.race(describeNamedModel(source, given({ mmproj, visionTower, adapter })))
    // One after the other: on a disk, two readers are slower than one.
    const tensors = await checkTensors(description, options, job)
    const files: CheckedModel['files'][number][] = []
    for (const file of description.files) files.push(await checkFile(file, job))
    const sound = tensors.every(({ nan, infinite }) => nan + infinite === 0)
    return {
      path: description.path,
      format: description.format,
      sound,
      files,
      tensors,
      elapsedMs: performance.now() - start,
    }
  } catch (error) {
    throw calledFrom(callSite, job.explain(error))
  } finally {
    job.end()
  }
}

async function checkTensors(
  { files, tensors }: ModelDescription,
  { threads, onProgress }: CheckOptions,
  job: Job,
): Promise<readonly CheckedTensor[]> {
  const total = tensors.reduce((sum, { nbytes }) => sum + nbytes, 0)
  const checked: CheckedTensor[] = []
  let done = 0
  const conversion = await guarded(() => native().openConversion(files, tensors, threads ?? 0))
  try {
    for (const [index, { name, dtype, shape, nbytes }] of tensors.entries()) {
      job.check()
      const { nan, infinite, crc32 } = await guarded(() => conversion.check(index, job.cancellation))
      checked.push({ name, dtype, shape, nbytes, nan, infinite, crc32: crc32.toString(16).padStart(8, '0') })
      done += nbytes
      onProgress?.({ tensor: name, done, total })
    }
  } finally {
    conversion.dispose()
  }
  return checked
}

async function checkFile(file: string, job: Job): Promise<CheckedModel['files'][number]> {
  const hash = createHash('sha256')
  let nbytes = 0
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>) {
      job.check()
      hash.update(chunk)
      nbytes += chunk.length
    }
  } catch (cause) {
    job.check()
    throw notFound(file, 'it cannot be read to its end', cause)
  }
  return { path: file, nbytes, sha256: hash.digest('hex') }
}
