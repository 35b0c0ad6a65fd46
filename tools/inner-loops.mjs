// node tools/inner-loops.mjs [type…]: what the int8 tile of each kernel table costs, read from its machine code; for instruction sets that no CPU here has.
//   Compiles each table's file with the package's own flags, disassembles it, and takes of each gemm_T the innermost loop with the most multiplies.
//   A multiply does a known number of products, so the loop's length over its blocks of 32 products is instructions per block of one output.
//   Identical tiles of two types stay apart (-fno-ipa-icf), so that each is found.
//   stack: instructions that touch the stack (spills); moves: copies between vector registers.
// Needs objdump, and for the NEON tables g++-aarch64-linux-gnu; a table whose compiler is missing is named at the end, and the exit code is 1.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { llava_compile_flags: flags } = JSON.parse(readFileSync(path.join(root, 'native/sources.gypi'), 'utf8')).variables

const x86 = { compiler: 'g++', objdump: 'objdump', stack: /\((?:%rsp|%rbp)/, move: /^vmov\w+ +%[xyz]mm\d+,%[xyz]mm\d+$/ }
const arm = { compiler: 'aarch64-linux-gnu-g++', objdump: 'aarch64-linux-gnu-objdump', stack: /\[(?:sp|x29)\b/, move: /^mov\s+v\d+\.16b, v\d+\.16b$/ }

/** The multiplies of a table, and the products each of them does. */
const tables = [
  { isa: 'avx2', file: 'avx2.cc', machine: x86, multiply: /^vpmaddubsw .*%ymm/, products: 32 },
  { isa: 'avx2-vnni', file: 'avx2_vnni.cc', machine: x86, multiply: /^(?:\{vex\} )?vpdpbusd .*%ymm/, products: 32 },
  { isa: 'avx512-bw', file: 'avx512_bw.cc', machine: x86, multiply: /^vpmaddubsw .*%zmm/, products: 64 },
  { isa: 'avx512', file: 'avx512.cc', machine: x86, multiply: /^vpdpbusd .*%zmm/, products: 64 },
  { isa: 'neon', file: 'neon.cc', machine: arm, multiply: /^(?:smull|smlal)2?\s/, products: 8 },
  { isa: 'neon-dotprod', file: 'neon_dotprod.cc', machine: arm, multiply: /^sdot\s/, products: 16 },
  { isa: 'neon-i8mm', file: 'neon_i8mm.cc', machine: arm, multiply: /^smmla\s/, products: 32 },
]

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (result.error !== undefined || result.status !== 0) throw new Error(`${command}: ${result.error?.message ?? result.stderr}`)
  return result.stdout
}

/** [{ name, code: [{ at, text }] }] of an object file. */
function functionsOf(disassembly) {
  return disassembly
    .split(/\n(?=[0-9a-f]+ <)/)
    .map((part) => ({
      name: /^[0-9a-f]+ <([^>]+)>/.exec(part)?.[1] ?? '',
      code: [...part.matchAll(/^ *([0-9a-f]+):\t(.*?) *(?:<[^\n]*)?(?:\/\/[^\n]*)?$/gm)].map(([, at, text]) => ({ at: Number.parseInt(at, 16), text: text.trim() })),
    }))
}

/** Code between a backward jump and its target, where no other such loop lies inside. */
function innermostLoops(code) {
  const ends = code.flatMap(({ at, text }) => {
    const target = Number.parseInt(/^(?:j\w+|b\.\w+|cbn?z \w+,|cbn?z\s+\w+,)\s+([0-9a-f]+)$/.exec(text)?.[1] ?? '', 16)
    return target <= at ? [{ from: target, to: at }] : []
  })
  return ends
    .filter((loop) => !ends.some((other) => other !== loop && other.from >= loop.from && other.to <= loop.to))
    .map(({ from, to }) => code.filter(({ at }) => at >= from && at <= to).map(({ text }) => text))
}

/** The cost of one table's tile for one block type. */
function costOf(table, functions, type) {
  const ours = functions.filter(({ name }) => new RegExp(`(?:gemm_|Codes)${type}(?!\\d|_)`).test(name) && !/gemv|pack/.test(name))
  const multiplies = (loop) => loop.filter((text) => table.multiply.test(text)).length
  const [loop] = ours.flatMap(({ code }) => innermostLoops(code)).sort((a, b) => multiplies(b) - multiplies(a))
  if (loop === undefined || multiplies(loop) === 0) throw new Error(`${table.file}: no loop of ${type} multiplies`)
  const blocks = (multiplies(loop) * table.products) / 32
  return {
    table: table.isa, type, instructions: loop.length, multiplies: multiplies(loop),
    stack: loop.filter((text) => table.machine.stack.test(text)).length, moves: loop.filter((text) => table.machine.move.test(text)).length,
    'per block': Number((loop.length / blocks).toFixed(3)), 'multiplies per block': Number((32 / table.products).toFixed(3)),
  }
}

const types = process.argv.length > 2 ? process.argv.slice(2) : ['Q4_0', 'Q4_K', 'Q6_K', 'Q8_0']
const folder = mkdtempSync(path.join(tmpdir(), 'llava-inner-loops-'))
const missing = []
try {
  const costs = tables.flatMap((table) => {
    const object = path.join(folder, `${table.isa}.o`)
    try {
      run(table.machine.compiler, [...flags, '-fno-ipa-icf', '-Inative', '-c', `native/cpu/kernels/${table.file}`, '-o', object])
    } catch (error) {
      missing.push(`${table.isa} is missing: ${error.message}`)
      return []
    }
    const functions = functionsOf(run(table.machine.objdump, ['-d', '--no-show-raw-insn', object]))
    return types.map((type) => costOf(table, functions, type))
  })
  console.table(costs)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
for (const line of missing) console.error(line)
process.exitCode = missing.length > 0 ? 1 : 0
