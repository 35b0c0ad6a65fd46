// Pictures of calls on their way through a model's tower: taken as they are when the call begins, decoded, resized,
// encoded or remembered.

import { createHash } from 'node:crypto'
import { LlavaError } from '../errors.js'
import type { DecodeOptions, ImageInput, RgbImage } from '../image/decode.js'
import { decodeOptions, type ImageOptions } from '../image/image-options.js'
import type { ImageProcessorSpec } from '../image/image-processor.js'
import { pixelBytes } from '../image/pixel-bytes.js'
import type { ImageResult, NativeImageFeatures } from '../native.js'
import type { ProgressListener } from '../progress.js'
import type { ModelDescription } from '../weights/model-description.js'
import { EncodedImage, type ImageSource } from './encoded-image.js'
import type { Engine } from './engine.js'
import { allOrNone, type Job } from './job.js'
import { PictureQueue, takePicture, type TakenPicture } from './picture-queue.js'
import type { SharedFeatures } from './shared-features.js'

export class PictureEncoder {
  readonly #engine: Engine
  readonly #options: ImageOptions
  readonly #queue = new PictureQueue()

  /** @param options what the model was opened with */
  constructor(engine: Engine, options: ImageOptions) {
    this.#engine = engine
    this.#options = options
  }

  /**
   * Pictures as they are now, whatever the caller does with them next. `cleanUp` receives what releases those that were
   * given encoded. To be called before the first pause.
   */
  takeAll(images: readonly ImageSource[], options: ImageOptions, cleanUp: (() => void)[], job: Job): TakenSource[] {
    const limits = this.#limits(options, job)
    return images.map((image) => {
      if (!(image instanceof EncodedImage)) return takePicture(image, limits, job)
      const held = image.hold(this.#engine)
      cleanUp.push(() => {
        image.release()
      })
      return held
    })
  }

  /** Every picture's rows in order. `cleanUp` receives what disposes of those made here. */
  async encodeAll(
    images: readonly TakenSource[],
    cleanUp: (() => void)[],
    job: Job,
    onProgress: ProgressListener | undefined,
  ): Promise<NativeImageFeatures[]> {
    const total = images.length
    let done = images.filter((image) => typeof image !== 'function').length
    if (total > 0) onProgress?.({ stage: 'image', done, total })
    return await allOrNone(
      images.map(async (image) => {
        if (typeof image !== 'function') return image
        const made = await this.#features(image, ['projected'], job)
        cleanUp.push(() => {
          made.release()
        })
        onProgress?.({ stage: 'image', done: ++done, total })
        return made.native
      }),
      job,
    )
  }

  /** The caller disposes of it. */
  async encode(
    image: ImageInput,
    results: readonly ImageResult[],
    options: ImageOptions,
    job: Job,
  ): Promise<EncodedImage> {
    const taken = takePicture(image, this.#limits(options, job), job)
    return new EncodedImage(await this.#features(taken, results, job), this.#engine)
  }

  /** One that is remembered, by the digest of its pixel_values. The caller disposes of it. */
  async find(digest: string, results: readonly ImageResult[]): Promise<EncodedImage | undefined> {
    const features = await this.#engine.pictures.find(digest, results)
    return features && new EncodedImage(features, this.#engine)
  }

  /** What tells apart how pixel_values are made. */
  get preprocessing(): string {
    const spec = JSON.stringify(this.#engine.description.imageProcessor ?? {})
    return createHash('sha256').update(spec).digest('hex').slice(0, 16)
  }

  /** One result of a picture, a fresh copy; nothing that it does not need is computed, and nothing is remembered. */
  async result(image: ImageSource, result: ImageResult, options: ImageOptions, job: Job): Promise<Float32Array> {
    if (image instanceof EncodedImage) {
      using shared = image.share()
      return shared.read(result)
    }
    const encode = async (pixelValues: Float32Array) => (await this.#engine.encode(pixelValues, [result], job)).image
    const taken = takePicture(image, this.#limits(options, job), job)
    const encoded = await this.#queue.through(taken, imageProcessor(this.#engine.description), job, encode, (late) => {
      late.dispose()
    })
    try {
      return this.#engine.read(encoded, result)
    } finally {
      encoded.dispose()
    }
  }

  /**
   * Another tower's result for a picture: what `encode` makes of its pixel_values [3, S, S]. `processor` is asked for
   * once the picture is taken.
   */
  async through<T>(
    image: ImageInput,
    processor: () => Promise<ImageProcessorSpec>,
    options: ImageOptions,
    job: Job,
    encode: (pixelValues: Float32Array) => Promise<T>,
  ): Promise<T> {
    const taken = takePicture(image, this.#limits(options, job), job)
    return this.#queue.through(taken, await processor(), job, encode)
  }

  /** pixel_values [3, S, S] of a picture. */
  async pixelValues(image: ImageInput, options: ImageOptions, job: Job): Promise<Float32Array> {
    const same = (pixelValues: Float32Array) => Promise.resolve(pixelValues)
    const taken = takePicture(image, this.#limits(options, job), job)
    return this.#queue.through(taken, imageProcessor(this.#engine.description), job, same)
  }

  /** What pixel_values are made of: RGB [S, S, 3]. */
  async preprocessed(image: ImageInput, options: ImageOptions, job: Job): Promise<RgbImage> {
    const spec = imageProcessor(this.#engine.description)
    return pixelBytes(await this.pixelValues(image, options, job), spec)
  }

  /** Computed, or remembered. The caller releases it. */
  #features(image: TakenPicture, results: readonly ImageResult[], job: Job): Promise<SharedFeatures> {
    const encode = (pixelValues: Float32Array) => this.#engine.encodeOnce(pixelValues, results, job)
    return this.#queue.through(image, imageProcessor(this.#engine.description), job, encode, (late) => {
      late.release()
    })
  }

  #limits(options: ImageOptions, job: Job): DecodeOptions {
    return decodeOptions(this.#options, options, job.stopped)
  }
}

/** A picture that was taken: what decodes it, or its rows where it came encoded. */
export type TakenSource = TakenPicture | NativeImageFeatures

/** How a model's tower sees pictures; a model without one takes none. */
export function imageProcessor({ imageProcessor: spec, path }: ModelDescription): ImageProcessorSpec {
  if (spec !== undefined) return spec
  throw new LlavaError(
    'INVALID_ARGUMENT',
    `${path} has no vision tower and takes no pictures; a GGUF pair needs its mmproj file too (option \`mmproj\`)`,
  )
}
