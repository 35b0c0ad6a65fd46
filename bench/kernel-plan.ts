// Which rows a run of the kernel bench has: every combination of the dimensions below, a dimension that was not asked for at its default.

import type { Dtype, Isa, MeasuredOp, OpRequest } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { opShapes, type OpShape } from './shapes.js'

/** What to run; lists are alternatives. */
export interface KernelFilter {
  readonly ops?: readonly MeasuredOp[]
  /** Types of weights, or of keys and values. */
  readonly dtypes?: readonly Dtype[]
  /** Default: the strongest this CPU has. */
  readonly isas?: readonly Isa[]
  /** Rows of the activations; default 1 and 512, and a picture's where they are given. */
  readonly rows?: readonly number[]
  /** Names of shapes, with or without their model: `gate_up`, `13b.gate_up`. */
  readonly shapes?: readonly string[]
  /** Everything that no other filter leaves out. */
  readonly all?: boolean
  /** Dequantise and multiply in float32. */
  readonly exact?: boolean
}

/** One row to be: an op on a real shape. */
export interface KernelCase {
  /** `7b.gate_up`, `vision_fc1`. */
  readonly shape: string
  readonly request: OpRequest
}

const allRows = [1, 8, 64, 512]
const quickRows = [1, 512]

/** Shapes that stand for the others when nothing is asked for. */
const quickShapes = [
  '7b.gate_up',
  '7b.prefill_512',
  '7b.decode_2048',
  '7b.hidden',
  '7b.mlp',
  '7b.vocabulary',
  '7b.picture',
  'vision.fc1',
  'vision.attention',
  'vision.hidden',
  'vision.patches',
]

/** The names `shapes` may hold. */
export const shapeNames: readonly string[] = [...new Set(opShapes.map(({ shape }) => shape))]

/** Throws when a shape has no such name, or nothing fits all of the filter. */
export function planKernels(filter: KernelFilter): readonly KernelCase[] {
  const unknown = filter.shapes?.find((name) => !opShapes.some(({ shape }) => isNamed(name, shape)))
  if (unknown !== undefined) throw new Error(`no shape is named ${unknown}; there are ${shapeNames.join(', ')}`)
  const cases = casesOf(filter)
  if (cases.length === 0) throw new Error('nothing to measure: no op has these shapes, types and rows together')
  return cases
}

function casesOf(filter: KernelFilter): KernelCase[] {
  const wanted = opShapes.filter(({ op, shape }) => (filter.ops?.includes(op) ?? true) && wantedShape(filter, shape))
  return wanted.flatMap((shape) =>
    rowsOf(filter, shape).flatMap((rows) =>
      dtypesOf(filter, shape.op).map((dtype) => kernelCase(filter, shape, rows, dtype)),
    ),
  )
}

function wantedShape({ shapes, all = false }: KernelFilter, shape: string): boolean {
  if (shapes === undefined) return all || quickShapes.includes(shape)
  return shapes.some((wanted) => isNamed(wanted, shape))
}

/** A shape may be named without its model. */
function isNamed(name: string, shape: string): boolean {
  return shape === name || shape.endsWith(`.${name}`)
}

/** A prompt's rows and a picture's are part of the shape of attention and of the convolution; elsewhere any number may be asked for. */
function rowsOf({ rows: wanted, all = false }: KernelFilter, { op, rows }: OpShape): readonly number[] {
  if (rows !== undefined && (op === 'attention' || op === 'patch_embed'))
    return wanted === undefined || wanted.includes(rows) ? [rows] : []
  return wanted ?? (rows === undefined ? (all ? allRows : quickRows) : [rows])
}

/** Types an op exists for: of weights, of keys and values, or of activations, which are F32. */
function dtypesOf({ dtypes: wanted, all = false }: KernelFilter, op: MeasuredOp): readonly Dtype[] {
  const having: readonly Dtype[] =
    op === 'linear' || op === 'embed_rows'
      ? dtypes
      : op === 'attention' || op === 'kv_append'
        ? ['F16', 'F32']
        : ['F32']
  const usual = all || op === 'linear' ? having : having.filter((dtype) => ['F16', 'F32', 'Q4_0'].includes(dtype))
  return wanted === undefined ? usual : having.filter((dtype) => wanted.includes(dtype))
}

function kernelCase(
  { exact = false }: KernelFilter,
  { shape, ...sizes }: OpShape,
  rows: number,
  dtype: Dtype,
): KernelCase {
  return { shape, request: { ...sizes, dtype, rows, ...(exact && { exact }) } }
}
