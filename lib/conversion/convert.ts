// A checkpoint written as GGUF, in one file or as llama.cpp's pair, or a CLIP in a file of its own: described, planned,
// then row by row through native code and out.
// While one stretch of rows is written, the next is made; memory is two stretches', whatever the model's size.

import path from 'node:path'
import { mkdir, realpath, rm, stat } from 'node:fs/promises'
import { LlavaError, invalidArgument, outputFailure } from '../errors.js'
import { calledFrom, Job } from '../engine/job.js'
import type { ImageAspectRatio } from '../image/image-processor.js'
import { finishInSlices } from '../slices.js'
import { describeNamedModel } from '../hub/named-model.js'
import { native, nativeFailure, newCancellation, type NativeConversion, type NativeFindings } from '../native.js'
import {
  abortSignal,
  callback,
  checkOptions,
  flag,
  given,
  oneOf,
  text,
  wholeNumber,
  type OptionCheck,
} from '../options.js'
import {
  conversionTypes,
  planClipConversion,
  planConversion,
  visionTypes,
  type ClipPlan,
  type ConversionPlan,
  type ConversionType,
  type PlannedTensor,
  type VisionType,
} from '../weights/conversion-plan.js'
import type { ClipDescription } from '../weights/clip-description.js'
import { clipFields } from '../weights/clip-gguf.js'
import { describeClip, isClip } from '../weights/describe-clip.js'
import { languageFields, mmprojFields, ropeTensor, singleFields } from '../weights/gguf-metadata.js'
import { layoutGguf, type GgufFields, type GgufLayout, type GgufTensor } from '../weights/gguf-writer.js'
import type { ModelDescription } from '../weights/model-description.js'
import { corrupt, unsupported } from '../weights/model-error.js'
import { imageAspectRatios } from '../weights/preprocessing.js'
import { checkRoom, PartialFile } from '../partial-file.js'
import { ProgressThrottle } from '../progress.js'

export interface ConvertOptions {
  /** What the language model's matrices become. Norms and biases stay float32; some matrices get more bits, as llama.cpp mixes them. */
  readonly type: ConversionType
  /** What the matrices of vision tower and projector become; default f32 for f32, bf16 for bf16, else f16, and what is smaller stays as it is. */
  readonly visionType?: VisionType
  /** Write the two files that llama.cpp opens instead of one; default false. */
  readonly pair?: boolean
  /** Replace files that are there; default false. */
  readonly overwrite?: boolean
  /** As for `LLaVA.open`: which parts make up the model, and what is baked into the result. A LoRA adapter is merged. */
  readonly mmproj?: string
  readonly visionTower?: string
  readonly adapter?: string
  readonly visionFeatureLayer?: number
  readonly imageAspectRatio?: ImageAspectRatio
  /** Compute threads; default as many as the process may use. */
  readonly threads?: number
  /** Stops the work; nothing is left of it. */
  readonly signal?: AbortSignal
  /** Called once, before anything is written; what it throws fails the call. */
  readonly onPlan?: (plan: ConversionOutline) => void
  /** Called some times a second; what it throws fails the call. */
  readonly onProgress?: (progress: ConversionProgress) => void
}

/** What a conversion is about to do. */
export interface ConversionOutline {
  /** Absolute paths; of a pair, the language model first. */
  readonly files: readonly { readonly path: string; readonly nbytes: number }[]
  /** Matrices that are quantised already and will be quantised anew: that loses more than converting the original does. */
  readonly requantised: number
}

export interface ConversionProgress {
  /** Its name in the GGUF. */
  readonly tensor: string
  /** Bytes of weights made so far, and of all. */
  readonly done: number
  readonly total: number
}

export interface ConvertedModel {
  /** Absolute paths; of a pair, the language model first. */
  readonly files: readonly { readonly path: string; readonly nbytes: number }[]
  /** Bytes per element type. */
  readonly weightDtypes: Readonly<Record<string, number>>
  /** Matrices that were quantised already and were quantised anew. */
  readonly requantised: number
  readonly elapsedMs: number
}

const describeChecks = {
  mmproj: text,
  visionTower: text,
  adapter: text,
  visionFeatureLayer: wholeNumber(-1024, 1024),
  imageAspectRatio: oneOf(...imageAspectRatios),
} satisfies Partial<Record<keyof ConvertOptions, OptionCheck>>

