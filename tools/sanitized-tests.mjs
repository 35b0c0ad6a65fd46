// node tools/sanitized-tests.mjs [address|thread]: both addons by clang with its sanitizers, in Node with their runtime preloaded.
//   address  AddressSanitizer and UndefinedBehaviorSanitizer: every kernel and op, whole models, the boundary, handles that come and go
//   thread   ThreadSanitizer: the pool under every op, and the runner: whole models, disposing and exiting in the middle of work
// A finding ends the process that made it, and so fails its tests. Needs dist (npm run build:ts), CMake and Ninja. Installs nothing.

import { spawnSync } from 'node:child_process'
import { answers, buildAddons, runTests } from './cmake-build.mjs'

const compiler = ['clang++-19', 'clang++-14'].find(answers)

/** Path of a sanitizer's runtime. */
function runtime(name) {
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
    tests: ['native/conformance', 'golden', 'native/boundary', 'native/lifetime', 'native/properties'],
  },
  thread: {
    sanitize: 'thread',
    runtime: 'tsan',
    // what Node does by itself is no finding; its locks count all the same
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1 halt_on_error=1' },
    tests: ['native/conformance', 'golden', 'native/lifetime'],
  },
}

const asked = process.argv[2] === undefined ? Object.keys(suites) : [process.argv[2]]
if (compiler === undefined) {
  console.error(
    'The sanitized tests need clang 19 or 14 and its runtimes; on Debian or Ubuntu: clang-19 libclang-rt-19-dev',
  )
  process.exitCode = 1
} else {
  for (const name of asked) {
    const suite = suites[name]
    const environment = buildAddons(`build/sanitized/${name}`, compiler, [`-DLLAVA_SANITIZE=${suite.sanitize}`])
    console.log(`with the ${name} sanitizer:`)
    const preload = { ...environment, ...suite.options, LD_PRELOAD: runtime(suite.runtime) }
    if (!runTests(suite.tests, preload)) process.exitCode = 1
  }
}
