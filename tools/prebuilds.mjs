// npm run prebuilds -- [--twice] TARGET…: the addon that ships for each target, as prebuilds/TARGET/llava_native.node.
// All that this machine has the tools for where no target is named; `host` is the one that it is. --twice builds each
// from nothing a second time, in a folder of another name, and compares the bytes.
//   linux-x64 linux-arm64             g++ and g++-aarch64-linux-gnu, against the shared libstdc++ that Node itself has
//   linux-x64-musl linux-arm64-musl   zig (the package ziglang of PyPI, or ZIG in the environment), with its libc++
//   inside
//   win32-x64                         g++-mingw-w64-x86-64-posix, with nothing but Windows' own libraries left to load
//   darwin-arm64 darwin-x64           clang, on a Mac
// Needs CMake and Ninja. Installs nothing.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { answers, cmakeBuild, root } from './cmake-build.mjs'

const zig = zigCommand()

/** How zig is called here: [command, …its first words], or undefined. */
function zigCommand() {
  const calls = [process.env.ZIG?.split(' '), ['zig'], ['python3', '-m', 'ziglang']]
  return calls.find((call) => call !== undefined && spawnSync(call[0], [...call.slice(1), 'version']).status === 0)
}

const elf = ['-Wl,-z,relro', '-Wl,-z,now', '-Wl,-z,noexecstack']
const compiler = (name) => ({ cxx: [name], isThere: answers(name), flags: [], link: elf })
const byZig = (triple) => ({
  cxx: [...(zig ?? ['zig']), 'c++', '-target', triple],
  isThere: zig !== undefined,
  flags: [],
  link: elf,
})
const byAppleClang = (arch) => ({
  cxx: ['clang++'],
  isThere: process.platform === 'darwin',
  flags: ['-arch', arch, '-mmacosx-version-min=13.0'],
  link: ['-Wl,-dead_strip', '-Wl,-no_uuid'],
})

/** A target: its compiler, what is added to compiling and linking, and what CMake is told of the system. */
const targets = {
  'linux-x64': { ...compiler('g++'), needs: 'g++', system: ['Linux', 'x86_64'] },
  'linux-arm64': {
    ...compiler('aarch64-linux-gnu-g++'),
    needs: 'g++-aarch64-linux-gnu',
    system: ['Linux', 'aarch64'],
  },
  'linux-x64-musl': {
    ...byZig('x86_64-linux-musl'),
    needs: 'ziglang (pip install ziglang)',
    system: ['Linux', 'x86_64'],
  },
  'linux-arm64-musl': {
    ...byZig('aarch64-linux-musl'),
    needs: 'ziglang (pip install ziglang)',
    system: ['Linux', 'aarch64'],
  },
  'win32-x64': {
    ...compiler('x86_64-w64-mingw32-g++-posix'),
    link: [],
    needs: 'g++-mingw-w64-x86-64-posix',
    system: ['Windows', 'AMD64'],
  },
  'darwin-arm64': { ...byAppleClang('arm64'), needs: 'a Mac', system: ['Darwin', 'arm64'] },
  'darwin-x64': { ...byAppleClang('x86_64'), needs: 'a Mac', system: ['Darwin', 'x86_64'] },
}

/** Builds one target in `folder`; the path of its file. */
function build({ cxx, flags, link, system: [system, processor] }, folder) {
  // the same bytes wherever the checkout lies
  const compile = [...flags, `-ffile-prefix-map=${root}/=`]
  cmakeBuild({
    folder,
    targets: ['llava_native'],
    options: [
      `-DCMAKE_SYSTEM_NAME=${system}`,
      `-DCMAKE_SYSTEM_PROCESSOR=${processor}`,
      `-DCMAKE_CXX_COMPILER=${cxx.join(';')}`,
      `-DCMAKE_CXX_FLAGS=${compile.join(' ')}`,
      `-DCMAKE_MODULE_LINKER_FLAGS=${[...flags, ...link, '-s'].join(' ')}`,
      `-DLLAVA_OUTPUT=${path.join(root, folder, 'build')}`,
    ],
  })
  return path.join(root, folder, 'build/Release/llava_native.node')
}

const digestOf = (file) => createHash('sha256').update(readFileSync(file)).digest('hex')

/** Builds `name` and puts it where the package ships it. Whether that went well. */
function make(name, twice) {
  if (twice) rmSync(path.join(root, `build/prebuilds/${name}`), { recursive: true, force: true })
  const built = build(targets[name], `build/prebuilds/${name}`)
  const digest = digestOf(built)
  if (twice) {
    const folder = `build/prebuilds/again/${name}`
    rmSync(path.join(root, folder), { recursive: true, force: true })
    const again = digestOf(build(targets[name], folder))
    rmSync(path.join(root, folder), { recursive: true })
    if (again !== digest) {
      console.error(`${name} is not reproducible: ${digest} at first, then ${again}`)
      return false
    }
  }
  const shipped = path.join(root, 'prebuilds', name, 'llava_native.node')
  mkdirSync(path.dirname(shipped), { recursive: true })
  copyFileSync(built, shipped)
  const size = (readFileSync(shipped).length / 1e6).toFixed(2)
  console.log(`${name}  ${size} MB  sha256 ${digest}${twice ? '  twice the same' : ''}`)
  return true
}

const { values, positionals } = parseArgs({
  options: { twice: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const named = positionals.map((name) => (name === 'host' ? `${process.platform}-${process.arch}` : name))
const unknown = named.filter((name) => !(name in targets))
if (unknown.length > 0)
  throw new Error(`unknown target ${unknown.join(', ')}; there are ${Object.keys(targets).join(', ')}`)
const wanted = named.length > 0 ? named : Object.keys(targets).filter((name) => targets[name].isThere)
const missing = wanted.filter((name) => !targets[name].isThere)
if (missing.length > 0) {
  for (const name of missing) console.error(`${name} cannot be built here without ${targets[name].needs}.`)
  process.exitCode = 1
} else if (!wanted.map((name) => make(name, values.twice)).every(Boolean)) process.exitCode = 1