const convertChecks = {
  ...describeChecks,
  type: oneOf(...conversionTypes),
  visionType: oneOf(...visionTypes),
  pair: flag,
  overwrite: flag,
  threads: wholeNumber(1, 1024),
  signal: abortSignal,
  onPlan: callback,
  onProgress: callback,
} satisfies Record<keyof ConvertOptions, OptionCheck>

/**
 * Writes the model at `source`, in any form `LLaVA.open` takes, as GGUF; or a CLIP by itself, in any form `CLIP.open`
 * takes, as one of its own: all its matrices become `type`, which is one of the visionTypes then, or those of its
 * vision tower `visionType`.
 *
 * `target` is the file, which only gets its name once it is whole; or a directory, which is made if the path ends in a slash, and in which the file is
 * named after the model and its type. With `pair` it may also be what both names are made of: `out/tiny` gives `out/tiny.gguf` and `out/mmproj-tiny.gguf`.
 *
 * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT (also for weights that are no numbers), MODEL_UNSUPPORTED, OUTPUT_FAILED, OUT_OF_MEMORY,
 * NATIVE_UNAVAILABLE, INVALID_ARGUMENT or ABORTED.
 */
export async function convertModel(source: string, target: string, options: ConvertOptions): Promise<ConvertedModel> {
  if (typeof target !== 'string' || target === '')
    throw invalidArgument('target', 'the path of the file to write', target)
  checkOptions('convertModel()', options, convertChecks)
  if (options.type === undefined) throw invalidArgument('type', `one of ${conversionTypes.join(', ')}`, options.type)
  const callSite = new Error()
  const job = new Job(options.signal, newCancellation())
  try {
    const start = performance.now()
    const isAlone = typeof source === 'string' && (await job.race(isClip(source)))
    const { weights, planning, requantised } = await (isAlone ? clipWork : modelWork)(source, target, options, job)
    const outputs = await finishInSlices(planning, () => {
      job.check()
    })
    await checkTargets(weights, outputs, options.overwrite === true)
    options.onPlan?.({ files: filesOf(outputs), requantised })
    await writeAll(weights, outputs, options, job)
    return { ...summary(outputs), requantised, elapsedMs: performance.now() - start }
  } catch (error) {
    throw calledFrom(callSite, job.explain(error))
  } finally {
    job.end()
  }
}

/** Where tensors come from. */
type Weights = Pick<ModelDescription, 'files' | 'tensors'>

/** What is to be done. */
interface Work {
  readonly weights: Weights
  readonly planning: Generator<undefined, readonly Output[]>
  readonly requantised: number
}

async function modelWork(source: string, target: string, options: ConvertOptions, job: Job): Promise<Work> {
  const { mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio, type } = options
  const describing = describeNamedModel(
    source,
    given({ mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio }),
  )
  const description = await job.race(describing)
  const plan = planConversion(description, type, options.visionType)
  const paths = await targetPaths(description.card.name, description.config.vision !== undefined, target, options)
  return {
    weights: description,
    planning: outputsOf(description, plan, paths, type),
    requantised: plan.requantised,
  }
}

/** What makes up a LLaVA has no meaning for a CLIP by itself. */
const ofModels = [...Object.keys(describeChecks), 'pair'] as readonly (keyof ConvertOptions)[]

async function clipWork(source: string, target: string, options: ConvertOptions, job: Job): Promise<Work> {
  const type = visionTypes.find((each) => each === options.type)
  if (type === undefined) throw invalidArgument('type', `one of ${visionTypes.join(', ')} for a CLIP`, options.type)
  const foreign = ofModels.find((name) => options[name] !== undefined && options[name] !== false)
  if (foreign !== undefined)
    throw new LlavaError('INVALID_ARGUMENT', `${source} is a CLIP by itself; leave \`${foreign}\` out`)
  const description = await job.race(describeClip(source))
  const plan = planClipConversion(description, type, options.visionType)
  const [file] = await targetPaths(description.name, true, target, options)
  return { weights: description, planning: clipOutput(file, description, plan), requantised: plan.requantised }
}

function* clipOutput(
  file: string,
  description: ClipDescription,
  plan: ClipPlan,
): Generator<undefined, readonly Output[]> {
  return [yield* output(file, yield* clipFields(description, plan.fileType), plan.tensors)]
}

/** A file to write. */
interface Output {
  readonly path: string
  readonly tensors: readonly (PlannedTensor | ReadyTensor)[]
  readonly layout: GgufLayout
}

/** A tensor whose bytes are at hand. */
interface ReadyTensor extends GgufTensor {
  readonly data: Uint8Array
}

