// A whole CLIP, for pictures and texts as vectors of one space: what LLaVA's own tower, cut off before its last layer, cannot give.
//   image = post_layernorm(tower(pixel_values))[class row] · visual_projectionᵀ,  text = final_layer_norm(text tower(ids))[end] · text_projectionᵀ
// Or a whole SigLIP: image = pooling head(post_layernorm(tower(pixel_values))),  text = final_layer_norm(text
// tower(ids))[last] · text_projectionᵀ + bias

import type { Job } from './job.js'
import { Batches } from './batches.js'
import { batchSize, PictureBatches, type Tower } from './picture-batches.js'
import { guarded, guardedNow, native, type NativeClip, type NativeOptions } from '../native.js'
import { finishInSlices } from '../slices.js'
import { ClipTokenizer } from '../tokenizer/clip-tokenizer.js'
import { SiglipTokenizer } from '../tokenizer/siglip-tokenizer.js'
import { Unigram } from '../tokenizer/unigram.js'
import { indexPieces } from '../tokenizer/piece-index.js'
import { Tokenizer } from '../tokenizer/tokenizer.js'
import { isUnigram, type ClipDescription, type ClipVocabulary } from '../weights/clip-description.js'
import { describeClip } from '../weights/describe-clip.js'
import { towerRows } from '../weights/tower-rows.js'
import { fewRows } from './step-plan.js'

export type { ClipDescription }

/**
 * Rows of texts in a pass: as many as fill its products, and no more texts than `fewRows`, each of more rows than that.
 */
const mostTextRows = 1024

type TextTokenizer = Pick<ClipTokenizer, 'encode'>

export class ClipEngine {
  readonly description: ClipDescription
  readonly options: NativeOptions
  readonly #native: NativeClip
  readonly #pictures: PictureBatches<'image_embeds', Float32Array>
  readonly #texts: Batches<Int32Array, 'few' | 'many', Float32Array>
  readonly #tokenizer: TextTokenizer

  private constructor(
    model: NativeClip,
    description: ClipDescription,
    options: NativeOptions,
    tokenizer: TextTokenizer,
  ) {
    this.#native = model
    const { projectionDim, vision } = description.config
    const encode: Tower<'image_embeds', Float32Array>['encode'] = async (pixelValues, count, _, cancellation) => {
      const start = performance.now()
      const rows = await model.encodeImages(pixelValues, count, cancellation)
      return { results: rowsOf(rows, projectionDim), computeMs: performance.now() - start }
    }
    this.#texts = new Batches({
      async encode(texts, _, cancellation) {
        const start = performance.now()
        const rows = await model.encodeTexts(texts, cancellation)
        return { results: rowsOf(rows, projectionDim), computeMs: performance.now() - start }
      },
      free: () => undefined,
      weightOf: ({ length }) => length,
      limit: ([kind]) => (kind === 'few' ? fewRows : mostTextRows),
    })
    this.#pictures = new PictureBatches(
      { encode, free: () => undefined },
      batchSize(towerRows(vision), guardedNow(() => model.info()).towerRows),
    )
    this.description = description
    this.options = options
    this.#tokenizer = tokenizer
  }

  /** Opens what `describeClip` takes. */
  static async open(location: string, options: NativeOptions): Promise<ClipEngine> {
    const description = await describeClip(location)
    const { files, tensors, config, tokenizer: spec } = description
    const tokenizer = await tokenizerOf(spec, config.text.contextLength)
    const model = await guarded(() => native().openClip(files, tensors, config, options))
    return new ClipEngine(model, description, options, tokenizer)
  }

  /** pixel_values [3, S, S] of CLIP's own image processor to [projectionDim], not normalised; in a batch with those of other calls. */
  async image(pixelValues: Float32Array, job: Job): Promise<Float32Array> {
    return (await this.#pictures.encode(pixelValues, ['image_embeds'], job)).result
  }

  /**
   * A text to [projectionDim], not normalised; in a batch with those of other calls. What is beyond the text tower's
   * context is cut off, as CLIP does.
   */
  async text(text: string, job: Job): Promise<Float32Array> {
    const ids = this.#tokenizer.encode(text)
    return (await this.#texts.encode(ids, [ids.length <= fewRows ? 'few' : 'many'], job)).result
  }

  info(): ReturnType<NativeClip['info']> {
    return guardedNow(() => this.#native.info())
  }

  dispose(): void {
    this.#native.dispose()
  }
}

/** A CLIP that is opened when it is first asked for: most who open a model never do. */
export class LazyClip {
  readonly #location: string
  readonly #options: NativeOptions
  #opening: Promise<ClipEngine> | undefined
  #clip: ClipEngine | undefined
  #disposed = false

  constructor(location: string, options: NativeOptions) {
    this.#location = location
    this.#options = options
  }

  /** Opened once; after a failure the next call tries again. */
  open(): Promise<ClipEngine> {
    this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  async #open(): Promise<ClipEngine> {
    const clip = await ClipEngine.open(this.#location, this.#options)
    this.#clip = clip
    if (this.#disposed) clip.dispose()
    return clip
  }

  dispose(): void {
    this.#disposed = true
    this.#clip?.dispose()
  }
}

/** Rows of `width` values, a copy of each. */
function rowsOf(values: Float32Array, width: number): readonly Float32Array[] {
  return Array.from({ length: values.length / width }, (_, n) => values.slice(n * width, (n + 1) * width))
}

async function tokenizerOf(vocabulary: ClipVocabulary, contextLength: number): Promise<TextTokenizer> {
  if (isUnigram(vocabulary))
    return new SiglipTokenizer(await finishInSlices(Unigram.of(vocabulary)), vocabulary, contextLength)
  return new ClipTokenizer(new Tokenizer(vocabulary, await finishInSlices(indexPieces(vocabulary))), contextLength)
}
