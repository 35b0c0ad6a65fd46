// What an answer's tokens owe to places of a picture: squares of patches are greyed in pixel_values, one after another, and the answer's tokens
// are scored anew (occlusion: Zeiler & Fergus 2014). All pictures share batches of the tower, all texts passes of the decoder.

import type { AnsweredPrompt } from './answers/answered.js'
import type { AnswerOptions, PromptOptions } from './answers/answer-options.js'
import { promptSegments, type Prompt } from './answers/prompt-writer.js'
import type { AttentionModel } from './attention.js'
import type { Place } from './engine/admission.js'
import { allocate } from './engine/allocate.js'
import { EncodedImage, type ImageSource } from './engine/encoded-image.js'
import type { Engine } from './engine/engine.js'
import type { Job } from './engine/job.js'
import { allInputs } from './engine/many-inputs.js'
import { imageProcessor } from './engine/picture-encoder.js'
import { fewRows } from './engine/step-plan.js'
import { invalidArgument, LlavaError } from './errors.js'
import type { ImageProcessorSpec } from './image/image-processor.js'
import { normalisedBytes } from './image/normalised-bytes.js'
import { meanColour } from './image/picture-request.js'
import type { NativeImageFeatures, VisionConfig } from './native.js'
import { wholeNumber } from './options.js'
import type { ProgressListener } from './progress.js'
import { patchGrid } from './weights/tower-rows.js'

/** `priority`, `client` and `maxWaitMs` say who goes first where memory is short, as for answers. */
export interface OcclusionOptions
  extends PromptOptions, Pick<AnswerOptions, 'priority' | 'client' | 'maxWaitMs' | 'signal'> {
  /** Which of the messages' pictures is greyed, counted from 0; default the first. */
  readonly picture?: number
  /** Patches on a side of the square that is greyed at once; default the least with which there are at most 64 squares. */
  readonly window?: number
  /** Hears how many pictures have been looked at, the whole one and one for each square. */
  readonly onProgress?: ProgressListener
}

/** Squares of the default window, at most: as many as a person tells apart, and not too many pictures. */
const mostSquares = 64

/** What greying each place of a picture does to each token of an answer, made by `LLaVA.occlusionOf`. */
export class Occlusion {
  /** Patches on a side of a square; the last ones of a row or column may be smaller. */
  readonly window: number
  /** Squares, down and across. */
  readonly grid: { readonly rows: number; readonly columns: number }
  /** The answer's. */
  readonly tokenIds: readonly number[]
  /** Of each of these with the whole picture: the natural logarithm of its probability by the model itself. */
  readonly logprobs: Float64Array
  /** [tokens, rows, columns]: by how much that changes where a square is grey; below 0 the token became less likely. */
  readonly changes: Float32Array

  /** Made by `LLaVA.occlusionOf`. */
  constructor(
    window: number,
    side: number,
    tokenIds: readonly number[],
    whole: Float64Array,
    greyed: readonly Float64Array[],
  ) {
    this.window = window
    this.grid = { rows: side, columns: side }
    this.tokenIds = tokenIds
    this.logprobs = whole
    this.changes = new Float32Array(tokenIds.length * greyed.length)
    for (const [place, logprobs] of greyed.entries()) {
      for (const [token, logprob] of logprobs.entries())
        this.changes[token * greyed.length + place] = logprob - (whole[token] as number)
    }
  }

  /** The change of one token, or of several together, as of a word: [rows, columns]. Throws INVALID_ARGUMENT. */
  change(tokens: number | readonly number[]): Float32Array {
    const places = this.grid.rows * this.grid.columns
    const out = new Float64Array(places)
    for (const token of typeof tokens === 'number' ? [tokens] : tokens) {
      wholeNumber(0, this.tokenIds.length - 1)('token', token)
      for (let place = 0; place < places; place++) out[place]! += this.changes[token * places + place] as number
    }
    return Float32Array.from(out)
  }
}

