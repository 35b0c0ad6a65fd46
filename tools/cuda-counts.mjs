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
console.log(
  'Counts of the emulator, and what they come to at least by a card’s bandwidth and tensor cores: no times.\n',
)
console.log(
  `${'op'.padEnd(28)} ${'counted'.padEnd(36)} launches  moved/least  of sectors touched  conflicts     mma  ${Object.keys(
    cards,
  )
    .map((name) => `${name} us`.padStart(12))
    .join('')}`,
)
for (const line of stdout.trim().split('\n')) {
  const { op, shape, launches, bytes, touched, moved, least, shared, conflicts, mma, scale } = JSON.parse(line)
  const times = Object.values(cards).map(([bandwidth, products]) =>
    (1e6 * scale * Math.max(moved / bandwidth, (mma * opsOfMma) / products)).toFixed(1).padStart(12),
  )
  const percent = (part, whole) => (whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`)
  console.log(
    `${op.padEnd(28)} ${shape.padEnd(36)} ${String(launches).padStart(8)} ${(moved / least).toFixed(2).padStart(12)} ${percent(bytes, touched).padStart(19)} ${percent(conflicts, shared).padStart(10)} ${String(mma).padStart(7)}  ${times.join('')}`,
  )
}
process.exitCode = status ?? 1
