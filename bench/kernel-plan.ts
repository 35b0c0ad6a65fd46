// Which rows a run of the kernel bench has: every combination of the dimensions below, a dimension that was not asked for at its default.

import type { Dtype, Isa, MeasuredOp, OpRequest } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { decoderLinears, projectorLinears, visionLinears, type DecoderName, type LinearShape } from './shapes.js'

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
const decoderNames: readonly DecoderName[] = ['7b', '13b']

/** Shapes that stand for the others when nothing is asked for. */
const quickShapes = ['7b.gate_up', 'vision_fc1']

const linears: readonly LinearShape[] = [
  ...decoderNames.flatMap((decoder) => [...decoderLinears(decoder), ...projectorLinears(decoder)].map((linear) => ({ ...linear, shape: `${decoder}.${linear.shape}` }))),
  ...visionLinears,
]

export function planKernels(filter: KernelFilter): readonly KernelCase[] {
  const cases = linearCases(filter)
  return cases.filter(({ request }) => filter.ops?.includes(request.op) ?? true)
}

/** The names `shapes` may hold. */
export const shapeNames: readonly string[] = linears.map(({ shape }) => shape)

function wantedShape({ shapes, all = false }: KernelFilter, shape: string, quick: boolean): boolean {
  if (shapes === undefined) return all || quick
  return shapes.some((wanted) => shape === wanted || shape.endsWith(`.${wanted}`))
}

function linearCases(filter: KernelFilter): KernelCase[] {
  const wanted = linears.filter(({ shape }) => wantedShape(filter, shape, quickShapes.includes(shape)))
  return wanted.flatMap(({ shape, rows, ...sizes }) =>
    (filter.rows ?? (rows === undefined ? (filter.all === true ? allRows : quickRows) : [rows])).flatMap((count) =>
      (filter.dtypes ?? dtypes).map((dtype) => ({
        shape,
        request: { op: 'linear' as const, dtype, rows: count, ...sizes, ...(filter.exact === true && { exact: true }) },
      })),
    ),
  )
}
