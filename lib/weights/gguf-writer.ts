// GGUF written: the header in one piece, every offset known before the first tensor is; then the tensors in order, each aligned.
// gguf.ts reads what this writes.

import type { Dtype } from '../native.js'
import { ggmlTypes, type GgmlType } from './ggml-types.js'
import { elementCount } from './stored-tensor.js'

/** A key's value with the type it has in the file. */
export type GgufField =
  | readonly ['u32' | 'i32' | 'f32' | 'f64', number]
  | readonly ['bool', boolean]
  | readonly ['string', string]
  | readonly ['strings', readonly string[]]
  | readonly ['u8s' | 'i32s' | 'f32s', ArrayLike<number>]

/** Written in the map's order. */
export type GgufFields = ReadonlyMap<string, GgufField>

export interface GgufTensor {
  readonly name: string
  readonly dtype: Dtype
  /** Row-major. */
  readonly shape: readonly number[]
}

export interface GgufLayout {
  /** Up to where the data begins. */
  readonly header: Uint8Array
  /** By tensor, its bytes, and the zeros behind them. */
  readonly extents: readonly { readonly nbytes: number; readonly padding: number }[]
  /** Of the whole file. */
  readonly nbytes: number
}

const alignment = 32

/** Yields where it may pause: a vocabulary has hundreds of thousands of strings. */
export function* layoutGguf(fields: GgufFields, tensors: readonly GgufTensor[]): Generator<undefined, GgufLayout> {
  const header = new Bytes()
  header.raw(Buffer.from('GGUF'))
  header.u32(3)
  header.u64(tensors.length)
  header.u64(fields.size)
  for (const [key, field] of fields) {
    header.string(key)
    yield* writeField(header, field)
  }
  let offset = 0
  const extents = tensors.map((tensor) => {
    const { id, type } = typeOf(tensor.dtype)
    header.string(tensor.name)
    header.u32(tensor.shape.length)
    for (const size of tensor.shape.toReversed()) header.u64(size)
    header.u32(id)
    header.u64(offset)
    const nbytes = ((elementCount(tensor.shape) as number) / type.block) * type.nbytes
    const padding = padded(nbytes) - nbytes
    offset += nbytes + padding
    return { nbytes, padding }
  })
  header.raw(Buffer.alloc(padded(header.length) - header.length))
  return { header: header.taken(), extents, nbytes: header.length + offset }
}

/** Whether rows of so many elements divide into the type's blocks. */
export function fitsBlocks(dtype: Dtype, columns: number): boolean {
  return columns % typeOf(dtype).type.block === 0
}

/** Of a type's blocks, scales and all. */
export function bitsPerWeight(dtype: Dtype): number {
  const { block, nbytes } = typeOf(dtype).type
  return (8 * nbytes) / block
}

/** Whether a type has blocks with scales: such weights have lost something. */
export function isQuantised(dtype: Dtype): boolean {
  return typeOf(dtype).type.block > 1
}

function padded(nbytes: number): number {
  return Math.ceil(nbytes / alignment) * alignment
}

const byName: ReadonlyMap<string, { readonly id: number; readonly type: GgmlType }> = new Map(
  [...ggmlTypes].map(([id, type]) => [type.name, { id, type }]),
)

function typeOf(dtype: Dtype): { readonly id: number; readonly type: GgmlType } {
  return byName.get(dtype) as { readonly id: number; readonly type: GgmlType } // every Dtype is listed
}

/** Values of an array between two pauses: well under a millisecond of work. */
const valuesPerStep = 1024

const typeIds = { u8: 0, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, f64: 12 } as const

function* writeField(out: Bytes, [type, value]: GgufField): Generator<undefined, void> {
  switch (type) {
    case 'string':
      out.u32(typeIds.string)
      out.string(value)
      return
    case 'bool':
      out.u32(typeIds.bool)
      out.u8(value ? 1 : 0)
      return
    case 'strings':
      writeArrayHead(out, typeIds.string, value.length)
      for (const [i, each] of value.entries()) {
        out.string(each)
        if (i % valuesPerStep === 0) yield
      }
      return
    case 'u8s':
    case 'i32s':
    case 'f32s': {
      const element = type === 'u8s' ? 'u8' : type === 'i32s' ? 'i32' : 'f32'
      writeArrayHead(out, typeIds[element], value.length)
      for (let i = 0; i < value.length; i++) {
        out[element](value[i] as number)
        if (i % valuesPerStep === 0) yield
      }
      return
    }
    default:
      out.u32(typeIds[type])
      out[type](value)
  }
}

function writeArrayHead(out: Bytes, element: number, count: number): void {
  out.u32(typeIds.array)
  out.u32(element)
  out.u64(count)
}

/** Little-endian values one after the other, in a buffer that grows. */
class Bytes {
  length = 0
  #buffer = Buffer.alloc(1 << 16)

  u8(value: number): void {
    const at = this.#room(1)
    this.#buffer.writeUInt8(value, at)
  }

  u32(value: number): void {
    const at = this.#room(4)
    this.#buffer.writeUInt32LE(value, at)
  }

  i32(value: number): void {
    const at = this.#room(4)
    this.#buffer.writeInt32LE(value, at)
  }

  u64(value: number): void {
    const at = this.#room(8)
    this.#buffer.writeBigUInt64LE(BigInt(value), at)
  }

  f32(value: number): void {
    const at = this.#room(4)
    this.#buffer.writeFloatLE(value, at)
  }

  f64(value: number): void {
    const at = this.#room(8)
    this.#buffer.writeDoubleLE(value, at)
  }

  string(text: string): void {
    const nbytes = Buffer.byteLength(text)
    this.u64(nbytes)
    const at = this.#room(nbytes)
    this.#buffer.write(text, at)
  }

  raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length)
    this.#buffer.set(bytes, at)
  }

  taken(): Uint8Array {
    return this.#buffer.subarray(0, this.length)
  }

  /** Where the next `nbytes` go; the buffer may be another one afterwards. */
  #room(nbytes: number): number {
    const at = this.length
    this.length += nbytes
    if (this.length > this.#buffer.length) {
      const larger = Buffer.alloc(2 ** Math.ceil(Math.log2(this.length)))
      larger.set(this.#buffer)
      this.#buffer = larger
    }
    return at
  }
}
