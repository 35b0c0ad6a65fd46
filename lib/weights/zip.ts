// The directory of a zip archive whose entries are stored uncompressed: name -> where its bytes lie in the file.
//   local header, name, extra, data   (once per entry)
//   central directory: one record per entry      <- found through the end record, which is found from the back
//   [zip64 end record, zip64 locator]  end record
// Archives beyond 4 GiB or 65,534 entries keep their numbers in zip64 records. Every number is held against the file's size before it is used.

import type { FileHandle } from 'node:fs/promises'
import { corrupt, unsupported } from './model-error.js'
import { readExactly } from './file-head.js'

export interface ZipEntry {
  readonly name: string
  readonly nbytes: number
  /** Of the local header; the data lies behind it. */
  readonly headerOffset: number
}

export interface ZipDirectory {
  readonly entries: ReadonlyMap<string, ZipEntry>
  /** Where the entries end and the directory begins. */
  readonly end: number
}

const localHeader = 0x04034b50
const centralRecord = 0x02014b50
const endRecord = 0x06054b50
const end64Record = 0x06064b50
const end64Locator = 0x07064b50
// The end record, and the longest comment that may follow it.
const endSize = 22
const maxTail = endSize + 0xffff
const zip64Extra = 1
// A 13B checkpoint's shards have about 200 entries of 100 bytes.
const maxDirectory = 64 << 20

/** Whether these first bytes are a zip archive's. */
export function looksLikeZip(head: Buffer): boolean {
  return head.length >= 4 && head.readUInt32LE(0) === localHeader
}

export async function readZipDirectory(file: FileHandle, path: string, size: number): Promise<ZipDirectory> {
  const { count, nbytes, offset } = await readEnd(file, path, size)
  // A central record has at least 46 bytes.
  if (nbytes > maxDirectory || offset + nbytes > size || count * 46 > nbytes)
    throw corrupt(
      path,
      `its zip directory claims ${count} entries in ${nbytes} bytes at ${offset}, but the file has ${size}; it may be truncated`,
    )
  const directory = await readExactly(file, path, offset, nbytes)
  const entries = new Map<string, ZipEntry>()
  for (let at = 0, i = 0; i < count; i++) {
    const { entry, next } = readRecord(path, directory, at, offset)
    if (entries.has(entry.name)) throw corrupt(path, `zip entry "${entry.name}" stands there twice`)
    entries.set(entry.name, entry)
    at = next
  }
  return { entries, end: offset }
}

/** Where an entry's bytes begin. The local header has the last word on how long it is itself, and must be the entry's own. */
export async function dataOffset(file: FileHandle, path: string, entry: ZipEntry, end: number): Promise<number> {
  if (entry.headerOffset + 30 > end) throw corrupt(path, `zip entry "${entry.name}" begins beyond the archive's data`)
  const header = await readExactly(file, path, entry.headerOffset, 30)
  const nameLength = header.readUInt16LE(26)
  const start = entry.headerOffset + 30 + nameLength + header.readUInt16LE(28)
  const name = Buffer.from(entry.name)
  if (header.readUInt32LE(0) !== localHeader || nameLength !== name.length || start + entry.nbytes > end)
    throw corrupt(
      path,
      `zip entry "${entry.name}" is not where the directory says; the file may be truncated, fetch it again`,
    )
  if (name.equals(await readExactly(file, path, entry.headerOffset + 30, nameLength))) return start
  throw corrupt(path, `zip entry "${entry.name}" has another name in its own header`)
}

interface End {
  readonly count: number
  readonly nbytes: number
  readonly offset: number
}

async function readEnd(file: FileHandle, path: string, size: number): Promise<End> {
  const tailSize = Math.min(size, maxTail)
  const tail = await readExactly(file, path, size - tailSize, tailSize)
  for (let at = tailSize - endSize; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== endRecord || at + endSize + tail.readUInt16LE(at + 20) !== tailSize) continue
    const [disk, count, nbytes, offset] = [
      tail.readUInt16LE(at + 4),
      tail.readUInt16LE(at + 10),
      tail.readUInt32LE(at + 12),
      tail.readUInt32LE(at + 16),
    ]
    const end = size - tailSize + at
    if (at >= 20 && tail.readUInt32LE(at - 20) === end64Locator)
      return readEnd64(file, path, tail.subarray(at - 20, at), end - 20)
    if (disk !== 0 || offset + nbytes > end) throw corrupt(path, 'its zip directory does not lie in this file')
    return { count, nbytes, offset }
  }
  throw corrupt(path, 'a zip archive without an end; the file may be truncated, fetch it again')
}

async function readEnd64(file: FileHandle, path: string, locator: Buffer, limit: number): Promise<End> {
  const at = safe(path, locator, 8)
  if (at + 56 > limit) throw corrupt(path, 'its zip64 end record does not lie in this file')
  const record = await readExactly(file, path, at, 56)
  if (record.readUInt32LE(0) !== end64Record) throw corrupt(path, 'its zip64 end record is not where the locator says')
  const [count, nbytes, offset] = [safe(path, record, 32), safe(path, record, 40), safe(path, record, 48)]
  if (record.readUInt32LE(16) !== 0 || offset + nbytes > at)
    throw corrupt(path, 'its zip directory does not lie in this file')
  return { count, nbytes, offset }
}

function readRecord(
  path: string,
  directory: Buffer,
  at: number,
  end: number,
): { readonly entry: ZipEntry; readonly next: number } {
  if (at + 46 > directory.length || directory.readUInt32LE(at) !== centralRecord)
    throw corrupt(path, 'its zip directory ends in the middle of a record')
  const [flags, method] = [directory.readUInt16LE(at + 8), directory.readUInt16LE(at + 10)]
  const nameEnd = at + 46 + directory.readUInt16LE(at + 28)
  const extraEnd = nameEnd + directory.readUInt16LE(at + 30)
  const next = extraEnd + directory.readUInt16LE(at + 32)
  if (next > directory.length) throw corrupt(path, 'its zip directory ends in the middle of a record')
  const name = directory.toString('utf8', at + 46, nameEnd)
  const wide = zip64Numbers(path, directory.subarray(nameEnd, extraEnd))
  const number = (value: number): number => (value === 0xffffffff ? wide() : value)
  // In the order in which the zip64 extra lists those that did not fit.
  const [size, packed] = [number(directory.readUInt32LE(at + 24)), number(directory.readUInt32LE(at + 20))]
  const headerOffset = number(directory.readUInt32LE(at + 42))
  if ((flags & 1) !== 0)
    throw unsupported(path, `zip entry "${name}" is encrypted`, 'archives as `torch.save` writes them')
  if (method !== 0 || size !== packed)
    throw unsupported(
      path,
      `zip entry "${name}" is compressed`,
      'archives as `torch.save` writes them: stored, not compressed',
    )
  if (headerOffset + size > end)
    throw corrupt(
      path,
      `zip entry "${name}" of ${size} bytes does not fit into the file; it may be truncated, fetch it again`,
    )
  return { entry: { name, nbytes: size, headerOffset }, next }
}

/** The 64-bit numbers of a record, in order. */
function zip64Numbers(path: string, extra: Buffer): () => number {
  let field: Buffer = Buffer.alloc(0)
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) === zip64Extra) field = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2))
  }
  let used = 0
  return () => {
    if (used + 8 > field.length) throw corrupt(path, 'a zip entry lacks its 64-bit size')
    used += 8
    return safe(path, field, used - 8)
  }
}

function safe(path: string, bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at))
  if (Number.isSafeInteger(value)) return value
  throw corrupt(path, `a number in its zip directory is beyond 2^53`)
}
