// Element types of vectors, from rows of float32.
//   f16     IEEE half precision, to nearest even
//   int8    q = round(127 · v / max|v|) of each row by itself. Needs no calibration, unlike sentence-transformers' int8,
//           which wants the range of each dimension over many vectors. Cosines stay, but for rounding; lengths do not.
//   binary  a bit for each value, 1 where v > 0, the first one the highest of its byte, as numpy.packbits; what
//           sentence-transformers and Cohere call ubinary
//   base64  the bytes of little-endian float32, as OpenAI's `encoding_format`

import { toHalf } from './half.js'
import { finishInSlices } from './slices.js'

export const embeddingDtypes = ['f32', 'f16', 'int8', 'binary', 'base64'] as const

export type EmbeddingDtype = (typeof embeddingDtypes)[number]

/** What holds the values of each element type. */
export interface EmbeddingData {
  readonly f32: Float32Array
  /** The bits of each value. */
  readonly f16: Uint16Array
  readonly int8: Int8Array
  /** Eight values a byte; each row begins with a byte of its own. */
  readonly binary: Uint8Array
  readonly base64: string
}

/** Elements of a row of `width` values. */
export function elementsOf(width: number, dtype: EmbeddingDtype): number {
  return dtype === 'binary' ? Math.ceil(width / 8) : width
}

/** Rows of `width` float32 values as `dtype`; the values themselves where that is f32. */
export async function asDtype<Dtype extends EmbeddingDtype>(
  values: Float32Array,
  width: number,
  dtype: Dtype,
): Promise<EmbeddingData[Dtype]> {
  return (await converted(values, width, dtype)) as EmbeddingData[Dtype]
}

async function converted(
  values: Float32Array,
  width: number,
  dtype: EmbeddingDtype,
): Promise<EmbeddingData[EmbeddingDtype]> {
  switch (dtype) {
    case 'f32':
      return values
    case 'base64':
      return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64')
    case 'f16':
      return eachRow(values, width, new Uint16Array(values.length), toHalf)
    case 'int8':
      return eachRow(values, width, new Int8Array(values.length), toInt8)
    case 'binary':
      return eachRow(values, width, new Uint8Array((values.length / width) * elementsOf(width, dtype)), toBits)
  }
}

/** Fills `out` with what `convert` makes of each row, pausing between rows. */
async function eachRow<Out extends Uint16Array | Int8Array | Uint8Array>(
  values: Float32Array,
  width: number,
  out: Out,
  convert: (row: Float32Array) => Out,
): Promise<Out> {
  function* rows(): Generator<undefined, Out> {
    for (let at = 0, to = 0; at < values.length; at += width) {
      const row = convert(values.subarray(at, at + width))
      out.set(row, to)
      to += row.length
      yield
    }
    return out
  }
  return finishInSlices(rows())
}

function toInt8(row: Float32Array): Int8Array {
  let largest = 0
  for (const value of row) largest = Math.max(largest, Math.abs(value))
  const scale = largest === 0 ? 0 : 127 / largest
  return Int8Array.from(row, (value) => Math.round(value * scale))
}

function toBits(row: Float32Array): Uint8Array {
  const bytes = new Uint8Array(elementsOf(row.length, 'binary'))
  for (const [i, value] of row.entries()) if (value > 0) bytes[i >> 3]! |= 0x80 >> (i & 7)
  return bytes
}
