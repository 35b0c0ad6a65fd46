// node tools/cuda-build.mjs [--check] [--architectures 80,90a] [--sources a.cu,b.cu] [--library]: what nvcc and ptxas
// make of the CUDA back end's kernels.
//   Without --library: registers, shared memory and spills of every kernel, kept in bench/cuda/kernels.txt; with
//   --check nothing is written, and a kernel that spills more or takes more registers than the table has is an error.
//   --sources: of these files alone; lines of the others stay as they are.
//   --library: builds build/cuda/llava_cuda.so for every architecture instead (minutes).
// Needs a CUDA toolkit (12.x or 13.x) and CMake, no card. Installs nothing.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { answers, root } from './cmake-build.mjs'

const { values } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    library: { type: 'boolean', default: false },
    architectures: { type: 'string', default: '80,90a' },
    sources: { type: 'string' },
  },
})
const table = path.join(root, 'bench/cuda/kernels.txt')
const nvcc = process.env.NVCC ?? 'nvcc'

function checked(command, words) {
  const { status, stdout, stderr } = spawnSync(command, words, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} failed:\n${stdout}${stderr}`)
  return stdout + stderr
}

/** `name registers spilled-bytes static-shared` of every kernel in what ptxas said. */
function kernelsOf(text) {
  const found = []
  let name
  let spilled = 0
  for (const line of text.split('\n')) {
    const [, entry] = /Compiling entry function '(\w+)'/.exec(line) ?? []
    if (entry !== undefined) name = entry
    const [, stores] = /(\d+) bytes spill stores/.exec(line) ?? []
    if (stores !== undefined) spilled = Number(stores)
    const [, registers] = /Used (\d+) registers/.exec(line) ?? []
    if (registers === undefined || name === undefined) continue
    found.push({ name, registers: Number(registers), spilled })
    name = undefined
  }
  return found
}

function demangled(names) {
  const { status, stdout } = spawnSync('c++filt', [], { input: names.join('\n'), encoding: 'utf8' })
  if (status !== 0) return names
  return stdout
    .trim()
    .split('\n')
    .map((name) =>
      name
        .replace(/\(anonymous namespace\)::|llava::cuda::|llava::|_NV_ANON_NAMESPACE::|^void /g, '')
        .replaceAll(/\(DType\)(\d+)/g, (_, type) => dtypes[Number(type)])
        .replaceAll(/\((\w+)\)(\d+)/g, '$1 $2')
        .replace(/\(.*$/, ''),
    )
}
const dtypes = [...readFileSync(path.join(root, 'native/common/dtype.h'), 'utf8').matchAll(/^ {2}X\((\w+), /gm)].map(
  ([, name]) => name,
)

const allSources = () => readdirSync(path.join(root, 'native/cuda')).filter((file) => file.endsWith('.cu'))
const knownLines = () => readFileSync(table, 'utf8').trim().split('\n')

function linesOf(architecture) {
  const sources = values.sources?.split(',') ?? allSources()
  const flags = ['-std=c++20', '-O3', '-fmad=false', '--expt-relaxed-constexpr', '-Werror', 'all-warnings', '-Inative']
  return sources.flatMap((source) => {
    const output = path.join(root, `build/cuda/${source}.${architecture}.cubin`)
    const words = [
      ...flags,
      `-arch=sm_${architecture}`,
      '-cubin',
      '-Xptxas',
      '-v',
      `native/cuda/${source}`,
      '-o',
      output,
    ]
    const kernels = kernelsOf(checked(nvcc, words))
    const names = demangled(kernels.map(({ name }) => name))
    return kernels.map(
      ({ registers, spilled }, i) =>
        `sm_${architecture}  ${String(registers).padStart(3)} registers  ${spilled} spilled  ${source}  ${names[i]}`,
    )
  })
}

/** Kernels of `now` that spill or take more registers than in `before`. */
function worse(before, now) {
  const parse = (line) => {
    const [, architecture, registers, spilled, rest] =
      /^(\S+)\s+(\d+) registers\s+(\d+) spilled\s+(.*)$/.exec(line) ?? []
    return [`${architecture} ${rest}`, { registers: Number(registers), spilled: Number(spilled) }]
  }
  const known = new Map(before.map(parse))
  return now.filter((line) => {
    const [name, { registers, spilled }] = parse(line)
    const old = known.get(name)
    return old === undefined || registers > old.registers || spilled > old.spilled
  })
}

if (!answers(nvcc)) {
  console.error('nvcc is not there: a CUDA toolkit of 12.x or 13.x is needed; NVCC names another')
  process.exitCode = 1
} else {
  mkdirSync(path.join(root, 'build/cuda'), { recursive: true })
  if (values.library) {
    checked('cmake', ['-S', 'native/cuda', '-B', 'build/cuda/library'])
    checked('cmake', ['--build', 'build/cuda/library', '--target', 'llava_cuda', '--parallel'])
    console.log('build/cuda/library/llava_cuda.so')
  } else {
    const lines = values.architectures.split(',').flatMap(linesOf).toSorted()
    if (values.check) {
      const found = worse(knownLines(), lines)
      for (const line of found) console.error(`worse than bench/cuda/kernels.txt, or not in it: ${line}`)
      process.exitCode = found.length > 0 ? 1 : 0
    } else {
      const architectures = values.architectures.split(',').map((architecture) => `sm_${architecture}`)
      const sources = values.sources?.split(',') ?? allSources()
      const others = knownLines().filter((line) => {
        const [architecture, , , , , source] = line.trim().split(/\s+/)
        return values.sources !== undefined && !(architectures.includes(architecture) && sources.includes(source))
      })
      writeFileSync(table, `${[...others, ...lines].toSorted().join('\n')}\n`)
      console.log(
        `${lines.length} kernels, ${lines.filter((line) => !line.includes('  0 spilled')).length} of which spill`,
      )
    }
  }
}
