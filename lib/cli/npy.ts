// NumPy's .npy, version 1.0: "\x93NUMPY", 1, 0, the header's length in two bytes, the header (a Python dict, padded so that data begins at a multiple
// of 64), the values in C order, little endian as this machine's are.

import { writeOutput } from './output-file.js'

/** A Uint16Array holds float16 bits. */
export async function writeNpy(
  file: string,
  shape: readonly number[],
  data: Float32Array | Uint16Array,
): Promise<void> {
  const dtype = data instanceof Float32Array ? '<f4' : '<f2'
  const header = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${shape.map((length) => `${length},`).join(' ')}), }`
  const padded = header.padEnd(Math.ceil((10 + header.length + 1) / 64) * 64 - 11) + '\n'
  const head = Buffer.alloc(10 + padded.length)
  head.write('\x93NUMPY\x01\x00', 'latin1')
  head.writeUInt16LE(padded.length, 8)
  head.write(padded, 10, 'latin1')
  await writeOutput(file, [head, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)])
}
