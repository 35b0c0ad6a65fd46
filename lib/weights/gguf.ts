// GGUF header: magic, version, counts, key-values, tensor infos; then the data, aligned, which is not read here.
// Every number is untrusted: a count is held against the bytes that are left before anything is made of it.
// The parse is a function of the file's first bytes, a generator that yields where it may pause. Where they do not reach, it says how many it needs and is run again on
// at least twice as many, so a header costs at most two parses' time and no more memory than the header itself.

import { corrupt, unsupported } from './model-error.js'
import { elementCount, type StoredTensor } from './stored-tensor.js'
import { dtypes, ggmlTypes } from './ggml-types.js'
import { finishInSlices } from '../slices.js'
import { readExactly, withFile } from './file-head.js'
import type { GgufValue } from './gguf-value.js'

export interface GgufHeader {
  readonly path: string
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: readonly StoredTensor[]
}

// A 32,000-piece vocabulary takes about 700 KB of header, so most files need one read.
const firstWindow = 1 << 20
// Far above any vocabulary in use (256,000 pieces with merges: about 20 MB).
const maxHeader = 256 << 20

/** Reads and checks the header of the file at `path`. */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  return withFile(path, async (file, size) => {
    for (let window = Math.min(firstWindow, size); ;) {
      const bytes = await readExactly(file, path, 0, window)
      try {
        return await finishInSlices(parseGgufHeader(path, bytes, size))
      } catch (error) {
        if (!(error instanceof WindowTooSmall)) throw error
        if (error.needed > maxHeader) throw corrupt(path, `its header claims more than ${maxHeader} bytes`)
        window = Math.min(Math.max(error.needed, 2 * window), size, maxHeader)
      }
    }
  })
}

/** The bytes at hand end before the header does. */
class WindowTooSmall extends Error {
  readonly needed: number

  constructor(needed: number) {
    super(`${needed} bytes of header needed`)
    this.needed = needed
  }
}

function* parseGgufHeader(path: string, bytes: Buffer, fileSize: number): Generator<undefined, GgufHeader> {
  const cursor = new Cursor(path, bytes, fileSize)
  checkMagicAndVersion(path, cursor)
  // A tensor info has at least 8 (name length) + 4 (n_dims) + 8 (one dim) + 4 (type) + 8 (offset) bytes; a key-value 8 + 4 + 1.
  const tensorCount = cursor.count('tensors', 32)
  const keyCount = cursor.count('key-values', 13)
  const metadata = yield* readMetadata(path, cursor, keyCount)
  const infos = readTensorInfos(path, cursor, tensorCount)
  const alignment = readAlignment(path, metadata)
  const dataStart = Math.ceil(cursor.at / alignment) * alignment
  return { path, metadata, tensors: placeTensors(path, infos, dataStart, alignment, fileSize) }
}

function checkMagicAndVersion(path: string, cursor: Cursor): void {
  if (cursor.bytes.subarray(0, 4).toString('latin1') !== 'GGUF')
    throw corrupt(path, 'not a GGUF file (its first bytes are not "GGUF")')
  cursor.take(4)
  const version = cursor.u32()
  if ((version & 0xffff) === 0)
    throw unsupported(path, 'a big-endian GGUF file', 'little-endian GGUF, versions 2 and 3')
  if (version !== 2 && version !== 3) throw unsupported(path, `GGUF version ${version}`, 'GGUF versions 2 and 3')
}

function* readMetadata(path: string, cursor: Cursor, count: number): Generator<undefined, Map<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < count; i++) {
    const key = cursor.string(maxKey)
    if (metadata.has(key)) throw corrupt(path, `key "${key}" stands there twice`)
    metadata.set(key, yield* cursor.value(key))
  }
  return metadata
}

const maxKey = 65535
const maxTensorName = 64

interface TensorInfo {
  readonly name: string
  /** Fastest dimension first, as in the file. */
  readonly ne: readonly number[]
  readonly type: number
  /** From the start of the data. */
  readonly offset: number
}

