// An addon as a Linux loader sees it. Reads the ELF file itself, without binutils.

interface Section {
  readonly type: number
  readonly offset: number
  readonly size: number
  readonly link: number
}

export interface LoadedElf {
  /** Names that the file shows, sorted. */
  readonly defined: readonly string[]
  /** Libraries that it asks for. */
  readonly needed: readonly string[]
  /** `GLIBC_2.27` and the like that it asks for. */
  readonly versions: readonly string[]
  readonly textRelocations: boolean
  /** Whether all that the loader writes is read-only afterwards: RELRO with every symbol bound at once. */
  readonly fullRelro: boolean
  readonly executableStack: boolean
  /** Whether it still has a symbol table for debuggers. */
  readonly symbolTable: boolean
}

const sectionType = { symbols: 2, dynamic: 6, dynamicSymbols: 11 }
const segmentType = { stack: 0x6474e551, relro: 0x6474e552 }
const tag = { needed: 1, textRelocations: 22, flags: 30, flags1: 0x6ffffffb }

export function readElf(elf: Buffer): LoadedElf {
  const sections = sectionsOf(elf)
  const symbols = sections.find(({ type }) => type === sectionType.dynamicSymbols)!
  const { offset, size } = sections[symbols.link]!
  const strings = elf.toString('latin1', offset, offset + size)
  const nameAt = (at: number) => strings.slice(at, strings.indexOf('\0', at))
  const defined: string[] = [] // but for sections, which have no name
  for (let at = symbols.offset + 24; at < symbols.offset + symbols.size; at += 24)
    if (elf.readUInt16LE(at + 6) !== 0 && elf.readUInt32LE(at) !== 0) defined.push(nameAt(elf.readUInt32LE(at)))
  const dynamic = dynamicEntries(elf, sections.find(({ type }) => type === sectionType.dynamic)!)
  const values = (wanted: number) => dynamic.filter(([key]) => key === wanted).map(([, value]) => value)
  const [flags = 0] = values(tag.flags)
  const [flags1 = 0] = values(tag.flags1)
  const segments = segmentsOf(elf)
  return {
    defined: defined.sort(),
    needed: values(tag.needed).map(nameAt),
    versions: [...new Set(strings.match(/\b(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+\b/g) ?? [])],
    textRelocations: values(tag.textRelocations).length > 0 || (flags & 4) !== 0,
    fullRelro: segments.has(segmentType.relro) && ((flags & 8) !== 0 || (flags1 & 1) !== 0),
    executableStack: ((segments.get(segmentType.stack) ?? 1) & 1) !== 0,
    symbolTable: sections.some(({ type }) => type === sectionType.symbols),
  }
}

function sectionsOf(elf: Buffer): Section[] {
  const start = Number(elf.readBigUInt64LE(0x28))
  const entrySize = elf.readUInt16LE(0x3a)
  return Array.from({ length: elf.readUInt16LE(0x3c) }, (_, i) => {
    const at = start + i * entrySize
    const word = (field: number) => Number(elf.readBigUInt64LE(at + field))
    return { type: elf.readUInt32LE(at + 4), offset: word(0x18), size: word(0x20), link: elf.readUInt32LE(at + 0x28) }
  })
}

function dynamicEntries(elf: Buffer, { offset, size }: Section): [number, number][] {
  return Array.from({ length: size / 16 }, (_, i) => {
    const at = offset + 16 * i
    return [Number(elf.readBigUInt64LE(at)), Number(elf.readBigUInt64LE(at + 8))]
  })
}

/** Types and flags. */
function segmentsOf(elf: Buffer): Map<number, number> {
  const start = Number(elf.readBigUInt64LE(0x20))
  const entries = Array.from({ length: elf.readUInt16LE(0x38) }, (_, i) => start + 56 * i)
  return new Map(entries.map((at) => [elf.readUInt32LE(at), elf.readUInt32LE(at + 4)]))
}

/** Those of `versions` that are newer than `newest`, which has a version for each name: `{ GLIBC: '2.28' }`. */
export function newerThan(versions: readonly string[], newest: Readonly<Record<string, string>>): string[] {
  const numbers = (version: string) => version.split('.').map(Number)
  return versions.filter((one) => {
    const [name, version] = one.split('_') as [string, string]
    const [left, right] = [numbers(version), numbers(newest[name] ?? '0')]
    const differs = left.findIndex((part, i) => part !== (right[i] ?? 0))
    return differs >= 0 && left[differs]! > (right[differs] ?? 0)
  })
}

/** Node-API's entry points: all that an addon may show. */
export const entryPoints = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']

/** What Node.js 20 itself asks for is GLIBC 2.28; the C++ library is that of GCC 8. */
export const floor = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11' }
