// NumPy's .npy, version 1.0: "\x93NUMPY", 1, 0, the header's length in two bytes, the header (a Python dict, padded so
// that data begins at a multiple of 64), the values in C order, little endian as this machine's are.

import { writeWhole } from '../partial-file.js'

/** A Uint16Array holds float16 bits. */
export type NpyData = Float32Array | Uint16Array | Int8Array | Uint8Array

/** What the header says. */
export interface NpyHeader {
  /** NumPy's name of the element type, whose last digit is its bytes. */
  readonly descr: string
  readonly shape: readonly number[]
}

/** Headers are as long, so that one can be written again when an array has become longer. */
const headerBytes = 128

/** The header of an array of this shape with elements as `data` has them. */
export function headerOf(data: NpyData, shape: readonly number[]): NpyHeader {
  return { descr: descrOf(data), shape }
}

function descrOf(data: NpyData): string {
  if (data instanceof Float32Array) return '<f4'
  if (data instanceof Uint16Array) return '<f2'
  return data instanceof Int8Array ? '|i1' : '|u1'
}

/** Everything before the values. */
export function writtenHeader({ descr, shape }: NpyHeader): Buffer {
  const sides = shape.length === 1 ? `${shape[0] ?? 0},` : shape.join(', ') // as Python writes tuples: readers match it
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sides}), }`
  const nbytes = Math.max(headerBytes, Math.ceil((10 + header.length + 1) / 64) * 64)
  const head = Buffer.from('\x93NUMPY\x01\x00??', 'latin1')
  head.writeUInt16LE(nbytes - 10, 8)
  return Buffer.concat([head, Buffer.from(`${header.padEnd(nbytes - 11)}\n`, 'latin1')])
}

/** What a header of this package's says; undefined where there is none. */
export function readHeader(bytes: Buffer): NpyHeader | undefined {
  const [, descr = '', sides = ''] = /'descr': '(...)'.*'shape': \(([\d, ]*)\)/.exec(bytes.toString('latin1')) ?? []
  return descr === '' ? undefined : { descr, shape: (sides.match(/\d+/g) ?? []).map(Number) }
}

/**
 * Writes an array as NumPy's .npy; the file gets its name once it is complete.
 * @throws {LlavaError} OUTPUT_FAILED
 */
export async function saveNpy(file: string, shape: readonly number[], data: NpyData): Promise<void> {
  await writeWhole(file, [writtenHeader(headerOf(data, shape)), bytesOf(data)])
}

export function bytesOf({ buffer, byteOffset, byteLength }: NpyData): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}
