// What a directory of vectors holds, by the formats' specifications and an independent reader of Parquet.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { parquetReadObjects } from 'hyparquet'

export interface Npy {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data: Float32Array | Uint16Array | Int8Array | Uint8Array
}

const arrays: Readonly<Record<string, new (buffer: ArrayBuffer) => Npy['data']>> = {
  '<f4': Float32Array,
  '<f2': Uint16Array,
  '|i1': Int8Array,
  '|u1': Uint8Array,
}

/** A .npy file of version 1.0 by its specification, its shape as Python writes a tuple. */
export async function readNpy(file: string): Promise<Npy> {
  const bytes = await readFile(file)
  if (bytes.toString('latin1', 0, 8) !== '\x93NUMPY\x01\x00') throw new Error('no .npy')
  const end = 10 + bytes.readUInt16LE(8)
  if (end % 64 !== 0 || bytes[end - 1] !== 10) throw new Error('the data is not aligned')
  const [, dtype = '', sides = ''] =
    /^\{'descr': '(...)', 'fortran_order': False, 'shape': \((\d+,|\d+(?:, \d+)+)\), \} *\n$/.exec(
      bytes.toString('latin1', 10, end),
    ) ?? []
  const shape = sides.split(',').filter(Boolean).map(Number)
  const data = new arrays[dtype]!(Uint8Array.from(bytes.subarray(end)).buffer)
  if (data.length !== shape.reduce((product, side) => product * side, 1)) throw new Error('the shape is another')
  return { dtype, shape, data }
}

export async function readColumn(file: string, column: string): Promise<readonly unknown[]> {
  const bytes = Uint8Array.from(await readFile(file))
  const rows: readonly Record<string, unknown>[] = await parquetReadObjects({ file: bytes.buffer })
  return rows.map((row) => row[column])
}

/** Every file below a directory and the hash of its bytes. */
export async function contents(directory: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  const read = async (file: string) => {
    const hash = createHash('sha256').update(await readFile(file))
    return [path.relative(directory, file), hash.digest('hex')] as const
  }
  return Object.fromEntries(await Promise.all(files.sort().map(read)))
}
