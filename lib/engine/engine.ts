// The native model with what belongs to it: the calls that run on it, who runs and in which passes, one wording of its failures.
// Everything that computes goes through here; LLaVA is the face, this is the machine room.

import { LlavaError } from '../errors.js'
import { Admission, type AdmissionLimits, type Place } from './admission.js'
import { allocate } from './allocate.js'
import { CandidateRows } from './candidate-rows.js'
import type { Job } from './job.js'
import { Jobs } from './jobs.js'
import {
  guarded,
  guardedNow,
  native,
  type ComputePeak,
  type ImageResult,
  type ModelConfig,
  type NativeImageFeatures,
  type NativeInfo,
  type NativeModel,
  type NativeOptions,
  type NativeSegment,
  type NativeSequence,
  type OpenListener,
} from '../native.js'
import { batchSize, PictureBatches, type Tower } from './picture-batches.js'
import { promptsAbreast } from './step-plan.js'
import { Scheduler, type Passes } from './scheduler.js'
import { modelFingerprint } from './model-fingerprint.js'
import { PictureCache, type BackingStore } from './picture-cache.js'
import { PictureStore } from './picture-store.js'
import { PrefixTree } from './prefix-tree.js'
import { pages, rowCount } from './segments.js'
import type { SharedFeatures } from './shared-features.js'
import { finishInSlices } from '../slices.js'
import { indexPieces } from '../tokenizer/piece-index.js'
import { Tokenizer } from '../tokenizer/tokenizer.js'
import type { ModelDescription } from '../weights/model-description.js'
import { imageRows, towerRows } from '../weights/tower-rows.js'

/** What an engine may hold. */
export interface EngineLimits extends AdmissionLimits {
  /** Bytes of keys and values of beginnings of prompts that are kept, at most. */
  readonly prefixCacheBytes: number
  /** Bytes of encoded pictures that are kept, at most. */
  readonly pictureCacheBytes: number
  /** Where encoded pictures are kept for later processes, and bytes there at most; absent: nowhere. */
  readonly pictureStore?: { readonly directory: string; readonly limit: number } | undefined
}

/** What is wanted of rows that are appended, at least one of the two. */
export interface LogitRows {
  /** [V] or [rows, V] */
  readonly logits?: Float32Array | undefined
  readonly candidates?: CandidateRows | undefined
  /** Of the last row, [layers, heads, positions]: the attention weights over all positions that there are then. */
  readonly attention?: Float32Array | undefined
}

/** Of keys and values that are copied in one go: less than a millisecond. */
const bytesAtOnce = 2 ** 21

export class Engine {
  readonly description: ModelDescription
  readonly options: NativeOptions
  readonly tokenizer: Tokenizer
  readonly admission: Admission
  /** Beginnings of prompts. */
  readonly prefixes: PrefixTree
  /** Encoded pictures. */
  readonly pictures: PictureCache
  readonly #native: NativeModel
  readonly #scheduler: Scheduler
  readonly #pictures: PictureBatches<ImageResult, NativeImageFeatures>
  readonly #bytesOfPage: number
  readonly #info: NativeInfo
  #fingerprint: Promise<string> | undefined
  readonly #jobs = new Jobs('model')
  #disposed = false

