// Objects of one instruction set hold no weak functions: of an inline function compiled twice the linker keeps either copy,
// and the copy with vector instructions would end the process on a CPU that lacks them. Reads the ELF files themselves, without binutils.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const kernels = path.join(root, 'native/cpu/kernels')

/** Where node-gyp, cmake-js and, for other compilers, plain CMake leave the objects of the core. */
const folderOfCMake = 'CMakeFiles/llava_core.dir/native/cpu/kernels'
const other = process.env['LLAVA_NATIVE_PREBUILD']
const objectFolders =
  other !== undefined
    ? [path.join(other, folderOfCMake)]
    : ['build/Release/obj.target/llava_core/native/cpu/kernels', `build/cmake/${folderOfCMake}`].map((folder) => path.join(root, folder))

/** Clang's own, in every object that calls it: no code of ours, and compiled for the baseline. */
const fromCompiler = ['__clang_call_terminate']

/** Sources with code beyond the baseline of this architecture: they open a target region; those of another compile to nothing here. */
const isaSources = readdirSync(kernels).filter((file) => {
  if (!file.endsWith('.cc') || file.startsWith('neon') !== (process.arch === 'arm64')) return false
  return readFileSync(path.join(kernels, file), 'utf8').includes('LLAVA_TARGET_BEGIN')
})

const symbolTable = 2
const weak = 2
const func = 2

interface Symbol {
  readonly name: string
  readonly binding: number
  readonly type: number
  readonly defined: boolean
}

function symbolsOf(elf: Buffer): Symbol[] {
  const start = Number(elf.readBigUInt64LE(0x28))
  const entrySize = elf.readUInt16LE(0x3a)
  const sections = Array.from({ length: elf.readUInt16LE(0x3c) || Number(elf.readBigUInt64LE(start + 0x20)) }, (_, i) => {
    const at = start + i * entrySize
    return { type: elf.readUInt32LE(at + 4), offset: Number(elf.readBigUInt64LE(at + 0x18)), size: Number(elf.readBigUInt64LE(at + 0x20)), link: elf.readUInt32LE(at + 0x28) }
  })
  const table = sections.find(({ type }) => type === symbolTable)!
  const names = sections[table.link]!
  return Array.from({ length: table.size / 24 }, (_, i) => {
    const at = table.offset + 24 * i
    const name = names.offset + elf.readUInt32LE(at)
    const info = elf.readUInt8(at + 4)
    return { name: elf.toString('latin1', name, elf.indexOf(0, name)), binding: info >> 4, type: info & 15, defined: elf.readUInt16LE(at + 6) !== 0 }
  })
}

function objectOf(source: string): string | undefined {
  return objectFolders.flatMap((folder) => [source, source.replace(/\.cc$/, '')].map((name) => path.join(folder, `${name}.o`))).find((file) => existsSync(file))
}

const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('there are objects of an instruction set beyond the baseline on x86-64', (t) => {
  t.true(isaSources.length > 0)
})

for (const source of isaSources) {
  onLinux(`the object of ${source} holds no weak function`, (t) => {
    const object = objectOf(source)
    t.truthy(object, 'built by this checkout: npm run build:native')
    const symbols = symbolsOf(readFileSync(object!)).filter(({ name }) => !fromCompiler.includes(name))
    t.true(symbols.some(({ name, defined }) => defined && name.includes(`fill_${source.replace('.cc', '')}`)), 'the symbol table is read')
    t.deepEqual(symbols.filter(({ binding, type, defined }) => defined && binding === weak && type === func).map(({ name }) => name), [])
  })
}
