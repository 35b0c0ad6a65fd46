// node tools/far-tests.mjs: the tests of the native boundary once more, on a back end whose memory nobody reaches but itself
// (native/testing/far_backend.h), and the goldens in a library of its own (native/testing/device_library.cc) too. Needs what `npm test` builds.
// The testing addon is all of the shipped one on that back end: it is put where lib looks for it, under the shipped one's name.

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** What a back end of its own memory could get wrong: stages, bits, arguments, lifetimes, memory that runs out. */
const files = [
  'golden.test.js',
  'embedding.test.js',
  'kernel-bench.test.js',
  'weights/clip-directory.test.js',
  'native/properties.test.js',
  'native/boundary.test.js',
  'native/lifetime.test.js',
  'native/saved-state.test.js',
  'native/failing-allocations.test.js',
]

const folder = path.join(root, 'build/far')
mkdirSync(path.join(folder, 'build/Release'), { recursive: true })
copyFileSync(path.join(root, 'build/testing/llava_testing.node'), path.join(folder, 'build/Release/llava_native.node'))
const { status } = spawnSync(
  process.execPath,
  [
    path.join(root, 'node_modules/ava/entrypoints/cli.mjs'),
    ...['--match', '*', '--match', '!* on scalar: *', '--match', '!* on scalar'], // memory is the same to every table
    ...files.map((file) => `dist/test/${file}`),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      LLAVA_NATIVE_PREBUILD: folder,
      ALLOCATION_STRIDE: '3', // `npm test` tries all, on the shipped addon
      LLAVA_CUDA_LIBRARY: path.join(root, 'build/testing/llava_device.so'),
    },
  },
)
process.exitCode = status ?? 1
