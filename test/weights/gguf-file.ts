// Writes small GGUF files by the format's own rules, and, where a test asks for it, against them.

export type GgufScalarType =
  'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'bool' | 'string' | 'u64' | 'i64' | 'f64'

export interface GgufKey {
  readonly key: string
  readonly type: GgufScalarType | readonly [GgufScalarType]
  readonly value: unknown
}

export interface GgufTensorInfo {
  readonly name: string
  /** ggml's type id. */
  readonly type: number
  /** Fastest dimension first. */
  readonly ne: readonly (number | bigint)[]
  /** From the start of the data; default: behind the tensor before, aligned. */
  readonly offset?: number
  readonly data?: Buffer
}

export interface GgufParts {
  readonly version?: number
  readonly keys?: readonly GgufKey[]
  readonly tensors?: readonly GgufTensorInfo[]
  readonly keyCount?: bigint
  readonly tensorCount?: bigint
  readonly alignment?: number
}

const typeIds: Readonly<Record<GgufScalarType, number>> = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  u64: 10,
  i64: 11,
  f64: 12,
}

/** Elements and bytes per block, of the types the tests use. */
const blocks: ReadonlyMap<number, readonly [number, number]> = new Map([
  [0, [1, 4]],
  [1, [1, 2]],
  [2, [32, 18]],
  [3, [32, 20]],
  [8, [32, 34]],
  [20, [32, 18]],
  [30, [1, 2]],
])

export function ggufFile(parts: GgufParts): Buffer {
  const { header, size, data } = ggufHead(parts)
  const bytes = Buffer.alloc(size)
  header.copy(bytes)
  for (const [content, at] of data) content.copy(bytes, at)
  return bytes
}

/** The header and the size of the whole file, for files too large to write out. */
export function ggufHead({ version = 3, keys = [], tensors = [], keyCount, tensorCount, alignment = 32 }: GgufParts): {
  header: Buffer
  size: number
  data: (readonly [Buffer, number])[]
} {
  const placed = place(tensors, alignment)
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(tensorCount ?? BigInt(tensors.length)),
    u64(keyCount ?? BigInt(keys.length)),
    ...keys.map(({ key, type, value }) => Buffer.concat([string(key), keyValue(type, value)])),
    ...placed.map(({ name, ne, type, offset }) =>
      Buffer.concat([string(name), u32(ne.length), ...ne.map((n) => u64(BigInt(n))), u32(type), u64(BigInt(offset))]),
    ),
  ])
  const dataStart = Math.ceil(header.length / alignment) * alignment
  const size = Math.max(header.length, ...placed.map(({ offset, nbytes }) => dataStart + offset + nbytes))
  return {
    header,
    size,
    data: placed.flatMap(({ data, offset }) => (data === undefined ? [] : [[data, dataStart + offset] as const])),
  }
}

function place(
  tensors: readonly GgufTensorInfo[],
  alignment: number,
): (GgufTensorInfo & { readonly offset: number; readonly nbytes: number })[] {
  let end = 0
  return tensors.map((tensor) => {
    const [block, size] = blocks.get(tensor.type) ?? [1, 0]
    const elements = tensor.ne.reduce<number>((product, n) => product * Number(n), 1)
    const nbytes = elements > 1e9 ? 0 : Math.floor(elements / block) * size
    const offset = tensor.offset ?? Math.ceil(end / alignment) * alignment
    end = Math.max(end, offset + nbytes)
    return { ...tensor, offset, nbytes }
  })
}

function keyValue(type: GgufKey['type'], value: unknown): Buffer {
  if (typeof type === 'string') return Buffer.concat([u32(typeIds[type]), scalar(type, value)])
  const values = Array.from(value as Iterable<unknown>)
  return Buffer.concat([
    u32(9),
    u32(typeIds[type[0]]),
    u64(BigInt(values.length)),
    ...values.map((each) => scalar(type[0], each)),
  ])
}

function scalar(type: GgufScalarType, value: unknown): Buffer {
  if (type === 'string') return string(value as string)
  const bytes = Buffer.alloc(8)
  if (type === 'u64') return u64(value as bigint)
  if (type === 'i64') return (bytes.writeBigInt64LE(value as bigint), bytes)
  const number = Number(value)
  if (type === 'f64') return bytes.subarray(0, bytes.writeDoubleLE(number))
  if (type === 'f32') return bytes.subarray(0, bytes.writeFloatLE(number))
  const size = type === 'bool' ? 1 : Number(type.slice(1)) / 8
  return bytes.subarray(
    0,
    type.startsWith('i') ? bytes.writeIntLE(number, 0, size) : bytes.writeUIntLE(number, 0, size),
  )
}

export function string(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([u64(BigInt(bytes.length)), bytes])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}
