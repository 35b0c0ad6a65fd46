// node tools/emulated-conformance.mjs: the conformance suite on the kernel tables that this machine's CPU lacks; on those
// that it has, `npm test` runs it. Installs nothing.
//   AArch64 tables: cross-compiled, under qemu-user; each on the weakest CPU that has it, so that what is detected is
//   tested too. Without the scalar one, which no AArch64 takes.
//   x86 tables: AVX-512 through SIMDe, AVX-VNNI on plain AVX2.
// Ends as ava does, with lines that tools/count-tests.mjs sums up.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import pLimit from 'p-limit'
import { answers, cmakeBuild, root } from './cmake-build.mjs'

/** What this needs, and the Debian package that has it. */
const needed = [
  ['cmake', () => answers('cmake')],
  ['ninja-build', () => answers('ninja')],
  ['g++-aarch64-linux-gnu', () => answers('aarch64-linux-gnu-g++')],
  ['qemu-user-static', () => answers('qemu-aarch64-static')],
  ['libsimde-dev', () => existsSync('/usr/include/simde/x86/avx512.h')],
]

const arm64 = {
  folder: 'build/conformance/arm64',
  targets: ['llava_conformance'],
  options: [
    '-DCMAKE_SYSTEM_NAME=Linux',
    '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
    '-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++',
  ],
}
const x64 = { folder: 'build/conformance/x64', targets: ['llava_conformance_emulated'], options: [] }
const onCpu = (cpu) => ['qemu-aarch64-static', '-cpu', cpu]

/** A suite is one table: `on` is the command that runs the program. */
const everySuite = [
  { build: arm64, on: onCpu('cortex-a53'), isa: 'neon' },
  { build: arm64, on: onCpu('cortex-a76'), isa: 'neon-dotprod' },
  { build: arm64, on: onCpu('max'), isa: 'neon-i8mm' },
  { build: x64, on: [], isa: 'avx2-vnni' },
  { build: x64, on: [], isa: 'avx512-bw' },
  { build: x64, on: [], isa: 'avx512' },
  { build: x64, on: [], isa: 'avx512-bf16' },
  { build: x64, on: [], isa: 'amx' },
]

/** The tables of this CPU, as the addon finds them. */
const { isas } = createRequire(import.meta.url)(path.join(root, 'build/Release/llava_native.node')).cpuInfo()
const native = everySuite.filter(({ build, isa }) => build === x64 && isas.includes(isa))
const suites = everySuite.filter((suite) => !native.includes(suite))

/** Runs one suite and prints what it says; resolves to its counts. A program that says no sum, or ends badly without a failure, counts one. */
function run({
  build: {
    folder,
    targets: [program],
  },
  on,
  isa,
}) {
  const [command, ...words] = [...on, path.join(root, folder, program), isa]
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      console.log(
        `${text.trimEnd() || `${isa}: nothing ran`}  (${on.at(-1) ?? 'emulated'})${signal === null ? '' : `, ended by ${signal}`}`,
      )
      const [, passed = 0, failed = 0] = /(\d+) passed, (\d+) failed\s*$/.exec(text) ?? []
      resolve({ passed: Number(passed), failed: code === 0 ? Number(failed) : Math.max(1, Number(failed)) })
    })
  })
}

const missing = needed.filter(([, isThere]) => !isThere()).map(([name]) => name)
if (missing.length > 0) {
  console.error(
    `The emulated conformance suites need packages that are missing here; on Debian or Ubuntu: apt-get install ${missing.join(' ')}`,
  )
  process.exitCode = 1
} else {
  for (const { isa } of native) console.log(`${isa}: this CPU has it, and npm test runs the suite on it`)
  for (const build of new Set(suites.map(({ build }) => build))) cmakeBuild(build)
  const limit = pLimit(availableParallelism())
  const counts = await Promise.all(suites.map((suite) => limit(() => run(suite))))
  const passed = counts.reduce((sum, each) => sum + each.passed, 0)
  const failed = counts.reduce((sum, each) => sum + each.failed, 0)
  console.log(`\n  ${passed} tests passed`)
  if (failed > 0) console.log(`  ${failed} tests failed`)
  process.exitCode = failed > 0 ? 1 : 0
}
