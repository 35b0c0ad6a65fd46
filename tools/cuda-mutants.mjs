// node tools/cuda-mutants.mjs [name…]: is every mistake of the CUDA back end seen without a card? Each mutant is one
// wrong line of a kernel or of the host's side, compiled for the emulator in a folder of its own; the cases named beside
// it must fail. Not part of `npm test`: it compiles and links anew for each mutant (minutes). Needs CMake, Ninja and a
// g++ for x86-64.
// What no longer stands in its file is an error too, so that the list follows the code.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { root } from './cmake-build.mjs'

const cuda = 'native/cuda'
const attention = [
  'op attention does',
  'NaN, infinities and overflow are seen only by rows that see their position: attention',
]

const products = ['op linear does']

/** name: the mistake; from → to in file (the first place it stands); cases: parts of the names of those that see it. */
const mutants = [
  {
    name: 'no barrier before the values of a page are overwritten',
    file: `${cuda}/attention_halves.cu`,
    from: "__syncthreads();  // the page's keys are there, and no warp reads the values of the page before",
    to: '',
    cases: attention,
  },
  {
    name: 'the keys of a page are not waited for',
    file: `${cuda}/attention_halves.cu`,
    from: "wait_for_groups<0>();\n      __syncthreads();  // the page's keys",
    to: "wait_for_groups<1>();\n      __syncthreads();  // the page's keys",
    cases: attention,
  },
  {
    name: 'a row of queries sees the position after its own',
    file: `${cuda}/attention_halves.cu`,
    from: 'position >= sight.to) s[i][j]',
    to: 'position > sight.to) s[i][j]',
    cases: attention,
  },
  {
    name: 'queries are swizzled by another row than they are read',
    file: `${cuda}/attention_halves.cu`,
    from: 'tiles.q.chunk(r, d / 8) + d % 8) = pair',
    to: 'tiles.q.chunk(r ^ 1, d / 8) + d % 8) = pair',
    cases: attention,
  },
  {
    name: 'sums are not rescaled',
    file: `${cuda}/attention_halves.cu`,
    from: 'rows.sum[i][half] * rescale + sum',
    to: 'rows.sum[i][half] + sum',
    cases: attention,
  },
  {
    name: 'a block with an overflown value is not computed again',
    file: `${cuda}/attention_halves.cu`,
    from: 'if (!finite) *odd = 1;',
    to: '',
    cases: attention,
  },
  {
    name: 'no barrier between a stage of a product and the next',
    file: `${cuda}/product_bfloats.cu`,
    from: "__syncthreads();  // this step's stage is there for all",
    to: '//',
    cases: products,
  },
  {
    name: 'a stage of a product is not waited for',
    file: `${cuda}/product_bfloats.cu`,
    from: 'wait_for_groups<kStages - 2>',
    to: 'wait_for_groups<kStages - 1>',
    cases: products,
  },
  {
    name: 'a tile of a product ends a row early',
    file: `${cuda}/product_bfloats.cu`,
    from: 'const bool there = first_row + row < a.M;',
    to: 'const bool there = first_row + row + 1 < a.M;',
    cases: products,
  },
  {
    name: 'weights are swizzled by another row than they are read',
    file: `${cuda}/product_bfloats.cu`,
    from: '(chunk ^ (row % 8)) * 8',
    to: '(chunk ^ ((row + (chunk == 7)) % 8)) * 8',
    cases: products,
  },
  {
    name: 'blocks left by an op are taken for those of another',
    file: `${cuda}/quantise_rows.cu`,
    from: 'left.x == x.data && ',
    to: '',
    cases: ['blocks of its own rows'],
  },
  {
    name: 'a graph keeps the arguments that it was made with',
    file: `${cuda}/launch_queue.cu`,
    from: 'set_node(*found->graph, i, run[i]);',
    to: '',
    cases: ['graphs of launches'],
  },
  {
    name: 'all q8_0 keys are scaled by their first block',
    file: `${cuda}/attention_halves.cu`,
    from: 'scales + d / kKvBlock * kPage',
    to: 'scales + 0 * kPage',
    cases: attention,
  },
]

function checked(command, words, cwd) {
  const { status, stdout, stderr } = spawnSync(command, words, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 })
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} failed:\n${stdout}${stderr}`)
}

/** A copy of what the emulator is built of, and its build. */
function workshop() {
  const folder = mkdtempSync(path.join(tmpdir(), 'cuda-mutants-'))
  for (const part of ['native', 'bench', 'CMakeLists.txt', 'package.json'])
    cpSync(path.join(root, part), path.join(folder, part), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  mkdirSync(path.join(folder, 'build'))
  checked('cmake', ['-S', '.', '-B', 'build', '-G', 'Ninja'], folder)
  checked('cmake', ['--build', 'build', '--target', 'llava_cuda_conformance'], folder)
  return folder
}

/** Whether the cases fail on this mutant. */
function isSeen(folder, { file, from, to, cases, name }) {
  const place = path.join(folder, file)
  const text = readFileSync(place, 'utf8')
  if (!text.includes(from)) throw new Error(`“${name}”: its line no longer stands in ${file}`)
  writeFileSync(place, text.replace(from, to))
  try {
    checked('cmake', ['--build', 'build', '--target', 'llava_cuda_conformance'], folder)
    const { status, error } = spawnSync(path.join(folder, 'build/llava_cuda_conformance'), cases, {
      encoding: 'utf8',
      timeout: 900_000,
    })
    if (error !== undefined) throw error // too slow to say
    return status !== 0
  } finally {
    writeFileSync(place, text)
  }
}

const asked = process.argv.slice(2)
const chosen = mutants.filter(({ name }) => asked.length === 0 || asked.some((part) => name.includes(part)))
const folder = workshop()
try {
  let unseen = 0
  for (const mutant of chosen) {
    const seen = isSeen(folder, mutant)
    if (!seen) unseen++
    console.log(`${seen ? 'seen  ' : 'UNSEEN'} ${mutant.name}`)
  }
  console.log(`\n${chosen.length - unseen} of ${chosen.length} mutants seen`)
  process.exitCode = unseen > 0 || chosen.length === 0 ? 1 : 0
} finally {
  rmSync(folder, { recursive: true, force: true })
}
