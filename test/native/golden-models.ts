// The tiny random checkpoints of test/fixtures/golden, opened at the native boundary, with random texts and pictures to run through them.
// Rows are positions of the context: one per token, and one per row of a picture.

import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  imageResults,
  native,
  type Isa,
  type ModelConfig,
  type NativeImageFeatures,
  type NativeModel,
  type NativeOptions,
  type NativeSegment,
  type NativeSequence,
  type NativeStep,
  type VisionConfig,
} from '../../lib/native.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import type { DescribeOptions, ModelDescription } from '../../lib/weights/model-description.js'
import { goldenCase } from '../tiny-model.js'

const goldens = fileURLToPath(new URL('../../../test/fixtures/golden/', import.meta.url))
export const goldenNames: readonly string[] = readdirSync(goldens).sort()
export const isas: readonly Isa[] = native().cpuInfo().isas

export const plainOptions: NativeOptions = { device: 'cpu', threads: 1, isa: 'auto', kvCache: 'f32', arithmetic: 'fast', weights: 'mapped' }

/** The checkpoint of a golden case, with the other half, tower or adapter that the case names. */
function describeGolden(name: string): Promise<ModelDescription> {
  const { mmproj, visionTower, adapter } = JSON.parse(readFileSync(path.join(goldens, name, 'case.json'), 'utf8')) as DescribeOptions
  const parts = Object.entries({ mmproj, visionTower, adapter }).flatMap(([part, file]) => (file === undefined ? [] : [[part, path.join(goldens, name, file)] as const]))
  return describeModel(goldenCase(name).model, Object.fromEntries(parts))
}

/** A checkpoint and its open model; disposed of at the end of its scope. */
export class GoldenModel implements Disposable {
  readonly description: ModelDescription
  readonly model: NativeModel

  private constructor(description: ModelDescription, model: NativeModel) {
    this.description = description
    this.model = model
  }

  static async open(name: string, options: Partial<NativeOptions> = {}): Promise<GoldenModel> {
    return GoldenModel.openAt(await describeGolden(name), options)
  }

  /** Of a checkpoint that lies elsewhere. */
  static async openAt(description: ModelDescription, options: Partial<NativeOptions> = {}): Promise<GoldenModel> {
    return new GoldenModel(description, await openDescribed(description, options))
  }

  get config(): ModelConfig {
    return this.description.config
  }

  get vision(): VisionConfig {
    const { vision } = this.config
    if (vision === undefined) throw new Error('every golden checkpoint has a vision tower')
    return vision
  }

  /** Pixels of `count` pictures, [count, 3, S, S]. */
  pixels(seed: number, count = 1): Float32Array {
    const next = randomNumbers(seed)
    return Float32Array.from({ length: count * 3 * this.vision.imageSize ** 2 }, () => 4 * next() - 2)
  }

  async encode(pixels: Float32Array, count = 1): Promise<NativeImageFeatures[]> {
    return (await this.model.encodeImages(pixels, count, imageResults, null)).images
  }

  tokens(seed: number, count: number): NativeSegment {
    const next = randomNumbers(seed)
    return { tokens: Int32Array.from({ length: count }, () => Math.floor(next() * this.config.text.vocabSize)) }
  }

  /** Text, a picture, text, another picture, text: `rows` in all, with a picture across the first page's end, at row 64. */
  async prompt(seed: number, rows: number): Promise<NativeSegment[]> {
    const images = await this.encode(this.pixels(seed, 2), 2)
    const [first, second] = images.map((image): NativeSegment => ({ image, start: 0, count: image.rows })) as [NativeSegment, NativeSegment]
    const before = 64 - Math.floor(rowCount([first]) / 2)
    const between = 5
    const after = rows - before - between - rowCount([first, second])
    return [this.tokens(seed + 1, before), first, this.tokens(seed + 2, between), second, this.tokens(seed + 3, after)]
  }

  /** Logits of all rows of all steps, one array per step. */
  async forwardAll(steps: readonly { readonly sequence: NativeSequence; readonly segments: readonly NativeSegment[] }[]): Promise<Float32Array[]> {
    const { vocabSize } = this.config.text
    const sizes = steps.map(({ segments }) => rowCount(segments) * vocabSize)
    const logits = new Float32Array(sizes.reduce((sum, size) => sum + size, 0)).fill(NaN)
    await this.model.forward(steps.map((step): NativeStep => ({ ...step, logits: 'all' })), logits, null)
    let at = 0
    return sizes.map((size) => logits.slice(at, (at += size)))
  }

  /** Appends `segments` in pieces of `lengths` rows; logits of all of them, [rows, V]. */
  async append(sequence: NativeSequence, segments: readonly NativeSegment[], lengths: readonly number[] = [rowCount(segments)]): Promise<Float32Array> {
    const parts: Float32Array[] = []
    let from = 0
    for (const length of lengths) {
      parts.push(...(await this.forwardAll([{ sequence, segments: slice(segments, from, from + length) }])))
      from += length
    }
    return joined(parts)
  }

  /** The same, in a sequence of its own. */
  async run(segments: readonly NativeSegment[], lengths?: readonly number[]): Promise<Float32Array> {
    const sequence = this.model.createSequence()
    try {
      return await this.append(sequence, segments, lengths)
    } finally {
      sequence.dispose()
    }
  }

  [Symbol.dispose](): void {
    this.model.dispose()
  }
}

export async function openDescribed({ files, tensors, config }: Pick<ModelDescription, 'files' | 'tensors'> & { readonly config: ModelConfig }, options: Partial<NativeOptions> = {}): Promise<NativeModel> {
  return native().openModel(files, tensors, config, { ...plainOptions, ...options })
}

/** mulberry32: numbers in [0, 1), the same ones each run. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function rowCount(segments: readonly NativeSegment[]): number {
  return segments.reduce((sum, segment) => sum + ('tokens' in segment ? segment.tokens.length : segment.count), 0)
}

/** Rows from `begin` up to `end`, also from inside a picture. */
export function slice(segments: readonly NativeSegment[], begin: number, end: number): NativeSegment[] {
  const parts: NativeSegment[] = []
  let at = 0
  for (const segment of segments) {
    const rows = rowCount([segment])
    const from = Math.max(begin - at, 0)
    const to = Math.min(end - at, rows)
    if (from < to) parts.push('tokens' in segment ? { tokens: segment.tokens.slice(from, to) } : { image: segment.image, start: segment.start + from, count: to - from })
    at += rows
  }
  return parts
}

/** `rows` as pieces of `length`, the last one shorter where it must be. */
export function pieces(rows: number, length: number): number[] {
  return Array.from({ length: Math.ceil(rows / length) }, (_, i) => Math.min(length, rows - i * length))
}

export function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Where two arrays first differ in their bits, as a sentence; undefined when nowhere. NaN in both counts as a difference: nothing here may be NaN. */
export function difference(actual: Float32Array, expected: Float32Array): string | undefined {
  if (actual.length !== expected.length) return `${actual.length} values instead of ${expected.length}`
  const at = actual.findIndex((value, i) => value !== expected[i])
  return at < 0 ? undefined : `value ${at} of ${actual.length} is ${actual[at]} instead of ${expected[at]}`
}
