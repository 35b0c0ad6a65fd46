// CLIP by itself: pictures and texts as vectors of one space, in which what means alike is near (Radford et al. 2021);
// SigLIP, which was trained to tell of each pair by itself whether it belongs together (Zhai et al. 2023), is opened in
// the same way.

import { deviceCheck, deviceName, openOn, type Device, type Place } from './device.js'
import { allInputs, eachInput, named, type NamedResult } from './engine/many-inputs.js'
import { ClipEngine, type ClipDescription } from './engine/clip-engine.js'
import type { Job } from './engine/job.js'
import { Jobs } from './engine/jobs.js'
import { invalidArgument } from './errors.js'
import type { ImageInput } from './image/decode.js'
import { decodeOptions, imageChecks, type ImageOptions } from './image/image-options.js'
import { isas, type DeviceIsa, type Isa, type MemoryPlan, type NativeOptions } from './native.js'
import {
  abortSignal,
  callback,
  checkOptions,
  flag,
  manyInputs,
  oneOf,
  text,
  wholeNumber,
  type OptionCheck,
} from './options.js'
import { PictureQueue, takePicture } from './engine/picture-queue.js'
import { packageFile } from './package-files.js'
import type { ManyProgressListener } from './progress.js'
import { norm, normalizeRow } from './row-norm.js'
import { asDtype, embeddingDtypes, type EmbeddingData, type EmbeddingDtype } from './vector-dtype.js'

/** The CLIP that comes with the package: it knows drawings of two hundred things. */
export const packagedClip = packageFile('models/clip')

export interface ClipOptions extends ImageOptions {
  /** As of `LLaVA.open`. */
  readonly device?: Device
  /** Compute threads; default as many as the process may use. */
  readonly threads?: number
  /** Kernel table; default the strongest that this CPU has. */
  readonly isa?: Isa | 'auto'
  /** As of `LLaVA.open`. */
  readonly arithmetic?: 'fast' | 'exact'
}

/** A picture (a string is its path or URL), or a text. */
export type ClipInput = ImageInput | { readonly text: string }

export interface ClipEmbedOptions<Dtype extends EmbeddingDtype = EmbeddingDtype> extends ImageOptions {
  /** Scale to length 1, so that a dot product is the cosine; default true. */
  readonly normalize?: boolean
  /** Element type, as of `LLaVA.embed`: `f32` (default), `f16`, `int8`, `binary` or `base64`. */
  readonly dtype?: Dtype
  readonly signal?: AbortSignal
}

export interface ClipEmbedManyOptions<Dtype extends EmbeddingDtype = EmbeddingDtype> extends ClipEmbedOptions<Dtype> {
  /** Results in the order of their inputs (default), or each as soon as it is done. */
  readonly ordered?: boolean
  /** Hears how many inputs are done. */
  readonly onProgress?: ManyProgressListener
}

export interface SimilarityOptions extends ImageOptions {
  readonly signal?: AbortSignal
}

export interface ZeroShotOptions extends ImageOptions {
  /** The text for a label, which stands for `{}`; default `a photo of a {}`, as CLIP was trained on captions. */
  readonly prompt?: string
  readonly signal?: AbortSignal
}

/** A label and how probable it is: of a CLIP among those that were given, of a SigLIP by itself. */
export interface ZeroShot {
  readonly label: string
  /**
   * Of a CLIP the softmax of scaled cosines: all of them add up to 1. Of a SigLIP the sigmoid of the scaled cosine plus
   * a bias: whether this label fits, whatever the others are, so that they do not add up to 1; of a picture that no
   * label fits all are near 0.
   */
  readonly probability: number
  /** Cosine of the picture and the label's text. */
  readonly similarity: number
}

export interface ClipInfo {
  readonly path: string
  /** As of `LLaVA.info`. */
  readonly device: string
  readonly isa: DeviceIsa
  /** On a device with memory of its own. */
  readonly plan?: MemoryPlan
  /** Length of a vector. */
  readonly width: number
  /** What cosines are multiplied by before they are compared: exp(logit_scale). */
  readonly scale: number
  /** Of a SigLIP, what is added then: logit_bias. */
  readonly bias?: number
  readonly imageSize: number
  /** Tokens of a text; what is beyond is cut off. */
  readonly contextLength: number
  readonly parameters: number
}

const openChecks = {
  ...imageChecks,
  device: deviceCheck,
  threads: wholeNumber(1, 1024),
  isa: oneOf('auto', ...isas),
  arithmetic: oneOf('fast', 'exact'),
} satisfies Record<keyof ClipOptions, OptionCheck>

const similarityChecks = { ...imageChecks, signal: abortSignal } satisfies Record<keyof SimilarityOptions, OptionCheck>

const embedChecks = {
  ...similarityChecks,
  normalize: flag,
  dtype: oneOf(...embeddingDtypes),
} satisfies Record<keyof ClipEmbedOptions, OptionCheck>

