// The built addon as a Linux loader sees it: what it shows, and how old a C and a C++ library it accepts; and how it is loaded.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { loadFrom, thisTarget } from '../lib/native-binary.js'
import { entryPoints, floor, newerThan, readElf } from './native/elf.js'

const onLinux = process.platform === 'linux' ? test : test.skip
const binary = fileURLToPath(new URL('../../build/Release/llava_native.node', import.meta.url))

onLinux('the addon shows the two Node-API entry points and nothing else', (t) => {
  t.deepEqual(readElf(readFileSync(binary)).defined, entryPoints)
})

onLinux('the addon asks for no newer glibc than Node.js itself, and for the libstdc++ of GCC 8', (t) => {
  const { versions } = readElf(readFileSync(binary))
  t.true(versions.length > 0)
  t.deepEqual(newerThan(versions, floor), [])
  t.deepEqual(newerThan(['GLIBC_2.3.4', 'GLIBC_2.29', 'GLIBCXX_3.4.3', 'GLIBCXX_3.4.26'], floor), [
    'GLIBC_2.29',
    'GLIBCXX_3.4.26',
  ])
})

test('the library is ESM that require() takes: no module of it awaits at its top', async (t) => {
  // in a process of its own, as a module that has been imported before is taken either way
  const index = fileURLToPath(new URL('../lib/index.js', import.meta.url))
  const program = `console.log(typeof require(${JSON.stringify(index)}).LLaVA)`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=commonjs', '-e', program])
  t.is(stdout, 'function\n')
})

test('where no binary fits, the error says what was looked for, what is there, and what to do', async (t) => {
  const root = await mkdtemp(path.join(tmpdir(), 'llava-binaries-'))
  t.teardown(() => rm(root, { recursive: true }))
  const target = { name: 'linux-riscv64-musl', libc: 'musl' } as const
  const load = () => loadFrom(root, target)
  const begins = /^no native binary for linux-riscv64-musl \(Node\.js v[\d.]+ for \w+ \w+, musl.*\): /
  const advice = '; run `npx llava rebuild` to build it here'
  for (const [contents, middle] of [
    [undefined, /holds none at all$/],
    ['linux-x64', /holds those for linux-x64$/],
    ['linux-riscv64-musl', /llava_native\.node does not load: .+$/],
  ] as const) {
    if (contents !== undefined) {
      await mkdir(path.join(root, 'prebuilds', contents), { recursive: true })
      await writeFile(path.join(root, 'prebuilds', contents, 'llava_native.node'), 'no library')
    }
    const { message } = t.throws(load, { code: 'NATIVE_UNAVAILABLE' })
    t.regex(message, begins)
    t.true(message.endsWith(advice), message)
    t.regex(message.slice(0, -advice.length), middle)
  }
  t.throws(() => loadFrom(undefined, target), {
    message: /external, or import llava-native\/linux-riscv64-musl in place/,
  })
})

test('a binary that was built here goes before one that came with the package', async (t) => {
  const root = await mkdtemp(path.join(tmpdir(), 'llava-binaries-'))
  t.teardown(() => rm(root, { recursive: true }))
  for (const folder of ['build/Release', `prebuilds/${thisTarget().name}`]) {
    await mkdir(path.join(root, folder), { recursive: true })
    await writeFile(path.join(root, folder, 'llava_native.node'), 'no library')
  }
  t.throws(() => loadFrom(root, thisTarget()), { message: /build\/Release\/llava_native\.node does not load/ })
})
