// node tools/inner-loops.mjs [kernel…]: what the inner loops of each kernel table cost, read from its machine code; for instruction sets that no CPU here has.
//   A kernel is gemm_T or gemv_T of a quantised type T, or gemm_f32.
//   Compiles each table's file with the package's own flags, disassembles it, and takes of each kernel the innermost loop with the most multiplies.
//   A multiply does a known number of products, so the loop's length over its blocks of 32 products is instructions per block of one output.
//   Identical tiles of two types stay apart (-fno-ipa-icf), so that each is found.
//   stack: instructions that touch the stack (spills); moves: copies between vector registers.
// A kernel that a table leaves to the weaker one has no line. Needs objdump, and for the NEON tables g++-aarch64-linux-gnu; a table whose compiler is missing
// is named at the end, and the exit code is 1.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { llava_compile_flags: flags } = JSON.parse(
  readFileSync(path.join(root, 'native/sources.gypi'), 'utf8'),
).variables

const x86 = {
  compiler: 'g++',
  objdump: 'objdump',
  stack: /\((?:%rsp|%rbp)/,
  move: /^vmov\w+ +%[xyz]mm\d+,%[xyz]mm\d+$/,
}
const arm = {
  compiler: 'aarch64-linux-gnu-g++',
  objdump: 'aarch64-linux-gnu-objdump',
  stack: /\[(?:sp|x29)\b/,
  move: /^mov\s+v\d+\.16b, v\d+\.16b$/,
}

/** Multiplies of a table, in int8 and in f32, and the products each of them does. */
const tables = [
  { isa: 'avx2', file: 'avx2.cc', machine: x86, int8: [/^vpmaddubsw .*%ymm/, 32], f32: [/^vfmadd\d+ps .*%ymm/, 8] },
  { isa: 'avx2-vnni', file: 'avx2_vnni.cc', machine: x86, int8: [/^(?:\{vex\} )?vpdpbusd .*%ymm/, 32] },
  {
    isa: 'avx512-bw',
    file: 'avx512_bw.cc',
    machine: x86,
    int8: [/^vpmaddubsw .*%zmm/, 64],
    f32: [/^vfmadd\d+ps .*%zmm/, 16],
  },
  { isa: 'avx512', file: 'avx512.cc', machine: x86, int8: [/^vpdpbusd .*%zmm/, 64] },
  { isa: 'neon', file: 'neon.cc', machine: arm, int8: [/^(?:smull|smlal)2?\s/, 8], f32: [/^fmla\s/, 4] },
  { isa: 'neon-dotprod', file: 'neon_dotprod.cc', machine: arm, int8: [/^sdot\s/, 16] },
  { isa: 'neon-i8mm', file: 'neon_i8mm.cc', machine: arm, int8: [/^smmla\s/, 32] },
]

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (result.error !== undefined || result.status !== 0)
    throw new Error(`${command}: ${result.error?.message ?? result.stderr}`)
  return result.stdout
}

/** [{ name, code: [{ at, text }] }] of an object file. */
function functionsOf(disassembly) {
  return disassembly.split(/\n(?=[0-9a-f]+ <)/).map((part) => ({
    name: /^[0-9a-f]+ <([^>]+)>/.exec(part)?.[1] ?? '',
    code: [...part.matchAll(/^ *([0-9a-f]+):\t(.*?) *(?:<[^\n]*)?(?:\/\/[^\n]*)?$/gm)].map(([, at, text]) => ({
      at: Number.parseInt(at, 16),
      text: text.trim(),
    })),
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

/** Which functions of an object file belong to a kernel, by their mangled names, and what multiplies in them. */
function kernelOf(name) {
  if (name === 'gemm_f32') return { functions: /gemm_(?:tile|columns|f32)/, kind: 'f32' }
  const [, verb, type] = /^(gem[mv])_(Q\d\w*)$/.exec(name) ?? []
  if (type === undefined) throw new Error(`expected gemm_T, gemv_T (T a quantised type) or gemm_f32, got ${name}`)
  return {
    functions: new RegExp(`(?:${verb === 'gemm' ? 'tile(?:_32(?:_of)?)?|gemm_q' : 'gemv_q'})I\\w*Codes${type}E`),
    kind: 'int8',
  }
}

/** The cost of a kernel in one table, [] if the table does not have it. */
function costOf(table, functions, kernel) {
  const { functions: ours, kind } = kernelOf(kernel)
  const [multiply, products] = table[kind] ?? [/$^/, 1]
  const multiplies = (loop) => loop.filter((text) => multiply.test(text)).length
  const [loop] = functions
    .filter(({ name }) => ours.test(name))
    .flatMap(({ code }) => innermostLoops(code))
    .sort((a, b) => multiplies(b) - multiplies(a))
  if (loop === undefined || multiplies(loop) === 0) return []
  const blocks = (multiplies(loop) * products) / 32
  return [
    {
      table: table.isa,
      kernel,
      instructions: loop.length,
      multiplies: multiplies(loop),
      stack: loop.filter((text) => table.machine.stack.test(text)).length,
      moves: loop.filter((text) => table.machine.move.test(text)).length,
      'per block': Number((loop.length / blocks).toFixed(3)),
      'multiplies per block': Number((32 / products).toFixed(3)),
    },
  ]
}

const kernels =
  process.argv.length > 2
    ? process.argv.slice(2)
    : ['gemm_Q4_0', 'gemm_Q4_K', 'gemm_Q6_K', 'gemm_Q8_0', 'gemv_Q4_0', 'gemm_f32']
const folder = mkdtempSync(path.join(tmpdir(), 'llava-inner-loops-'))
const missing = []
try {
  const costs = tables.flatMap((table) => {
    const object = path.join(folder, `${table.isa}.o`)
    try {
      run(table.machine.compiler, [
        ...flags,
        '-fno-ipa-icf',
        '-Inative',
        '-c',
        `native/cpu/kernels/${table.file}`,
        '-o',
        object,
      ])
    } catch (error) {
      missing.push(`${table.isa} is missing: ${error.message}`)
      return []
    }
    const functions = functionsOf(run(table.machine.objdump, ['-d', '--no-show-raw-insn', object]))
    return kernels.flatMap((kernel) => costOf(table, functions, kernel))
  })
  console.table(costs)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
for (const line of missing) console.error(line)
process.exitCode = missing.length > 0 ? 1 : 0
