// How much work a model's stages are, from its own shapes: one multiply-add is two operations.

import type { ComputePeak, KvDtype, ModelConfig, NativeInfo, TensorEntry, TextConfig } from '../native.js'
import type { Peak } from './roofline.js'
import { imageRows, patchCount, towerRows } from '../weights/tower-rows.js'

/** More rows than these are multiplied as bfloat16 where the CPU is faster at it (kFewRows of native/ops/args.h). */
const fewRows = 32

/** What a multiply-add is bound by: a peak, and how many of its own operations it takes. */
export interface ComputeBound {
  readonly kind: ComputePeak
  readonly products: number
}

/** Of products of weights with so many rows of activations under fast arithmetic (native/cpu/factors.h). */
export function computeBound(dtype: string, rows: number, { tiles }: Pick<NativeInfo, 'tiles'>): ComputeBound {
  const many = rows > fewRows
  if (many && dtype === 'BF16') return { kind: 'bf16', products: 1 }
  const quantised = dtype.startsWith('Q')
  if (many && tiles) return { kind: 'bf16', products: quantised ? 1 : 3 }
  return { kind: quantised ? 'int8' : 'fma', products: 1 }
}

/** The peak of multiply-adds that take so many of a peak's operations. */
export function boundedPeak({ value, unit, mix }: Peak, { products }: ComputeBound): Peak {
  return products === 1 ? { value, unit, mix } : { value: value / products, unit, mix: `${products} ${mix}` }
}

/** Operations to take one picture from pixel_values to projected rows: 390 GFLOP at LLaVA 1.5's shape with the 7B projector. */
export function imageOperations({ vision, text }: ModelConfig): number {
  if (vision === undefined) return 0
  const { hiddenSize: width, intermediateSize: hidden, layers, patchSize } = vision
  const rows = towerRows(vision)
  const patchConv = 2 * patchCount(vision) * (3 * patchSize ** 2) * width
  const linears = 2 * rows * (4 * width ** 2 + 2 * width * hidden)
  const attention = 4 * rows ** 2 * width
  const projector = 2 * imageRows(vision) * (width * text.hiddenSize + text.hiddenSize ** 2)
  return patchConv + layers * (linears + attention) + projector
}

/**
 * Operations to prefill `positions` from an empty context: causal attention counted once; of the last layer keys and values of all positions, and the rest,
 * like the head, of the last position only.
 */
export function prefillOperations({ text }: ModelConfig, positions: number): number {
  const { layers, hiddenSize, kvHeads, headDim } = text
  const everywhere = layers * layerParameters(text)
  const keysAndValues = 2 * hiddenSize * kvHeads * headDim
  const lastOnly = layerParameters(text) - keysAndValues
  const linears = 2 * (positions * (everywhere - lastOnly) + lastOnly)
  const attended = ((layers - 1) * positions * (positions + 1)) / 2 + positions
  const attention = 4 * text.heads * headDim * attended
  const head = 2 * text.hiddenSize * text.vocabSize
  return linears + attention + head
}

/** Operations to decode one token that sees `positions`, itself included. */
export function decodeOperations({ text }: ModelConfig, positions: number): number {
  const { layers, heads, headDim, hiddenSize, vocabSize } = text
  return 2 * layers * layerParameters(text) + 4 * layers * heads * headDim * positions + 2 * hiddenSize * vocabSize
}

/** Bytes read to decode one token: every matrix of the decoder and the head once, as they lie in the file. */
export function decodeWeightBytes(tensors: readonly TensorEntry[]): number {
  const read = tensors.filter(
    ({ name, shape }) => shape.length === 2 && (name === 'lm_head.weight' || name.startsWith('language_model.layers.')),
  )
  return read.reduce((sum, { nbytes }) => sum + nbytes, 0)
}

/** Bytes of keys and values read to decode one token that sees `positions`, itself included. */
export function kvBytes({ text }: ModelConfig, kvCache: KvDtype, positions: number): number {
  const head = { f32: 4 * text.headDim, f16: 2 * text.headDim, q8_0: text.headDim + 2 * Math.ceil(text.headDim / 32) }
  return 2 * text.layers * text.kvHeads * head[kvCache] * positions
}

/** Parameters of one decoder layer's matrices: q, k, v, o and gate, up, down. */
function layerParameters({ hiddenSize, intermediateSize, heads, kvHeads, headDim }: TextConfig): number {
  return 2 * hiddenSize * heads * headDim + 2 * hiddenSize * kvHeads * headDim + 3 * hiddenSize * intermediateSize
}