function readTensorInfos(path: string, cursor: Cursor, count: number): readonly TensorInfo[] {
  const infos: TensorInfo[] = []
  const names = new Set<string>()
  for (let i = 0; i < count; i++) {
    const name = cursor.string(maxTensorName)
    if (names.has(name)) throw corrupt(path, `tensor "${name}" stands there twice`)
    names.add(name)
    const rank = cursor.u32()
    if (rank < 1 || rank > 4) throw corrupt(path, `tensor "${name}" has ${rank} dimensions (1 to 4 are possible)`)
    const ne = Array.from({ length: rank }, () => cursor.u64())
    infos.push({ name, ne, type: cursor.u32(), offset: cursor.u64() })
  }
  return infos
}

function readAlignment(path: string, metadata: ReadonlyMap<string, GgufValue>): number {
  const alignment = metadata.get('general.alignment') ?? 32
  if (typeof alignment === 'number' && alignment > 0 && Number.isInteger(Math.log2(alignment))) return alignment
  throw corrupt(path, '`general.alignment` is not a power of two')
}

/** Absolute offsets and byte counts; every tensor lies inside the file, aligned, and none overlaps another. */
function placeTensors(
  path: string,
  infos: readonly TensorInfo[],
  dataStart: number,
  alignment: number,
  fileSize: number,
): readonly StoredTensor[] {
  const tensors = infos.map((info) => placeTensor(path, info, dataStart, alignment, fileSize))
  const byOffset = tensors.toSorted((a, b) => a.offset - b.offset)
  byOffset.forEach((tensor, i) => {
    const next = byOffset[i + 1]
    if (next !== undefined && tensor.offset + tensor.nbytes > next.offset)
      throw corrupt(path, `tensors "${tensor.name}" and "${next.name}" overlap`)
  })
  return tensors
}

function placeTensor(
  path: string,
  info: TensorInfo,
  dataStart: number,
  alignment: number,
  fileSize: number,
): StoredTensor {
  const { name, ne, offset } = info
  const type = ggmlTypes.get(info.type)
  if (type === undefined)
    throw unsupported(path, `tensor "${name}" has the unknown type ${info.type}`, dtypes.join(', '))
  const elements = elementCount(ne)
  const row = ne[0] ?? 0
  if (elements === undefined || elements === 0)
    throw corrupt(path, `tensor "${name}" has impossible dimensions ${ne.join(' x ')}`)
  if (row % type.block !== 0)
    throw corrupt(path, `tensor "${name}": rows of ${row} do not divide into ${type.name} blocks of ${type.block}`)
  if (offset % alignment !== 0)
    throw corrupt(path, `tensor "${name}": offset ${offset} is not a multiple of the alignment ${alignment}`)
  const nbytes = (elements / type.block) * type.nbytes
  const end = dataStart + offset + nbytes
  if (!(end <= fileSize)) {
    throw corrupt(
      path,
      `tensor "${name}" ends at byte ${end}, but the file has ${fileSize}; it may be truncated, fetch it again`,
    )
  }
  return { name, dtype: type.name, shape: ne.toReversed(), path, offset: dataStart + offset, nbytes }
}

/** Steps through the header; refuses to step past the file, and asks for a larger window at the end of this one. */
class Cursor {
  at = 0
  readonly bytes: Buffer
  readonly #path: string
  readonly #fileSize: number
  readonly #view: DataView

