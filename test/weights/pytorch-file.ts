// Writes small PyTorch files: a pickle out of named instructions, and a stored zip around it, by the formats' own rules or, where a test asks, against them.

import { u32, u64 } from './gguf-file.js'

// ---- pickle, protocol 2

const opcode = (text: string): Buffer => Buffer.from(text, 'latin1')

export const mark = opcode('(')
export const none = opcode('N')
export const emptyDict = opcode('}')
export const emptyTuple = opcode(')')
export const reduce = opcode('R')
export const setItems = opcode('u')
export const stop = opcode('.')

export function global(module: string, name: string): Buffer {
  return opcode(`c${module}\n${name}\n`)
}

export function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([opcode('X'), u32(bytes.length), bytes])
}

export function int(value: number): Buffer {
  return value >= 0 && value < 256 ? Buffer.from([0x4b, value]) : Buffer.concat([opcode('J'), u32(value >>> 0)])
}

/** LONG1 of eight bytes. */
export function long(value: bigint): Buffer {
  return Buffer.concat([Buffer.from([0x8a, 8]), u64(BigInt.asUintN(64, value))])
}

export function tuple(...items: readonly Buffer[]): Buffer {
  return Buffer.concat([mark, ...items, opcode('t')])
}

export function pickle(...code: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from([0x80, 2]), ...code, stop])
}

export const orderedDict = Buffer.concat([global('collections', 'OrderedDict'), emptyTuple, reduce])

export interface PickledTensorParts {
  readonly storage?: string
  readonly key?: string
  readonly elements?: number
  readonly offset?: Buffer
  readonly shape?: readonly number[]
  readonly strides?: readonly number[]
}

/** As torch writes a tensor; `shape` decides what is not given. */
export function tensor({
  storage = 'FloatStorage',
  key = '0',
  shape = [2, 3],
  ...more
}: PickledTensorParts = {}): Buffer {
  const elements = more.elements ?? shape.reduce((product, n) => product * n, 1)
  const strides = more.strides ?? shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * n, 1))
  const storageId = tuple(text('storage'), global('torch', storage), text(key), text('cpu'), int(elements))
  const parameters = [
    storageId,
    opcode('Q'),
    more.offset ?? int(0),
    tuple(...shape.map(int)),
    tuple(...strides.map(int)),
    Buffer.from([0x89]),
    orderedDict,
  ]
  return Buffer.concat([global('torch._utils', '_rebuild_tensor_v2'), tuple(...parameters), reduce])
}

/** A dictionary, from names to what code leaves on the stack. */
export function dict(entries: Readonly<Record<string, Buffer>>): Buffer {
  return Buffer.concat([
    emptyDict,
    mark,
    ...Object.entries(entries).flatMap(([name, value]) => [text(name), value]),
    setItems,
  ])
}

// ---- zip

export interface ZipPart {
  readonly name: string
  readonly data: Buffer
  readonly method?: number
  readonly flags?: number
  /** The name in the entry's own header. */
  readonly localName?: string
}

export interface ZipParts {
  readonly entries: readonly ZipPart[]
  /** Numbers in zip64 records, as for archives beyond 4 GiB. */
  readonly zip64?: boolean
  readonly comment?: string
  readonly directorySize?: number
  readonly directoryOffset?: number
  readonly count?: number
}

const u16 = (value: number): Buffer => u32(value).subarray(0, 2)
const wide = 0xffffffff

export function zipFile({ entries, zip64 = false, comment = '', ...claims }: ZipParts): Buffer {
  const local: Buffer[] = []
  const central: Buffer[] = []
  let at = 0
  for (const { name, data, method = 0, flags = 0, localName = name } of entries) {
    const padding = Buffer.concat([u16(0x4246), u16(5), Buffer.alloc(5)]) // torch aligns its storages with a field of this kind
    const header = Buffer.concat([
      u32(0x04034b50),
      u16(20),
      u16(flags),
      u16(method),
      u32(0),
      u32(0),
      u32(data.length),
      u32(data.length),
      u16(Buffer.byteLength(localName)),
      u16(padding.length),
    ])
    const numbers = zip64
      ? Buffer.concat([u16(1), u16(24), u64(BigInt(data.length)), u64(BigInt(data.length)), u64(BigInt(at))])
      : Buffer.alloc(0)
    const [size, offset] = zip64 ? [wide, wide] : [data.length, at]
    central.push(
      Buffer.concat([
        u32(0x02014b50),
        u16(20),
        u16(20),
        u16(flags),
        u16(method),
        u32(0),
        u32(0),
        u32(size),
        u32(size),
        u16(Buffer.byteLength(name)),
        u16(numbers.length),
        u16(0),
        u16(0),
        u16(0),
        u32(0),
        u32(offset),
      ]),
      Buffer.from(name),
      numbers,
    )
    local.push(header, Buffer.from(localName), padding, data)
    at += header.length + Buffer.byteLength(localName) + padding.length + data.length
  }
  const directory = Buffer.concat(central)
  const [count, size, offset] = [
    claims.count ?? entries.length,
    claims.directorySize ?? directory.length,
    claims.directoryOffset ?? at,
  ]
  const end64 = Buffer.concat([
    u32(0x06064b50),
    u64(44n),
    u16(45),
    u16(45),
    u32(0),
    u32(0),
    u64(BigInt(count)),
    u64(BigInt(count)),
    u64(BigInt(size)),
    u64(BigInt(offset)),
  ])
  const locator = Buffer.concat([u32(0x07064b50), u32(0), u64(BigInt(at + directory.length)), u32(1)])
  const end = Buffer.concat([
    u32(0x06054b50),
    u16(0),
    u16(0),
    u16(zip64 ? 0xffff : count),
    u16(zip64 ? 0xffff : count),
    u32(zip64 ? wide : size),
    u32(zip64 ? wide : offset),
    u16(comment.length),
    Buffer.from(comment),
  ])
  return Buffer.concat([...local, directory, ...(zip64 ? [end64, locator] : []), end])
}

/** What `torch.save` writes: the pickle and its storages. */
export function torchEntries(program: Buffer, storages: Readonly<Record<string, Buffer>>, root = 'archive'): ZipPart[] {
  return [
    { name: `${root}/data.pkl`, data: program },
    { name: `${root}/byteorder`, data: Buffer.from('little') },
    ...Object.entries(storages).map(([key, data]) => ({ name: `${root}/data/${key}`, data })),
    { name: `${root}/version`, data: Buffer.from('3\n') },
  ]
}

export function torchFile(
  program: Buffer,
  storages: Readonly<Record<string, Buffer>> = { 0: Buffer.alloc(24) },
): Buffer {
  return zipFile({ entries: torchEntries(program, storages) })
}

/** A state dict of zeros in F32. */
export function zerosFile(shapes: Iterable<readonly [name: string, shape: readonly number[]]>): Buffer {
  const storages: Record<string, Buffer> = {}
  const tensors: Record<string, Buffer> = {}
  for (const [name, shape] of shapes) {
    const key = String(Object.keys(storages).length)
    storages[key] = Buffer.alloc(4 * shape.reduce((product, n) => product * n, 1))
    tensors[name] = tensor({ key, shape })
  }
  return torchFile(pickle(dict(tensors)), storages)
}
