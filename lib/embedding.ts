// Pictures and texts as vectors. N picture rows, Dv and D hidden sizes of vision and text, C width of CLIP's shared space.
//   patch_features  [N, Dv]  the vision tower's output               pooled_features  [Dv]  its mean over the rows
//   projected       [N, D]   the projector's output                  projected_mean   [D]   its mean over the rows
//   hidden_last     [D]      the decoder after the last position     hidden_mean      [D]   its mean over all positions
//   clip_image      [C]      and                                     clip_text        [C]   of the CLIP that was opened beside the model
// Only CLIP's two are trained so that near means alike. Means are summed in double precision, those of pictures in native code; rows are normalised to
// Euclidean length 1 when asked.

import type { PromptOptions } from './answers/answer-options.js'
import type { ImageSource } from './engine/encoded-image.js'
import { invalidArgument } from './errors.js'
import type { EncodeOptions } from './image/image-options.js'
import type { NamedResult } from './engine/many-inputs.js'
import type { ImageResult } from './native.js'
import type { ManyProgressListener } from './progress.js'
import { normalizeRow } from './row-norm.js'
import { finishInSlices } from './slices.js'
import { asDtype, elementsOf, type EmbeddingData, type EmbeddingDtype } from './vector-dtype.js'

export const embeddingKinds = [
  'patch_features',
  'pooled_features',
  'projected',
  'projected_mean',
  'hidden_last',
  'hidden_mean',
  'clip_image',
  'clip_text',
] as const

/** What is taken for the vector of a picture or text; see `LLaVA.embed`. */
export type EmbeddingKind = (typeof embeddingKinds)[number]

/** Pictures and a text in one prompt, for `hidden_last` and `hidden_mean`. */
export interface EmbedPrompt {
  readonly text: string
  readonly images?: ImageSource | readonly ImageSource[]
}

/** A picture (a string is its path or URL) for kinds of pictures, a text for `clip_text`, a text or an EmbedPrompt for kinds of prompts. */
export type EmbedInput = ImageSource | EmbedPrompt

export interface EmbedOptions<Dtype extends EmbeddingDtype = EmbeddingDtype> extends EncodeOptions, PromptOptions {
  readonly kind: EmbeddingKind
  /** Scale each row to length 1; a row of zeros stays. Default false. */
  readonly normalize?: boolean
  /**
   * Element type of `data`:
   *
   * - `f32` (default): a Float32Array;
   * - `f16`: IEEE half precision, its bits in a Uint16Array;
   * - `int8`: an Int8Array; each row is scaled by itself so that its largest magnitude is 127, and rounded. Needs no
   *   calibration. Cosines stay what they are within rounding; the length of a row is not kept;
   * - `binary`: a Uint8Array with a bit for each value, 1 where it is above 0, the first one the highest of its byte, as
   *   numpy.packbits (ubinary of sentence-transformers and Cohere). Distances are Hamming's;
   * - `base64`: a string, base64 of little-endian float32, as OpenAI's `encoding_format`.
   */
  readonly dtype?: Dtype
}

export interface EmbedManyOptions<Dtype extends EmbeddingDtype = EmbeddingDtype> extends EmbedOptions<Dtype> {
  /** Results in the order of their inputs (default), or each as soon as it is done. */
  readonly ordered?: boolean
  /** Hears how many inputs are done. */
  readonly onProgress?: ManyProgressListener
}

/** What became of one input of `LLaVA.embedMany`; `index` counts the inputs from 0. */
export type EmbedResult<Dtype extends EmbeddingDtype = EmbeddingDtype> = NamedResult<'embedding', Embedding<Dtype>>

export interface Embedding<Dtype extends EmbeddingDtype = EmbeddingDtype> {
  readonly kind: EmbeddingKind
  readonly dtype: Dtype
  /** [width], or [rows, width] for `patch_features` and `projected`; `binary` has ⌈width / 8⌉ in place of width. */
  readonly shape: readonly number[]
  /** Row-major. */
  readonly data: EmbeddingData[Dtype]
}