export async function runOcclusion(
  { engine, prompts, pictures }: AttentionModel,
  { parts, images, tokenIds }: AnsweredPrompt,
  { picture: index = 0, window: asked, onProgress, ...queueing }: OcclusionOptions,
  job: Job,
): Promise<Occlusion> {
  const cleanUp: (() => void)[] = []
  try {
    const image = pictureAt(images, index)
    const others = pictures.takeAll(images.toSpliced(index, 1), {}, cleanUp, job)
    const reading = pictures.pixelValues(image, {}, job)
    reading.catch(() => undefined) // heard below
    const prompt = await prompts.cut(parts, images.length)
    const vision = engine.config.vision as VisionConfig // a prompt with pictures was cut
    const grid = patchGrid(vision)
    const window = Math.min(asked ?? Math.ceil(grid.side / Math.sqrt(mostSquares)), grid.side)
    const side = Math.ceil(grid.side / window)
    const ids = await tokenIds()
    engine.checkContext(prompt.positions + ids.length - 1, prompt.imagePositions)
    const whole = await reading
    const encoded = await pictures.encodeAll(others, cleanUp, job, undefined)
    const grey = greyOf(imageProcessor(engine.description))
    const total = side ** 2 + 1
    let done = 0
    onProgress?.({ stage: 'image', done, total })
    const score = async (place: number) => {
      const square = { row: Math.floor(place / side) * window, column: (place % side) * window, window }
      const pixelValues = place < 0 ? whole : greyed(whole, vision, square, grey)
      const { image: native } = await engine.encode(pixelValues, ['projected'], job)
      try {
        return await logprobsOf(engine, prompt, encoded.toSpliced(index, 0, native), ids, queueing, job)
      } finally {
        native.dispose()
        onProgress?.({ stage: 'image', done: ++done, total })
      }
    }
    const places = Array.from({ length: total }, (_, n) => n - 1)
    const [first, ...squares] = await allInputs(places, score, job)
    return new Occlusion(window, side, ids, first as Float64Array, squares)
  } finally {
    for (const clean of cleanUp) clean()
  }
}

function pictureAt(images: readonly ImageSource[], index: number): Exclude<ImageSource, EncodedImage> {
  const image = images[index]
  if (image === undefined)
    throw invalidArgument(
      'picture',
      images.length === 0 ? 'messages with a picture' : `one of ${images.length}, from 0`,
      index,
    )
  if (image instanceof EncodedImage)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      'an EncodedImage has no pixels any more that could be greyed; give the picture itself',
    )
  return image
}

/** The processor's mean colour in each channel, as padding has it. */
function greyOf(spec: ImageProcessorSpec): readonly number[] {
  const values = normalisedBytes(spec)
  return meanColour(spec).map((byte, channel) => values[256 * channel + byte] as number)
}

interface Square {
  /** Of its first patch. */
  readonly row: number
  readonly column: number
  readonly window: number
}

/** A copy of pixel_values [3, S, S] with a square of patches in one colour. */
function greyed(whole: Float32Array, vision: VisionConfig, square: Square, grey: readonly number[]): Float32Array {
  const { imageSize: size, patchSize } = vision
  const patches = Math.floor(size / patchSize)
  const [top, left] = [square.row * patchSize, square.column * patchSize]
  const bottom = Math.min(square.row + square.window, patches) * patchSize
  const right = Math.min(square.column + square.window, patches) * patchSize
  const out = whole.slice()
  for (const [channel, value] of grey.entries()) {
    for (let y = top; y < bottom; y++) {
      const row = (channel * size + y) * size
      out.fill(value, row + left, row + right)
    }
  }
  return out
}

/**
 * The logarithm of the probability of each token of an answer, computed as the answer was but for what is remembered of
 * prompts, which these are not worth.
 */
async function logprobsOf(
  engine: Engine,
  prompt: Prompt,
  images: readonly NativeImageFeatures[],
  ids: readonly number[],
  place: Place,
  job: Job,
): Promise<Float64Array> {
  const { vocabSize } = engine.config.text
  const logprobs = new Float64Array(ids.length)
  const leave = await engine.enter(prompt.positions, ids.length, 1, job, place)
  const sequence = engine.createSequence()
  try {
    const rows = Math.min(fewRows, ids.length)
    const logits = allocate(rows * vocabSize)
    const score = async (segments: Parameters<Engine['append']>[1], from: number, count: number) => {
      const candidates = engine.candidateRows(count, 1, true)
      await engine.append(sequence, segments, { logits: logits.subarray(0, count * vocabSize), candidates }, job)
      for (let n = 0; n < count; n++) {
        const logit = logits[n * vocabSize + (ids[from + n] as number)] as number
        logprobs[from + n] = logit - candidates.row(n).logSumExp
      }
    }
    for (const call of engine.prefixes.callsOf(promptSegments(prompt, images))) await score(call, 0, 1)
    for (let from = 1; from < ids.length; from += rows) {
      const count = Math.min(rows, ids.length - from)
      await score([{ tokens: Int32Array.from(ids.slice(from - 1, from - 1 + count)) }], from, count)
    }
    return logprobs
  } finally {
    sequence.dispose()
    leave()
  }
}