async function targetPaths(
  name: string,
  hasVision: boolean,
  target: string,
  { pair, type }: ConvertOptions,
): Promise<readonly [string, string?]> {
  const absolute = path.resolve(target)
  const asDirectory = /[/\\]$/.test(target)
  if (asDirectory) await outputFailure(absolute, () => mkdir(absolute, { recursive: true }))
  const isDirectory = asDirectory || (await stat(absolute).catch(() => undefined))?.isDirectory() === true
  const inside = path.join(absolute, `${name.replaceAll(/[^\w.-]+/g, '-')}-${type}`)
  if (pair !== true) return [isDirectory ? `${inside}.gguf` : absolute]
  if (!hasVision)
    throw new LlavaError('INVALID_ARGUMENT', `${name} has no vision tower to make a pair of; leave \`pair\` out`)
  const stem = isDirectory ? inside : absolute.replace(/\.gguf$/i, '')
  return [`${stem}.gguf`, path.join(path.dirname(stem), `mmproj-${path.basename(stem)}.gguf`)]
}

function* outputsOf(
  description: ModelDescription,
  { language, vision, visionFileType }: ConversionPlan,
  [first, second]: readonly [string, string?],
  type: ConversionType,
): Generator<undefined, readonly Output[]> {
  const rope = ropeTensor(description)
  const withRope = [...(rope === undefined ? [] : [{ ...rope.tensor, data: rope.data }]), ...language]
  if (second === undefined)
    return [yield* output(first, yield* singleFields(description, type), [...withRope, ...vision])]
  const half = yield* output(first, yield* languageFields(description, type), withRope)
  return [half, yield* output(second, mmprojFields(description, visionFileType), vision)]
}

function* output(file: string, fields: GgufFields, tensors: Output['tensors']): Generator<undefined, Output> {
  return { path: file, tensors, layout: yield* layoutGguf(fields, tensors) }
}

async function checkTargets({ files }: Weights, outputs: readonly Output[], overwrite: boolean): Promise<void> {
  const sources = new Set(await Promise.all(files.map((file) => realpath(file))))
  for (const { path: file } of outputs) {
    const there = await realpath(file).catch(() => undefined)
    if (there !== undefined && sources.has(there))
      throw new LlavaError('INVALID_ARGUMENT', `${file} is the model itself; name another file`)
    if (there !== undefined && !overwrite)
      throw new LlavaError('INVALID_ARGUMENT', `${file} is there already; name another file, or set \`overwrite\``)
  }
  const [first] = outputs
  if (first !== undefined)
    await checkRoom(
      path.dirname(first.path),
      outputs.reduce((sum, { layout }) => sum + layout.nbytes, 0),
    )
}

/** All files or none: they get their names when the last is whole. */
async function writeAll(
  weights: Weights,
  outputs: readonly Output[],
  options: ConvertOptions,
  job: Job,
): Promise<void> {
  const { files, tensors } = weights
  const conversion = await worded(() => native().openConversion(files, tensors, options.threads ?? 0))
  const partials: PartialFile[] = []
  try {
    const progress = new ProgressCount(outputs, options.onProgress)
    for (const each of outputs) {
      const partial = await PartialFile.create(each.path)
      partials.push(partial)
      await new TensorWriter(weights, conversion, partial, job, progress).write(each)
    }
    job.check()
    await commitAll(partials)
  } finally {
    conversion.dispose()
    for (const partial of partials) await partial.discard()
  }
}

/** The language model last: without it, a vision half is no model. */
async function commitAll(partials: readonly PartialFile[]): Promise<void> {
  const committed: PartialFile[] = []
  try {
    for (const partial of partials.toReversed()) {
      await partial.commit()
      committed.push(partial)
    }
  } catch (error) {
    for (const partial of committed) await rm(partial.path, { force: true })
    throw error
  }
}

/** Counts bytes for the caller, who hears of it ten times a second and at the end. */
class ProgressCount {
  readonly #listener: ConvertOptions['onProgress']
  readonly #total: number
  readonly #throttle = new ProgressThrottle()
  #done = 0

  constructor(outputs: readonly Output[], listener: ConvertOptions['onProgress']) {
    this.#listener = listener
    this.#total = outputs.reduce(
      (sum, { layout }) => layout.extents.reduce((bytes, { nbytes }) => bytes + nbytes, sum),
      0,
    )
  }

  add(tensor: string, nbytes: number): void {
    this.#done += nbytes
    if (this.#done < this.#total && !this.#throttle.due) return
    this.#throttle.said()
    this.#listener?.({ tensor, done: this.#done, total: this.#total })
  }
}

