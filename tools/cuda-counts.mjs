// node tools/cuda-counts.mjs: what the CUDA back end's kernels ask of a card, as the emulator counts it, and how long
// each would take at least on some cards. These are counts, not times: nothing here has run on a card. Needs CMake,
// Ninja and a g++ for x86-64.

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { cmakeBuild, root } from './cmake-build.mjs'

/**
 * Bytes a second and multiply-adds of bfloat16, times two, a second. H200: measured copies and products of random data;
 * others: datasheets.
 */
const cards = {
  A100: [2.0e12, 312e12],
  L40S: [0.86e12, 362e12],
  H100: [3.35e12, 989e12],
  H200: [4.3e12, 780e12],
  'RTX 4090': [1.0e12, 165e12],
}
const opsOfMma = 2 * 16 * 8 * 16

const folder = 'build/cuda-emulated'
cmakeBuild({ folder, targets: ['llava_cuda_counts'], options: [] })
const { status, stdout } = spawnSync(path.join(root, folder, 'llava_cuda_counts'), [], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
})
const lines = stdout
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))

/** Microseconds on each card, at least: of what must come from memory, and of the products. */
const floors = ({ least, mma, scale }) =>
  Object.values(cards).map(
    ([bandwidth, products]) => 1e6 * scale * Math.max(least / bandwidth, (mma * opsOfMma) / products),
  )
const columns = (values, digits) => values.map((value) => value.toFixed(digits).padStart(12)).join('')
const percent = (part, whole) => (whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`)

function heading(first, second) {
  const names = Object.keys(cards).map((name) => `${name} us`.padStart(12))
  console.log(
    `\n${first.padEnd(28)} ${second.padEnd(36)} launches  moved/least  of sectors touched  conflicts        mma  ${names.join('')}`,
  )
}

function row(line) {
  const { op, shape, launches, bytes, touched, moved, least, shared, conflicts, mma } = line
  console.log(
    `${op.padEnd(28)} ${shape.padEnd(36)} ${String(launches).padStart(8)} ${(moved / least).toFixed(2).padStart(12)} ${percent(bytes, touched).padStart(19)} ${percent(conflicts, shared + conflicts).padStart(10)} ${String(mma).padStart(10)}  ${columns(floors(line), 1)}`,
  )
}

/** Lines of one op, added up. */
function added(ops) {
  const byName = new Map()
  for (const line of ops) {
    const sum = byName.get(line.op)
    if (sum === undefined) byName.set(line.op, { ...line })
    else
      for (const key of ['launches', 'bytes', 'touched', 'moved', 'least', 'shared', 'conflicts', 'mma'])
        sum[key] += line[key]
  }
  return [...byName.values()]
}

console.log(
  'Counts of the emulator, and what they come to at least by a card’s bandwidth and tensor cores: no times, nothing here ran on a card. moved: sectors that the blocks of a launch ask of L2, each once a block; least: operands and results, each once.',
)
heading('op', 'counted')
for (const line of lines) if (line.pass === undefined) row(line)

for (const pass of new Set(lines.flatMap(({ pass }) => (pass === undefined ? [] : [pass])))) {
  const ops = lines.filter((line) => line.pass === pass && line.op !== undefined)
  const whole = lines.find((line) => line.pass === pass && line.op === undefined)
  const [{ layers }] = ops
  heading(pass, `a layer of ${layers}; times: of all of them`)
  for (const line of added(ops)) row(line)
  const launches = ops.reduce((sum, line) => sum + line.launches, 0)
  const totals = ops.map(floors).reduce((sum, times) => times.map((time, i) => time + sum[i]))
  console.log(`${'all layers'.padEnd(66)}${String(launches * layers).padStart(8)}${''.padEnd(57)}${columns(totals, 1)}`)
  if (whole !== undefined)
    console.log(
      `of ${whole.launches} launches of such a pass the host submits ${whole.submissions}: graphs of the others`,
    )
}
process.exitCode = status ?? 1