  private constructor(
    model: NativeModel,
    description: ModelDescription,
    options: NativeOptions,
    tokenizer: Tokenizer,
    limits: EngineLimits,
    info: NativeInfo,
  ) {
    this.#native = model
    this.admission = new Admission(limits)
    const { vision } = description.config
    const { vocabSize, hiddenSize } = description.config.text
    const apart = sumsByCount(description, options, info)
    this.#scheduler = new Scheduler(model, {
      vocabSize,
      hiddenSize,
      candidateIds: tokenizer.vocabSize,
      apart,
      most: info.passRows,
    })
    this.#pictures = new PictureBatches(
      towerOf(model, () => {
        this.#scheduler.endTurn()
      }),
      batchSize(vision === undefined ? 1 : towerRows(vision), info.towerRows, promptsAbreast),
    )
    this.description = description
    this.options = options
    this.tokenizer = tokenizer
    const bytesOf = bytesOfResults(description.config)
    this.#info = info
    this.pictures = new PictureCache(
      limits.pictureCacheBytes,
      bytesOf,
      (...request) => this.#pictures.encode(...request),
      limits.pictureStore && this.#backingStore(limits.pictureStore, bytesOf),
    )
    this.#bytesOfPage = info.memory.kvCacheFull / pages(description.config.text.contextLength)
    this.prefixes = new PrefixTree(this, {
      limit: limits.prefixCacheBytes,
      bytesOfPage: this.#bytesOfPage,
      apart,
    })
  }

  get passes(): Passes {
    return this.#scheduler.passes
  }

  /** Maps the weights, or copies them. `limits` may depend on what is left of a device's memory. */
  static async open(
    description: ModelDescription,
    options: NativeOptions,
    limits: (info: NativeInfo) => EngineLimits,
    onProgress?: OpenListener,
  ): Promise<Engine> {
    const tokenizer = new Tokenizer(description.tokenizer, await finishInSlices(indexPieces(description.tokenizer)))
    const model = await guarded(() =>
      native().openModel(description.files, description.tensors, description.config, options, onProgress),
    )
    try {
      const info = guardedNow(() => model.info())
      return new Engine(model, description, options, tokenizer, limits(info), info)
    } catch (error) {
      model.dispose()
      throw error
    }
  }

  get config(): ModelConfig {
    return this.description.config
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** Rows one picture takes in the prompt: the grid's patches, and CLIP's class row where the checkpoint keeps it. */
  get rowsPerImage(): number {
    const { vision } = this.config
    return vision === undefined ? 0 : imageRows(vision)
  }

  #backingStore({ directory, limit }: { directory: string; limit: number }, bytesOf: (result: ImageResult) => number) {
    const store = new PictureStore({
      directory,
      limit,
      sizeOf: (result) => bytesOf(result) / Float32Array.BYTES_PER_ELEMENT,
      fingerprint: () => this.fingerprint(),
    })
    return {
      store,
      restore: (results, values) => guarded(() => this.#native.restoreImage(results, values)),
    } satisfies BackingStore
  }

  /** Runs one public call: refuses after dispose, stops with its signal or the model's end, and explains why it stopped. */
  async run<T>(signal: AbortSignal | undefined, work: (job: Job) => Promise<T>): Promise<T> {
    this.checkAlive()
    return this.#jobs.run(signal, work, new Error())
  }

  /** The same for a call that gives its results on the way. It stops when its reader leaves. */
  async *runEach<T>(
    signal: AbortSignal | undefined,
    work: (job: Job) => AsyncGenerator<T, void, undefined>,
  ): AsyncGenerator<T, void, undefined> {
    this.checkAlive()
    yield* this.#jobs.runEach(signal, work, new Error())
  }

  /** Throws DISPOSED once the model is. */
  checkAlive(): void {
    if (this.#disposed) throw this.#jobs.disposedError()
  }

  /**
   * A picture [3, S, S] through the tower, and the projector where its results are asked for, in a batch with those of other calls. The caller disposes of it.
   * Its share of the compute time in milliseconds.
   */
  async encode(
    pixelValues: Float32Array,
    results: readonly ImageResult[],
    job: Job,
  ): Promise<{ readonly image: NativeImageFeatures; readonly computeMs: number }> {
    const { result, computeMs } = await this.#pictures.encode(pixelValues, results, job)
    return { image: result, computeMs }
  }

  /** The same for a picture that may have been seen before. The caller leaves what it gets. */
  encodeOnce(pixelValues: Float32Array, results: readonly ImageResult[], job: Job): Promise<SharedFeatures> {
    return this.pictures.get(pixelValues, results, job)
  }

  /** What keys, values and encoded pictures of this model may be told by. */
  fingerprint(): Promise<string> {
    return (this.#fingerprint ??= modelFingerprint(this.description, this.options, this.#info))
  }

  /** Forgets beginnings of prompts and encoded pictures, those in memory. */
  clearCaches(): void {
    this.prefixes.clear()
    this.pictures.clear()
  }

  /** An empty sequence; the caller disposes of it. */
  createSequence(): NativeSequence {
    this.checkAlive()
    return guardedNow(() => this.#native.createSequence())
  }

  /** A sequence's keys and values as bytes, for `restoreSequence` of a model of the same fingerprint. Chunks, so that nobody waits for all of it. */
  async readSequence(sequence: NativeSequence): Promise<Uint8Array> {
    const bytes = new Uint8Array(pages(sequence.length) * this.#bytesOfPage)
    for (let at = 0; at < bytes.length; at += bytesAtOnce)
      bytes.set(
        await guarded(() => this.#native.readSequence(sequence, at, Math.min(bytesAtOnce, bytes.length - at))),
        at,
      )
    return bytes
  }

  /** The caller disposes of it. Throws INVALID_ARGUMENT where there are not as many bytes as `length` positions take. */
  async restoreSequence(length: number, bytes: Uint8Array): Promise<NativeSequence> {
    if (bytes.length !== pages(length) * this.#bytesOfPage)
      throw new LlavaError('INVALID_ARGUMENT', 'the saved keys and values are not whole')
    const sequence = this.createSequence()
    try {
      for (let at = 0; at < bytes.length; at += bytesAtOnce)
        await guarded(() => this.#native.writeSequence(sequence, length, at, bytes.subarray(at, at + bytesAtOnce)))
      return sequence
    } catch (error) {
      sequence.dispose()
      throw error
    }
  }

  /** A second sequence with the same past; the caller disposes of it. */
  fork(sequence: NativeSequence): NativeSequence {
    return guardedNow(() => sequence.fork())
  }

  /** What a picture was encoded to, a fresh copy. */
  read(image: NativeImageFeatures, kind: ImageResult): Float32Array {
    return guardedNow(() => image.read(kind))
  }

  /**
   * Appends `segments`, in passes that others share. `out` receives what it has room for: of the last row or, where
   * that is more, of all.
   * `onProgress` hears after every pass how many rows are done.
   * A failed or cancelled call leaves the sequence as it was. Resolves to the compute time in milliseconds.
   */
  append(
    sequence: NativeSequence,
    segments: readonly NativeSegment[],
    { logits, candidates, attention }: LogitRows,
    job: Job,
    onProgress?: (rows: number) => void,
  ): Promise<number> {
    const rows = Math.max((logits?.length ?? 0) / this.config.text.vocabSize, candidates?.rows ?? 0)
    return this.#scheduler.advance({
      sequence,
      segments,
      output: 'logits',
      wanted: rows > 1 ? 'all' : 'last',
      out: logits ?? null,
      candidates,
      attention,
      job,
      onProgress,
    })
  }

  /**
   * Room for the `count` likeliest tokens after each of so many positions, `scored`: with what log-probabilities take.
   */
  candidateRows(rows: number, count: number, scored: boolean): CandidateRows {
    return new CandidateRows(rows, Math.min(count, this.tokenizer.vocabSize), scored)
  }

  /** The decoder's hidden states after its final norm, from an empty context: after the last of `segments` [D], or after each position [rows, D]. */
  async hidden(segments: readonly NativeSegment[], all: boolean, job: Job): Promise<Float32Array> {
    const out = allocate((all ? rowCount(segments) : 1) * this.config.text.hiddenSize)
    const sequence = this.createSequence()
    try {
      const wanted = all ? 'all' : 'last'
      await this.#scheduler.advance({ sequence, segments, output: 'hidden', wanted, out, job })
    } finally {
      sequence.dispose()
    }
    return out
  }

  /**
   * Waits until there is room for the keys and values of a prompt and of `answers` side by side, each of so many tokens; gives what says that they are over.
   */
  enter(prompt: number, tokens: number, answers: number, job: Job, place: Place = {}): Promise<() => void> {
    this.checkAlive()
    const more = (answers - 1) * (1 + pages(tokens)) // a fork's first page is a copy of the prompt's last
    return this.admission.enter((pages(prompt + tokens) + more) * this.#bytesOfPage, job, place)
  }

  /** Says by how much `positions` do not fit; `atLeast`: there are so many or more. */
  checkContext(positions: number, imagePositions: number, atLeast = false): void {
    const { contextLength } = this.config.text
    if (positions <= contextLength) return
    const pictures = imagePositions > 0 ? `, ${imagePositions} of them for pictures` : ''
    const excess = positions - contextLength
    throw new LlavaError(
      'CONTEXT_OVERFLOW',
      `the prompt takes ${atLeast ? 'at least ' : ''}${positions} positions${pictures}: ${excess} more than the model's context of ${contextLength}`,
    )
  }

  nativeInfo(): NativeInfo {
    this.checkAlive()
    return guardedNow(() => this.#native.info())
  }

  async measurePeak(kind: ComputePeak | 'read'): ReturnType<NativeModel['measurePeak']> {
    return guarded(() => this.#native.measurePeak(kind))
  }

  /** Stops what runs, with DISPOSED, and frees the model. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#jobs.stop()
    this.clearCaches()
    this.#native.dispose()
  }

  /** The same, and waits until all has stopped. */
  async disposeAsync(): Promise<void> {
    const settled = this.#jobs.settled()
    this.dispose()
    await settled
    await this.pictures.settled()
  }
}

/**
 * Whether the decoder multiplies a row in another way beside many others than alone: under fast arithmetic float weights do, of which a quantised checkpoint
 * may have some too, and where there are tiles all do.
 */
function sumsByCount(
  { tensors }: ModelDescription,
  { arithmetic }: NativeOptions,
  { tiles }: Pick<NativeInfo, 'tiles'>,
): boolean {
  const floats = new Set(['F32', 'F16', 'BF16'])
  const isProduct = (name: string) => name === 'lm_head.weight' || name.startsWith('language_model.layers.')
  return (
    arithmetic === 'fast' &&
    tensors.some(({ name, dtype, shape }) => shape.length === 2 && (tiles || floats.has(dtype)) && isProduct(name))
  )
}

/** What the results of a picture take. */
function bytesOfResults({ vision, text }: ModelConfig): (result: ImageResult) => number {
  const rows = vision === undefined ? 0 : imageRows(vision)
  const floats: Readonly<Record<ImageResult, number>> = {
    image_features: rows * (vision?.hiddenSize ?? 0),
    pooled_features: vision?.hiddenSize ?? 0,
    projected: rows * text.hiddenSize,
    projected_mean: text.hiddenSize,
  }
  return (result) => floats[result] * Float32Array.BYTES_PER_ELEMENT
}

/** @param onEnd hears of the end of each batch */
function towerOf(model: NativeModel, onEnd: () => void): Tower<ImageResult, NativeImageFeatures> {
  return {
    async encode(pixelValues, count, results, cancellation) {
      try {
        const { images, computeMs } = await model.encodeImages(pixelValues, count, results, cancellation)
        return { results: images, computeMs }
      } finally {
        onEnd()
      }
    },
    free(image) {
      image.dispose()
    },
  }
}
