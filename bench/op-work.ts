// How much work one call of an op is: each operand comes from memory once, each result goes back once. Row-wise ops are counted in the operations of
// their formula.

import { computeBound, type ComputeBound } from '../lib/benchmark/work.js'
import type { Dtype, NativeInfo, OpRequest } from '../lib/native.js'
import { ggmlTypes } from '../lib/weights/ggml-types.js'
import type { Work } from '../lib/benchmark/roofline.js'

const blocks = new Map([...ggmlTypes.values()].map(({ name, block, nbytes }) => [name, nbytes / block]))

/** Bytes that one weight of a type takes. */
export function bytesPerWeight(dtype: Dtype): number {
  const bytes = blocks.get(dtype)
  if (bytes === undefined) throw new Error(`no such type: ${dtype}`)
  return bytes
}

/** What the products of an op are bound by. */
export function computeBoundOf(
  { op, dtype, rows, exact = false }: OpRequest,
  info: Pick<NativeInfo, 'tiles'>,
): ComputeBound {
  return op === 'linear' && !exact ? computeBound(dtype, rows, info) : { kind: 'fma', products: 1 }
}

export function workOf(request: OpRequest): Work {
  return (works[request.op] ?? rowwise(1, 1))(request)
}

const f32 = 4

function linear({
  dtype,
  rows: M,
  columns: N = 0,
  depth: K = 0,
  outputs = 1,
  bias = false,
  residual = false,
}: OpRequest): Work {
  const weights = N * K * bytesPerWeight(dtype) + (bias ? f32 * N : 0)
  const written = M * N * f32
  return {
    operations: 2 * M * N * K * outputs,
    read: M * K * f32 + outputs * (weights + (residual ? written : 0)),
    written: outputs * written,
  }
}

/** Causal: row t of T sees keys - T + t + 1 positions. Scores and their sum of values take a multiply-add each. */
function attention({ dtype, rows: T, heads: H = 0, headDim: Dh = 0, keys = 0, causal = true }: OpRequest): Work {
  const pairs = causal ? T * (keys - T) + (T * (T + 1)) / 2 : T * keys
  return {
    operations: 4 * H * Dh * pairs,
    read: H * Dh * (2 * keys * bytesPerWeight(dtype) + T * f32),
    written: H * Dh * T * f32,
  }
}

function kvAppend({ dtype, rows: T, heads: H = 0, headDim: Dh = 0 }: OpRequest): Work {
  return { operations: 0, read: 2 * T * H * Dh * f32, written: 2 * T * H * Dh * bytesPerWeight(dtype) }
}

/** Of D values: `operations` for each, `inputs` arrays of them read, one written. */
const rowwise =
  (operations: number, inputs: number) =>
  ({ rows: T, columns: D = 0 }: OpRequest): Work => ({
    operations: operations * T * D,
    read: inputs * T * D * f32,
    written: T * D * f32,
  })

function quantise({ rows: T, columns: D = 0 }: OpRequest): Work {
  const blockBytes = 32 + f32 + 2 * f32 // codes, scale, two sums
  return { operations: 3 * T * D, read: T * D * f32, written: T * (D / 32) * blockBytes }
}

function embedRows({ dtype, rows: T, columns: D = 0 }: OpRequest): Work {
  return { operations: 0, read: T * D * bytesPerWeight(dtype), written: T * D * f32 }
}

function patchEmbed({ columns: Dv = 0, imageSize = 0, patchSize = 1 }: OpRequest): Work {
  const patches = Math.floor(imageSize / patchSize) ** 2
  const depth = 3 * patchSize ** 2
  return {
    operations: 2 * patches * depth * Dv,
    read: f32 * (3 * imageSize ** 2 + depth * Dv + (patches + 1) * Dv),
    written: f32 * (patches + 1) * Dv,
  }
}

/** An op that is not listed counts as one that goes over its rows once. */
const works: Readonly<Partial<Record<OpRequest['op'], (request: OpRequest) => Work>>> = {
  linear,
  attention,
  kv_append: kvAppend,
  rms_norm: rowwise(4, 1), // square, sum, two products
  layer_norm: rowwise(8, 1), // sum; difference, square, sum; difference, two products, sum
  activate: rowwise(4, 1), // product, exp, sum, quotient
  silu_mul: rowwise(5, 2), // negate, exp, sum, quotient, product
  rope: rowwise(3, 1), // two products and a sum for each of a pair
  quantise,
  patch_embed: patchEmbed,
  embed_rows: embedRows,
  copy_rows: rowwise(0, 1),
  add_rows: rowwise(1, 2),
  mean_rows: ({ rows: T, columns: D = 0 }) => ({ operations: T * D, read: T * D * f32, written: D * f32 }),
  rope_angles: ({ rows: T, columns: half = 0 }) => ({
    operations: 3 * T * half,
    read: f32 * (T + half),
    written: 2 * f32 * T * half,
  }), // product, cos, sin
}
