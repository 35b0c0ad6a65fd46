// Writes a safetensors file: u64 header length, JSON padded to 8 bytes, then the tensors one after another, little-endian.

import { PartialFile } from '../partial-file.js'

/** One tensor to write; `shape` is row-major and its product is `data.length`. */
export interface WritableTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array | Int32Array
}

/** An interrupted run leaves nothing that looks finished. Fails with OUTPUT_FAILED. */
export async function writeSafetensors(file: string, tensors: Readonly<Record<string, WritableTensor>>): Promise<void> {
  const output = await PartialFile.create(file)
  try {
    await output.write(header(tensors))
    for (const { data } of Object.values(tensors)) await output.write(littleEndian(data))
    await output.commit()
  } catch (error) {
    await output.discard()
    throw error
  }
}

function header(tensors: Readonly<Record<string, WritableTensor>>): Uint8Array {
  const entries: Record<
    string,
    { readonly dtype: string; readonly shape: readonly number[]; readonly data_offsets: readonly [number, number] }
  > = {}
  let begin = 0
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const end = begin + data.byteLength
    entries[name] = { dtype: data instanceof Int32Array ? 'I32' : 'F32', shape, data_offsets: [begin, end] }
    begin = end
  }
  const json = Buffer.from(JSON.stringify(entries))
  const bytes = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ')
  bytes.writeBigUInt64LE(BigInt(bytes.length - 8))
  json.copy(bytes, 8)
  return bytes
}

/** The bytes themselves: every platform Node runs on is little-endian but s390x, for which they are swapped. */
function littleEndian(data: Float32Array | Int32Array): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? bytes : Buffer.from(bytes).swap32()
}
