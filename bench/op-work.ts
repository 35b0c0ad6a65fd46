// How much work one call of an op is: each operand crosses from memory once, each result back once. Row-wise ops are counted in the operations of their formula.

import type { Dtype, OpRequest } from '../lib/native.js'
import { ggmlTypes } from '../lib/weights/ggml-types.js'
import type { Work } from './roof.js'

const blocks = new Map([...ggmlTypes.values()].map(({ name, block, nbytes }) => [name, nbytes / block]))

/** Bytes that one weight of a type takes. */
export function bytesPerWeight(dtype: Dtype): number {
  const bytes = blocks.get(dtype)
  if (bytes === undefined) throw new Error(`no such type: ${dtype}`)
  return bytes
}

/** Whether the products of an op are of int8 values. */
export function multipliesInt8({ op, dtype, exact = false }: OpRequest): boolean {
  return op === 'linear' && dtype.startsWith('Q') && !exact
}

export function workOf(request: OpRequest): Work {
  return works[request.op](request)
}

const f32 = 4

function linear({ dtype, rows: M, columns: N = 0, depth: K = 0, outputs = 1, bias = false, residual = false }: OpRequest): Work {
  const weights = N * K * bytesPerWeight(dtype) + (bias ? f32 * N : 0)
  const written = M * N * f32 * (residual ? 2 : 1)
  return { operations: 2 * M * N * K * outputs, bytes: M * K * f32 + outputs * (weights + written) }
}

const works = { linear } as const satisfies Record<OpRequest['op'], (request: OpRequest) => Work>
