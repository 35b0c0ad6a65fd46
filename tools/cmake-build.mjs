// Builds with plain CMake in folders of their own, for the longer suites. Installs nothing.

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** Whether `command` is there. */
export const answers = (command) => spawnSync(command, ['--version']).status === 0

/** Configures `folder` and builds `targets` in it; throws what CMake and the compiler said when that fails. */
export function cmakeBuild({ folder, targets, options }) {
  for (const line of [
    ['-S', '.', '-B', folder, '-G', 'Ninja', ...options],
    ['--build', folder, '--target', ...targets],
  ]) {
    const { status, stdout, stderr } = spawnSync('cmake', line, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 })
    if (status !== 0) throw new Error(`cmake ${line.join(' ')} failed:\n${stdout}${stderr}`)
  }
}

/** What CMake is told to build everything in `folder`, with no warning. */
export function cmakeOptions(folder, compiler, options = []) {
  return [
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    '-DCMAKE_COMPILE_WARNING_AS_ERROR=ON',
    '-DLLAVA_TESTING=ON',
    `-DLLAVA_OUTPUT=${path.join(root, folder, 'build')}`,
    ...options,
  ]
}

/** Builds both addons in `folder`; the environment in which lib and the tests load them. */
export function buildAddons(folder, compiler, options = []) {
  cmakeBuild({ folder, targets: ['llava_native', 'llava_testing'], options: cmakeOptions(folder, compiler, options) })
  return { LLAVA_NATIVE_PREBUILD: path.join(root, folder) }
}

const sanitizers = {
  address: {
    sanitize: 'address,undefined',
    runtime: 'asan',
    // Node leaves much to the end of its process; and what it maps and frees by itself is none of ours
    options: { ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' },
    compilers: ['clang++-19', 'clang++-14'],
  },
  thread: {
    sanitize: 'thread',
    runtime: 'tsan',
    // what Node does by itself is no finding; its locks count all the same
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1 halt_on_error=1' },
    // the runtime of clang 14 does not start in Node on newer kernels
    compilers: ['clang++-19'],
  },
}

/**
 * A sanitized build: compiler, folder, CMake's options, and the environment in which Node loads addons of it. Says what is missing, and returns undefined, where
 * no compiler for it is there.
 */
export function sanitizedBuild(name) {
  const { sanitize, runtime, options, compilers } = sanitizers[name]
  const compiler = compilers.find(answers)
  if (compiler === undefined) {
    const packages = 'clang-19 libclang-rt-19-dev'
    console.error(`The ${name} sanitizer needs a clang and its runtimes; on Debian or Ubuntu: ${packages}`)
    return undefined
  }
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const library = spawnSync(compiler, [`-print-file-name=libclang_rt.${runtime}-${arch}.so`], { encoding: 'utf8' })
  return {
    compiler,
    folder: `build/sanitized/${name}/${compiler}`,
    options: [`-DLLAVA_SANITIZE=${sanitize}`],
    environment: { ...options, LD_PRELOAD: library.stdout.trim() },
  }
}

/** Runs ava on these files of dist/test; its report goes to standard output. Whether all passed. */
export function runTests(files, environment, flags = []) {
  const ava = path.join(root, 'node_modules/ava/entrypoints/cli.mjs')
  const paths = files.map((file) => `dist/test/${file}.test.js`)
  const { status } = spawnSync(process.execPath, [ava, ...flags, ...paths], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  })
  return status === 0
}