  constructor(path: string, bytes: Buffer, fileSize: number) {
    this.#path = path
    this.bytes = bytes
    this.#fileSize = fileSize
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Where the next `nbytes` begin; the cursor moves behind them. */
  take(nbytes: number): number {
    const start = this.at
    const end = start + nbytes
    if (!(end <= this.#fileSize)) throw this.#truncated(nbytes)
    if (end > this.bytes.length) throw new WindowTooSmall(end)
    this.at = end
    return start
  }

  u32(): number {
    return this.#view.getUint32(this.take(4), true)
  }

  /** A length, a dimension, an offset: above 2^53 it cannot be true. */
  u64(): number {
    const at = this.take(8)
    const value = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32
    if (value > Number.MAX_SAFE_INTEGER) throw corrupt(this.#path, `a length at byte ${at} is beyond 2^53`)
    return value
  }

  /** A count of things that take at least `minimumSize` bytes each. */
  count(what: string, minimumSize: number): number {
    const count = this.u64()
    if (count * minimumSize > this.#fileSize - this.at)
      throw corrupt(this.#path, `${count} ${what} cannot fit into the file; it may be truncated, fetch it again`)
    return count
  }

  string(maximum = Infinity): string {
    const nbytes = this.u64()
    if (nbytes > maximum) throw corrupt(this.#path, `a name of ${nbytes} bytes (at most ${maximum} are possible)`)
    const start = this.take(nbytes)
    return this.bytes.toString('utf8', start, this.at)
  }

  *value(key: string): Generator<undefined, GgufValue> {
    const type = this.u32()
    if (type === stringType) return this.string()
    if (type === arrayType) return yield* this.#array(key)
    if (type === boolType) return this.#bool(key)
    const read = scalarReaders.get(type)
    if (read === undefined) throw corrupt(this.#path, `key "${key}" has the unknown value type ${type}`)
    return read.one(this.#view, this.take(read.nbytes))
  }

  *#array(key: string): Generator<undefined, GgufValue> {
    const type = this.u32()
    if (type === arrayType)
      throw unsupported(this.#path, `key "${key}" holds arrays in an array`, 'arrays of scalars and strings')
    if (type === stringType) {
      const count = this.count(`strings of "${key}"`, 8)
      const strings: string[] = []
      for (let i = 0; i < count; i++) {
        strings.push(this.string())
        if (i % stringsPerStep === 0) yield
      }
      return strings
    }
    if (type === boolType) return Array.from({ length: this.#reserve(key, 1) }, () => this.#bool(key))
    const read = scalarReaders.get(type)
    if (read === undefined) throw corrupt(this.#path, `key "${key}" has the unknown element type ${type}`)
    const count = this.#reserve(key, read.nbytes)
    const start = this.bytes.byteOffset + this.take(count * read.nbytes)
    return new read.Many(this.bytes.buffer.slice(start, start + count * read.nbytes) as ArrayBuffer)
  }

  /** The element count of an array whose elements are all in the window, so that room is only made for what is there. */
  #reserve(key: string, elementSize: number): number {
    const count = this.count(`values of "${key}"`, elementSize)
    this.at = this.take(count * elementSize)
    return count
  }

  #bool(key: string): boolean {
    const byte = this.bytes[this.take(1)]
    if (byte !== 0 && byte !== 1)
      throw corrupt(this.#path, `key "${key}" should be true or false, but its byte is ${byte}`)
    return byte === 1
  }

  #truncated(nbytes: number): Error {
    return corrupt(
      this.#path,
      `its header ends after ${this.#fileSize} bytes, in the middle of a value of ${nbytes}; the file may be truncated, fetch it again`,
    )
  }
}

/** Strings of an array between two pauses: well under a millisecond of work. */
const stringsPerStep = 1024

const boolType = 7
const stringType = 8
const arrayType = 9

interface ScalarReader {
  readonly nbytes: number
  readonly one: (view: DataView, at: number) => number | bigint
  readonly Many: new (bytes: ArrayBuffer) => GgufValue
}

const scalarReaders: ReadonlyMap<number, ScalarReader> = new Map<number, ScalarReader>([
  [0, { nbytes: 1, one: (view, at) => view.getUint8(at), Many: Uint8Array }],
  [1, { nbytes: 1, one: (view, at) => view.getInt8(at), Many: Int8Array }],
  [2, { nbytes: 2, one: (view, at) => view.getUint16(at, true), Many: Uint16Array }],
  [3, { nbytes: 2, one: (view, at) => view.getInt16(at, true), Many: Int16Array }],
  [4, { nbytes: 4, one: (view, at) => view.getUint32(at, true), Many: Uint32Array }],
  [5, { nbytes: 4, one: (view, at) => view.getInt32(at, true), Many: Int32Array }],
  [6, { nbytes: 4, one: (view, at) => view.getFloat32(at, true), Many: Float32Array }],
  [10, { nbytes: 8, one: (view, at) => safe(view.getBigUint64(at, true)), Many: BigUint64Array }],
  [11, { nbytes: 8, one: (view, at) => safe(view.getBigInt64(at, true)), Many: BigInt64Array }],
  [12, { nbytes: 8, one: (view, at) => view.getFloat64(at, true), Many: Float64Array }],
])

/** A number where that is exact. */
function safe(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