/** What embedding needs of the model. */
export interface EmbeddingSource {
  /** Widths of vision and text. */
  readonly visionWidth: number
  readonly textWidth: number
  /** One result of a picture, a fresh copy; nothing that it does not need is computed. */
  picture(image: ImageSource, result: ImageResult): Promise<Float32Array>
  /** The decoder's hidden states after the last position [D], or after each [rows, D]. */
  hidden(prompt: EmbedPrompt, all: boolean): Promise<Float32Array>
  clipImage(image: ImageSource): Promise<Float32Array>
  clipText(text: string): Promise<Float32Array>
}

/** Rows of values, row-major. */
interface Rows {
  readonly width: number
  readonly values: Float32Array
  /** Whether the result is a list of rows, not one. */
  readonly list?: boolean
}

/** One input's vector, or its vectors. */
export async function embedOne<Dtype extends EmbeddingDtype>(
  input: EmbedInput,
  name: string,
  options: EmbedOptions<Dtype>,
  source: EmbeddingSource,
): Promise<Embedding<Dtype>> {
  const { kind, normalize = false, dtype = 'f32' } = options
  const { width, values, list = false } = await rowsOf(kind, input, name, source)
  await finishInSlices(eachRow(values, width, normalize ? normalizeRow : () => undefined))
  const elements = elementsOf(width, dtype)
  const shape = list ? [values.length / width, elements] : [elements]
  return { kind, dtype: dtype as Dtype, shape, data: await asDtype(values, width, dtype as Dtype) }
}

async function rowsOf(kind: EmbeddingKind, input: EmbedInput, name: string, source: EmbeddingSource): Promise<Rows> {
  if (kind === 'clip_text') return oneRow(await source.clipText(textOf(input, name)))
  if (kind === 'hidden_last') return oneRow(await source.hidden(promptOf(input, name), false))
  if (kind === 'hidden_mean')
    return mean({ width: source.textWidth, values: await source.hidden(promptOf(input, name), true) })
  const picture = pictureOf(input, name)
  if (kind === 'clip_image') return oneRow(await source.clipImage(picture))
  switch (kind) {
    case 'patch_features':
      return { width: source.visionWidth, values: await source.picture(picture, 'image_features'), list: true }
    case 'projected':
      return { width: source.textWidth, values: await source.picture(picture, 'projected'), list: true }
    case 'pooled_features':
    case 'projected_mean':
      return oneRow(await source.picture(picture, kind))
  }
}

function oneRow(values: Float32Array): Rows {
  return { width: values.length, values }
}

async function mean({ width, values }: Rows): Promise<Rows> {
  const sums = new Float64Array(width)
  const add = (row: Float32Array) => {
    for (let i = 0; i < width; i++) sums[i]! += row[i]!
  }
  await finishInSlices(eachRow(values, width, add))
  return oneRow(Float32Array.from(sums, (sum) => sum / (values.length / width)))
}

/** Calls `work` with each row, pausing between rows. */
function* eachRow(values: Float32Array, width: number, work: (row: Float32Array) => void): Generator<undefined, void> {
  for (let at = 0; at < values.length; at += width) {
    work(values.subarray(at, at + width))
    yield
  }
}

function isPrompt(input: EmbedInput): input is EmbedPrompt {
  return typeof input === 'object' && input !== null && 'text' in input && typeof input.text === 'string'
}

function textOf(input: EmbedInput, name: string): string {
  if (typeof input === 'string') return input
  if (isPrompt(input) && input.images === undefined) return input.text
  throw invalidArgument(name, 'a text', input)
}

function promptOf(input: EmbedInput, name: string): EmbedPrompt {
  if (typeof input === 'string') return { text: input }
  if (isPrompt(input)) return input
  throw invalidArgument(name, 'a text, or { text, images }', input)
}

function pictureOf(input: EmbedInput, name: string): ImageSource {
  if (isPrompt(input)) throw invalidArgument(name, 'a picture', input)
  return input
}
