// ONNX's protobuf messages written by hand (onnx.proto3, opset 17), and CLIP's vision tower in them, with random
// float32 weights: all of them stand in one
// file beside the model and share its bytes.

import type { VisionConfig } from '../lib/native.js'

export type ClipShape = Pick<
  VisionConfig,
  'hiddenSize' | 'intermediateSize' | 'layers' | 'heads' | 'imageSize' | 'patchSize'
>

type Bytes = Uint8Array

function varint(value: number): Bytes {
  const bytes: number[] = []
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    if (rest < 128n) return Uint8Array.from([...bytes, Number(rest)])
    bytes.push(Number(rest & 127n) | 128)
  }
}

const whole = (field: number, value: number): Bytes => Buffer.concat([varint(field << 3), varint(value)])
const message = (field: number, ...parts: readonly Bytes[]): Bytes => {
  const body = Buffer.concat(parts)
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body])
}
const text = (field: number, value: string): Bytes => message(field, Buffer.from(value))

const elementType = { float: 1, int64: 7 } as const

type Attribute = number | readonly number[]

/** AttributeProto: whole numbers and lists of them, or a float when its name is `epsilon`. */
function attribute(name: string, value: Attribute): Bytes {
  if (name === 'epsilon') {
    const float = Buffer.alloc(4)
    float.writeFloatLE(Number(value))
    return message(5, text(1, name), varint((2 << 3) | 5), float, whole(20, 1))
  }
  if (typeof value === 'number') return message(5, text(1, name), whole(3, value), whole(20, 2))
  return message(5, text(1, name), ...value.map((one) => whole(8, one)), whole(20, 7))
}

/** A size of 0 is the batch's, which is known when the model runs. */
export function valueInfo(field: number, name: string, shape: readonly number[]): Bytes {
  const dimensions = shape.map((size) => message(1, size === 0 ? text(2, 'batch') : whole(1, size)))
  return message(field, text(1, name), message(2, message(1, whole(1, elementType.float), message(2, ...dimensions))))
}

/** A graph under construction; every method returns the name of its result. */
export class Graph {
  readonly #weightsFile: string
  readonly #nodes: Bytes[] = []
  readonly #initializers: Bytes[] = []
  #names = 0

  /** @param weightsFile has the bytes that all weights share, beside the model */
  constructor(weightsFile: string) {
    this.#weightsFile = weightsFile
  }

  node(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    name = `v${this.#names++}`,
  ): string {
    const parts = Object.entries(attributes).map(([key, value]) => attribute(key, value))
    this.#nodes.push(message(1, ...inputs.map((input) => text(1, input)), text(2, name), text(4, op), ...parts))
    return name
  }

  weight(...shape: readonly number[]): string {
    const name = `w${this.#names++}`
    const length = 4 * shape.reduce((product, size) => product * size, 1)
    const place = Object.entries({ location: this.#weightsFile, offset: '0', length: String(length) })
    const external = place.map(([key, value]) => message(13, text(1, key), text(2, value)))
    this.#initializers.push(
      message(
        5,
        ...shape.map((size) => whole(1, size)),
        whole(2, elementType.float),
        text(8, name),
        ...external,
        whole(14, 1),
      ),
    )
    return name
  }

  constant(values: readonly number[], type: 'float' | 'int64', shape: readonly number[]): string {
    const name = `c${this.#names++}`
    const data = type === 'float' ? new Float32Array(values) : new BigInt64Array(values.map(BigInt))
    this.#initializers.push(
      message(
        5,
        ...shape.map((size) => whole(1, size)),
        whole(2, elementType[type]),
        text(8, name),
        message(9, Buffer.from(data.buffer)),
      ),
    )
    return name
  }

  linear(x: string, depth: number, columns: number): string {
    return this.node('Add', [this.node('MatMul', [x, this.weight(depth, columns)]), this.weight(columns)])
  }

  /** Rows [first, end) of x [N, rows, D]. */
  rows(x: string, first: number, end: number): string {
    return this.node('Slice', [x, ...[first, end, 1].map((value) => this.constant([value], 'int64', [1]))])
  }

  layerNorm(x: string, width: number): string {
    return this.node('LayerNormalization', [x, this.weight(width), this.weight(width)], { axis: -1, epsilon: 1e-5 })
  }

  model(input: Bytes, output: Bytes): Bytes {
    const graph = message(7, ...this.#nodes, text(2, 'clip'), ...this.#initializers, input, output)
    return Buffer.concat([whole(1, 8), graph, message(8, text(1, ''), whole(2, 17))])
  }
}

/**
 * CLIP's vision tower up to its last layer: pixel_values [N, 3, S, S] to rows [N, 1 + P, D]. A 0 in a shape stands for
 * N.
 */
export function clipTower(g: Graph, shape: ClipShape): string {
  const { hiddenSize: D, layers, patchSize, imageSize } = shape
  const patches = (imageSize / patchSize) ** 2
  const conv = g.node('Conv', ['pixel_values', g.weight(D, 3, patchSize, patchSize)], {
    kernel_shape: [patchSize, patchSize],
    strides: [patchSize, patchSize],
  })
  const rows = g.node('Transpose', [g.node('Reshape', [conv, g.constant([0, D, patches], 'int64', [3])])], {
    perm: [0, 2, 1],
  })
  // the class row for each picture, without Shape and Expand
  const nothing = g.node('Mul', [g.rows(rows, 0, 1), g.constant([0], 'float', [])])
  const all = g.node('Concat', [g.node('Add', [nothing, g.weight(1, 1, D)]), rows], { axis: 1 })
  let x = g.layerNorm(g.node('Add', [all, g.weight(1, patches + 1, D)]), D)
  for (let n = 0; n < layers; n++) x = block(g, x, patches + 1, shape)
  return x
}

function block(g: Graph, x: string, rows: number, { hiddenSize: D, intermediateSize: F, heads }: ClipShape): string {
  const h = g.layerNorm(x, D)
  const split = (projected: string, perm: readonly number[]): string =>
    g.node('Transpose', [g.node('Reshape', [projected, g.constant([0, rows, heads, D / heads], 'int64', [4])])], {
      perm,
    })
  const q = split(g.linear(h, D, D), [0, 2, 1, 3])
  const k = split(g.linear(h, D, D), [0, 2, 3, 1])
  const v = split(g.linear(h, D, D), [0, 2, 1, 3])
  const scores = g.node('Mul', [g.node('MatMul', [q, k]), g.constant([(D / heads) ** -0.5], 'float', [])])
  const mixed = g.node('Transpose', [g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), v])], {
    perm: [0, 2, 1, 3],
  })
  const attended = g.linear(g.node('Reshape', [mixed, g.constant([0, rows, D], 'int64', [3])]), D, D)
  const y = g.node('Add', [x, attended])
  const inner = g.linear(g.layerNorm(y, D), D, F)
  const quickGelu = g.node('Mul', [
    inner,
    g.node('Sigmoid', [g.node('Mul', [inner, g.constant([1.702], 'float', [])])]),
  ])
  return g.node('Add', [y, g.linear(quickGelu, F, D)])
}