/** Bytes of one stretch: enough to keep the threads busy between two crossings, little enough to be copied in some milliseconds. */
const stretchBytes = 8 << 20

/** Writes one file's tensors in order, a stretch of rows at a time. */
class TensorWriter {
  readonly #weights: Weights
  readonly #conversion: NativeConversion
  readonly #file: PartialFile
  readonly #job: Job
  readonly #progress: ProgressCount
  /** The stretch on its way to the disk. */
  #writing: Promise<void> = Promise.resolve()
  #buffers: readonly [Uint8Array, Uint8Array] = [new Uint8Array(stretchBytes), new Uint8Array(stretchBytes)]

  constructor(weights: Weights, conversion: NativeConversion, file: PartialFile, job: Job, progress: ProgressCount) {
    this.#weights = weights
    this.#conversion = conversion
    this.#file = file
    this.#job = job
    this.#progress = progress
  }

  async write({ tensors, layout }: Output): Promise<void> {
    try {
      await this.#append(layout.header)
      for (const [i, tensor] of tensors.entries()) {
        const { nbytes, padding } = layout.extents[i] as GgufLayout['extents'][number]
        if ('data' in tensor) await this.#append(tensor.data)
        else await this.#convert(tensor, nbytes)
        await this.#append(new Uint8Array(padding))
      }
    } finally {
      await this.#writing.catch(() => undefined) // its failure, if any, is what got here
    }
    await this.#writing
  }

  /** Waits for the stretch before, then lets this one go its way. */
  async #append(bytes: Uint8Array): Promise<void> {
    await this.#writing
    this.#job.check()
    this.#writing = this.#file.write(bytes)
    this.#writing.catch(() => undefined) // thrown where it is waited for
  }

  async #convert(tensor: PlannedTensor, nbytes: number): Promise<void> {
    const rows = tensor.shape.slice(0, -1).reduce((product, size) => product * size, 1)
    const rowBytes = nbytes / rows
    const stretch = Math.max(1, Math.floor(stretchBytes / rowBytes))
    const findings = { nan: 0, infinite: 0, overflowed: 0 }
    for (let first = 0; first < rows; first += stretch) {
      const count = Math.min(stretch, rows - first)
      const out = this.#nextBuffer(count * rowBytes)
      const { source, dtype, interleavedHeads, name } = tensor
      const found = await worded(() =>
        this.#conversion.convert(
          { tensor: source, dtype, interleavedHeads, first, count },
          out,
          this.#job.cancellation,
        ),
      )
      for (const kind of ['nan', 'infinite', 'overflowed'] as const) findings[kind] += found[kind]
      await this.#append(out)
      this.#progress.add(name, out.length)
    }
    this.#refuse(findings, tensor)
  }

  /** The one of the two that is not being written. */
  #nextBuffer(nbytes: number): Uint8Array {
    const [next, other] = this.#buffers
    const large = next.length >= nbytes ? next : new Uint8Array(nbytes) // a row of its own size
    this.#buffers = [other, large]
    return large.subarray(0, nbytes)
  }

  #refuse({ nan, infinite, overflowed }: NativeFindings, { source, dtype }: PlannedTensor): void {
    const entry = this.#weights.tensors[source]
    const where = this.#weights.files[entry?.file ?? 0] ?? ''
    if (nan + infinite > 0)
      throw corrupt(where, `tensor ${entry?.name} holds ${nan} values that are NaN and ${infinite} that are infinite`)
    if (overflowed > 0)
      throw unsupported(
        where,
        `tensor ${entry?.name} holds ${overflowed} values too large for ${dtype}`,
        'bf16 and f32 for such weights',
      )
  }
}

function filesOf(outputs: readonly Output[]): ConvertedModel['files'] {
  return outputs.map(({ path: file, layout }) => ({ path: file, nbytes: layout.nbytes }))
}

function summary(outputs: readonly Output[]): Pick<ConvertedModel, 'files' | 'weightDtypes'> {
  const weightDtypes: Record<string, number> = {}
  for (const { tensors, layout } of outputs) {
    for (const [i, { dtype }] of tensors.entries())
      weightDtypes[dtype] = (weightDtypes[dtype] ?? 0) + (layout.extents[i]?.nbytes ?? 0)
  }
  return { files: filesOf(outputs), weightDtypes }
}

/** Native failures in the library's own words. */
async function worded<T>(work: () => Promise<T>): Promise<T> {
  const callSite = new Error()
  try {
    return await work()
  } catch (cause) {
    throw nativeFailure(cause, callSite)
  }
}
