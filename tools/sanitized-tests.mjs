// node tools/sanitized-tests.mjs [address|thread]: both addons by clang with its sanitizers, in Node with their runtime preloaded.
//   address  AddressSanitizer and UndefinedBehaviorSanitizer: every kernel and op, whole models, the boundary, handles that come and go
//   thread   ThreadSanitizer: the pool under every op, and the runner: whole models, disposing and exiting in the middle of work
// A finding ends the process that made it, and so fails its tests. Needs dist (npm run build:ts), CMake and Ninja. Installs nothing.

import { spawnSync } from 'node:child_process'
import { answers, buildAddons, runTests } from './cmake-build.mjs'

/** Path of a sanitizer's runtime. */
function runtime(compiler, name) {
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const file = `libclang_rt.${name}-${arch}.so`
  return spawnSync(compiler, [`-print-file-name=${file}`], { encoding: 'utf8' }).stdout.trim()
}

const suites = {
  address: {
    sanitize: 'address,undefined',
    runtime: 'asan',
    // Node leaves much to the end of its process; and what it maps and frees by itself is none of ours
    options: { ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' },
    compilers: ['clang++-19', 'clang++-14'],
    runs: [{ files: ['native/conformance', 'golden', 'native/boundary', 'native/lifetime', 'native/properties'] }],
  },
  thread: {
    sanitize: 'thread',
    runtime: 'tsan',
    // what Node does by itself is no finding; its locks count all the same
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1 halt_on_error=1' },
    // the runtime of clang 14 does not start in Node on newer kernels
    compilers: ['clang++-19'],
    // kernels have one thread
    runs: [{ files: ['golden', 'native/lifetime'] }, { files: ['native/conformance'], flags: ['--match', '*: op *'] }],
  },
}

const asked = process.argv[2] === undefined ? Object.keys(suites) : [process.argv[2]]
for (const name of asked) {
  const suite = suites[name]
  const compiler = suite.compilers.find(answers)
  if (compiler === undefined) {
    const packages = 'clang-19 libclang-rt-19-dev'
    console.error(
      `The tests with the ${name} sanitizer need a clang and its runtimes; on Debian or Ubuntu: ${packages}`,
    )
    process.exitCode = 1
    continue
  }
  const folder = `build/sanitized/${name}/${compiler}`
  const environment = buildAddons(folder, compiler, [`-DLLAVA_SANITIZE=${suite.sanitize}`])
  console.log(`with the ${name} sanitizer:`)
  const preload = { ...environment, ...suite.options, LD_PRELOAD: runtime(compiler, suite.runtime) }
  for (const { files, flags } of suite.runs) if (!runTests(files, preload, flags)) process.exitCode = 1
}
