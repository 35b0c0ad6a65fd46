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

/** Builds both addons in `folder`, with no warning; the environment in which lib and the tests load them. */
export function buildAddons(folder, compiler, options = []) {
  const own = path.join(root, folder)
  const settings = [
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    '-DCMAKE_COMPILE_WARNING_AS_ERROR=ON',
    '-DLLAVA_TESTING=ON',
    `-DLLAVA_OUTPUT=${path.join(own, 'build')}`,
  ]
  cmakeBuild({ folder, targets: ['llava_native', 'llava_testing'], options: [...settings, ...options] })
  return { LLAVA_NATIVE_PREBUILD: own }
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
