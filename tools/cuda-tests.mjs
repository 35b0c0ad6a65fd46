// node tools/cuda-tests.mjs [--sanitized]: the CUDA back end without a card. Its kernels' own text runs on the CPU,
// every thread a fiber (native/testing/cuda_emu): the conformance suite's op cases in two schedules, whose results
// must be the same bits, and the goldens through its library, opened at run time. --sanitized: the op cases under
// AddressSanitizer, without the goldens. Needs CMake, Ninja and a g++ for x86-64; the goldens need what `npm test`
// builds. Installs nothing.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import pLimit from 'p-limit'
import { answers, cmakeBuild, root } from './cmake-build.mjs'

const { values } = parseArgs({ options: { sanitized: { type: 'boolean', default: false } } })
const folder = values.sanitized ? 'build/cuda-sanitized' : 'build/cuda-emulated'

/** Parts that the cases are run in: enough that no worker waits long for the last. */
const shares = 8

/** Runs one share of the op cases; resolves to its counts. A program that ends badly without a failure counts one. */
function run(share) {
  return new Promise((resolve, reject) => {
    const child = spawn(path.join(root, folder, 'llava_cuda_conformance'), [`--share=${share}/${shares}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', reject)
    child.on('close', (code) => {
      const [, passed = 0, failed = 0] = /(\d+) passed, (\d+) failed\s*$/.exec(text) ?? []
      if (code !== 0) console.log(text)
      resolve({ passed: Number(passed), failed: code === 0 ? Number(failed) : Math.max(1, Number(failed)) })
    })
  })
}

if (process.arch !== 'x64' || !answers('cmake') || !answers('ninja')) {
  console.error('The emulator of CUDA needs an x86-64 CPU, cmake and ninja-build')
  process.exitCode = 1
} else {
  const options = values.sanitized ? ['-DLLAVA_EMULATOR_SANITIZE=address'] : []
  cmakeBuild({ folder, targets: ['llava_cuda_conformance', 'llava_cuda_emulated_library'], options })
  const limit = pLimit(availableParallelism())
  const counts = await Promise.all(Array.from({ length: shares }, (_, share) => limit(() => run(share))))
  const passed = counts.reduce((sum, each) => sum + each.passed, 0)
  const failed = counts.reduce((sum, each) => sum + each.failed, 0)
  console.log(`\n  ${passed} tests passed`)
  if (failed > 0) console.log(`  ${failed} tests failed`)
  process.exitCode = failed > 0 ? 1 : 0
  if (!values.sanitized && existsSync(path.join(root, 'dist/test/golden.test.js'))) {
    const { status } = spawnSync(
      process.execPath,
      [path.join(root, 'node_modules/ava/entrypoints/cli.mjs'), 'dist/test/golden.test.js', '-m', '*on cuda'],
      {
        cwd: root,
        stdio: 'inherit',
        env: { ...process.env, LLAVA_CUDA_LIBRARY: path.join(root, folder, 'llava_cuda.so') },
      },
    )
    if (status !== 0) process.exitCode = 1
  }
}