const embedManyChecks = { ...embedChecks, ordered: flag, onProgress: callback } satisfies Record<
  keyof ClipEmbedManyOptions,
  OptionCheck
>

const zeroShotChecks = {
  ...imageChecks,
  prompt: text,
  signal: abortSignal,
} satisfies Record<keyof ZeroShotOptions, OptionCheck>

/**
 * A CLIP checkpoint by itself.
 *
 * ```
 * const clip = await CLIP.open('clip-vit-base-patch32')
 * const [cat, dog] = await clip.embed(['cat.jpg', 'dog.jpg'])
 * await clip.zeroShot('cat.jpg', ['cat', 'dog']) // [{ label: 'cat', probability: 0.99, … }, …]
 * clip.dispose()
 * ```
 */
export class CLIP implements Disposable, AsyncDisposable {
  readonly #engine: ClipEngine
  readonly #options: ClipOptions
  readonly #pictures = new PictureQueue()
  readonly #jobs = new Jobs('CLIP')
  #disposed = false

  private constructor(engine: ClipEngine, options: ClipOptions) {
    this.#engine = engine
    this.#options = options
  }

  /**
   * Opens a directory as transformers saves a CLIPModel or a SiglipModel, or as open_clip publishes a CLIP
   * (open_clip_config.json; where a directory holds both, transformers' is read), or a GGUF that `convertModel` made of
   * any of them; without a path the one that comes with the package.
   * Models opened with as many threads share them.
   * @throws LlavaError MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, OUT_OF_MEMORY, DEVICE_UNAVAILABLE,
   * DEVICE_FAILED, INVALID_ARGUMENT.
   */
  static async open(path: string = packagedClip, options: ClipOptions = {}): Promise<CLIP> {
    text('path', path)
    checkOptions('CLIP.open()', options, openChecks)
    const nativeOptions: Omit<NativeOptions, keyof Place> = {
      threads: options.threads ?? 0,
      isa: options.isa ?? 'auto',
      kvCache: 'f32',
      arithmetic: options.arithmetic ?? 'fast',
      weights: 'mapped',
    }
    const engine = await openOn(options.device ?? 'cpu', options, (place) =>
      ClipEngine.open(path, { ...nativeOptions, ...place }),
    )
    return new CLIP(engine, { ...options })
  }

