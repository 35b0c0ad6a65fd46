// The built addon as a Linux loader sees it: what it shows, and how old a C library it accepts. Reads the ELF file itself, without binutils.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const onLinux = process.platform === 'linux' ? test : test.skip
const binary = fileURLToPath(new URL('../../build/Release/llava_native.node', import.meta.url))

/** Node.js 20 itself asks for no newer glibc than this. */
const newestGlibc = [2, 28] as const

interface Section {
  readonly type: number
  readonly offset: number
  readonly size: number
  readonly link: number
}

const dynamicSymbols = 11

function sectionsOf(elf: Buffer): Section[] {
  const start = Number(elf.readBigUInt64LE(0x28))
  const entrySize = elf.readUInt16LE(0x3a)
  return Array.from({ length: elf.readUInt16LE(0x3c) }, (_, i) => {
    const at = start + i * entrySize
    const word = (field: number) => Number(elf.readBigUInt64LE(at + field))
    return { type: elf.readUInt32LE(at + 4), offset: word(0x18), size: word(0x20), link: elf.readUInt32LE(at + 0x28) }
  })
}

/** The dynamic string table, and the names of the symbols that the file defines. */
function dynamicNames(elf: Buffer): { readonly strings: string; readonly defined: string[] } {
  const sections = sectionsOf(elf)
  const symbols = sections.find(({ type }) => type === dynamicSymbols)!
  const { offset, size } = sections[symbols.link]!
  const strings = elf.toString('latin1', offset, offset + size)
  const defined: string[] = []
  for (let at = symbols.offset + 24; at < symbols.offset + symbols.size; at += 24) {
    const name = elf.readUInt32LE(at)
    if (elf.readUInt16LE(at + 6) !== 0) defined.push(strings.slice(name, strings.indexOf('\0', name)))
  }
  return { strings, defined: defined.sort() }
}

onLinux('the addon shows the two Node-API entry points and nothing else', (t) => {
  t.deepEqual(dynamicNames(readFileSync(binary)).defined, [
    'napi_register_module_v1',
    'node_api_module_get_api_version_v1',
  ])
})

onLinux('the addon asks for no newer glibc than Node.js itself', (t) => {
  const needed = [...dynamicNames(readFileSync(binary)).strings.matchAll(/\bGLIBC_(\d+)\.(\d+)/g)].map(
    ([, major, minor]) => [Number(major), Number(minor)] as const,
  )
  t.deepEqual(
    needed.filter(([major, minor]) => major > newestGlibc[0] || (major === newestGlibc[0] && minor > newestGlibc[1])),
    [],
  )
})
