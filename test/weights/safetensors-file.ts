// Writes small safetensors files whose data is zeros: header tests need the extents, not the values.

export interface SafetensorsEntry {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
}

const sizes: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2, I64: 8, F8_E4M3: 1 }

export function safetensorsFile(
  entries: readonly SafetensorsEntry[],
  metadata?: Readonly<Record<string, string>>,
): Buffer {
  let end = 0
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata }
  for (const { name, dtype, shape } of entries) {
    const begin = end
    end += shape.reduce((product, n) => product * n, 1) * (sizes[dtype] ?? 1)
    header[name] = { dtype, shape, data_offsets: [begin, end] }
  }
  return safetensorsBytes(JSON.stringify(header), end)
}

/** Any text as the header, and that many bytes of data. */
export function safetensorsBytes(header: string, dataBytes: number): Buffer {
  const text = Buffer.from(header)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)])
}