  /** Vectors [width] of pictures and texts, one or a list of them; the first input that is wrong fails the call. */
  embed<Dtype extends EmbeddingDtype = 'f32'>(
    input: ClipInput,
    options?: ClipEmbedOptions<Dtype>,
  ): Promise<EmbeddingData[Dtype]>
  embed<Dtype extends EmbeddingDtype = 'f32'>(
    input: readonly ClipInput[],
    options?: ClipEmbedOptions<Dtype>,
  ): Promise<EmbeddingData[Dtype][]>
  async embed<Dtype extends EmbeddingDtype>(
    input: ClipInput | readonly ClipInput[],
    options: ClipEmbedOptions<Dtype> = {},
  ): Promise<EmbeddingData[Dtype] | EmbeddingData[Dtype][]> {
    this.#checkAlive()
    checkOptions('embed()', options, embedChecks)
    return this.#jobs.run(options.signal, async (job) => {
      if (!isList(input)) return this.#embedding(input, 'input', options, job)
      return allInputs(input, (one, index) => this.#embedding(one, `input[${index}]`, options, job), job)
    })
  }

  /**
   * The same of any number of inputs: a list, a generator, or what comes asynchronously. Many are computed at once, and memory does not grow with their
   * number. What is wrong with one input is its result, `{ index, error }`. Leaving the iteration stops the work.
   */
  embedMany<Dtype extends EmbeddingDtype = 'f32'>(
    inputs: Iterable<ClipInput> | AsyncIterable<ClipInput>,
    options: ClipEmbedManyOptions<Dtype> = {},
  ): AsyncGenerator<NamedResult<'embedding', EmbeddingData[Dtype]>, void, undefined> {
    this.#checkAlive()
    checkOptions('embedMany()', options, embedManyChecks)
    manyInputs('inputs', inputs)
    return this.#jobs.runEach(options.signal, (job) => {
      const embed = (one: ClipInput, index: number) => this.#embedding(one, `inputs[${index}]`, options, job)
      return named('embedding', eachInput(inputs, embed, options.ordered ?? true, job, options.onProgress))
    })
  }

  /** The cosine of two pictures or texts, or of vectors that were made before, in [-1, 1]. */
  async similarity(
    a: ClipInput | Float32Array,
    b: ClipInput | Float32Array,
    options: SimilarityOptions = {},
  ): Promise<number> {
    this.#checkAlive()
    checkOptions('similarity()', options, similarityChecks)
    return this.#jobs.run(options.signal, async (job) => {
      const vector = async (one: ClipInput | Float32Array, name: string) =>
        one instanceof Float32Array ? one : this.#vector(one, name, options, job)
      const [left, right] = await Promise.all([vector(a, 'a'), vector(b, 'b')])
      if (left.length !== right.length) throw invalidArgument('b', `as many values as \`a\`, ${left.length}`, right)
      return cosine(left, right)
    })
  }

  /**
   * Which of these labels fits a picture, the most probable first, by the cosines of the picture and a text for each.
   */
  async zeroShot(image: ImageInput, labels: readonly string[], options: ZeroShotOptions = {}): Promise<ZeroShot[]> {
    this.#checkAlive()
    checkOptions('zeroShot()', options, zeroShotChecks)
    if (!Array.isArray(labels) || labels.length === 0 || !labels.every((label) => typeof label === 'string'))
      throw invalidArgument('labels', 'a list of strings, one at least', labels)
    const { prompt = 'a photo of a {}', signal, ...limits } = options
    if (!prompt.includes('{}')) throw invalidArgument('prompt', 'a text with {} in it, where the label goes', prompt)
    return this.#jobs.run(signal, async (job) => {
      const texts = labels.map((label) => ({ text: prompt.replaceAll('{}', () => label) }))
      const [picture, ...vectors] = await this.#vectors([image, ...texts], limits, job)
      const similarities = vectors.map((vector) => cosine(picture as Float32Array, vector))
      const probabilities = probabilitiesOf(similarities, this.#engine.description)
      return labels
        .map((label, n) => ({
          label,
          probability: probabilities[n] as number,
          similarity: similarities[n] as number,
        }))
        .toSorted((a, b) => b.probability - a.probability)
    })
  }

  info(): ClipInfo {
    this.#checkAlive()
    const { path, config, scale, logitBias, parameters } = this.#engine.description
    const { device, isa, plan } = this.#engine.info()
    return {
      path,
      device: deviceName(device, this.#engine.options),
      isa,
      ...(plan !== undefined && { plan }),
      width: config.projectionDim,
      scale,
      ...(logitBias !== undefined && { bias: logitBias }),
      imageSize: config.vision.imageSize,
      contextLength: config.text.contextLength,
      parameters,
    }
  }

  /** Frees the model. What still runs fails with DISPOSED; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#jobs.stop()
    this.#engine.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** The same, and waits until all that ran has stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    const settled = this.#jobs.settled()
    this.dispose()
    await settled
  }

  async #embedding<Dtype extends EmbeddingDtype>(
    input: ClipInput,
    name: string,
    { normalize = true, dtype = 'f32' as Dtype, ...limits }: ClipEmbedOptions<Dtype>,
    job: Job,
  ): Promise<EmbeddingData[Dtype]> {
    const vector = await this.#vector(input, name, limits, job)
    if (normalize) normalizeRow(vector)
    return asDtype(vector, vector.length, dtype)
  }

  /** All of them, side by side; the first failure stops the others. */
  #vectors(inputs: readonly ClipInput[], limits: ImageOptions, job: Job): Promise<Float32Array[]> {
    return allInputs(inputs, (one, index) => this.#vector(one, `input[${index}]`, limits, job), job)
  }

  #vector(input: ClipInput, name: string, limits: ImageOptions, job: Job): Promise<Float32Array> {
    return isText(input) ? this.#engine.text(input.text, job) : this.#picture(input, name, limits, job)
  }

  async #picture(input: ImageInput, name: string, limits: ImageOptions, job: Job): Promise<Float32Array> {
    if (typeof input !== 'string' && (typeof input !== 'object' || input === null))
      throw invalidArgument(name, 'a picture, or { text }', input)
    const taken = takePicture(input, decodeOptions(this.#options, limits, job.stopped), job)
    const encode = (pixelValues: Float32Array) => this.#engine.image(pixelValues, job)
    return this.#pictures.through(taken, this.#engine.description.imageProcessor, job, encode)
  }

  #checkAlive(): void {
    if (this.#disposed) throw this.#jobs.disposedError()
  }
}

function isList(input: ClipInput | readonly ClipInput[]): input is readonly ClipInput[] {
  return Array.isArray(input)
}

function isText(input: ClipInput): input is { readonly text: string } {
  return typeof input === 'object' && input !== null && 'text' in input && typeof input.text === 'string'
}

/** CLIP's softmax over the labels, or SigLIP's sigmoid of each, which knows nothing of the others. */
function probabilitiesOf(
  similarities: readonly number[],
  { scale, logitBias }: Pick<ClipDescription, 'scale' | 'logitBias'>,
): readonly number[] {
  if (logitBias !== undefined)
    return similarities.map((similarity) => 1 / (1 + Math.exp(-(scale * similarity + logitBias))))
  const largest = Math.max(...similarities)
  const weights = similarities.map((similarity) => Math.exp(scale * (similarity - largest)))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => weight / sum)
}

/** 0 where one of them is nothing. */
function cosine(a: Float32Array, b: Float32Array): number {
  const dot = a.reduce((sum, value, n) => sum + value * (b[n] as number), 0)
  return dot / (norm(a) * norm(b) || 1)
}
