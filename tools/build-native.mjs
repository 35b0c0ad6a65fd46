// node tools/build-native.mjs [--testing] [--with node-gyp|cmake-js]: builds build/Release/llava_native.node, and with --testing also
// build/testing/llava_testing.node. Does nothing when they are up to date: a fingerprint of every input is kept beside them.
// Takes node-gyp where Python is there (with make or ninja), else cmake-js where CMake is (with ninja or make); downloads nothing.
// JOBS in the environment sets how many compilers run at once.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const jobs = process.env.JOBS ?? String(availableParallelism())
const sourceList = JSON.parse(readFileSync(path.join(root, 'native/sources.gypi'), 'utf8')).variables

/** Where packages are installed: the checkout, or the project that this package is installed in. */
const projectFolder = root.split(`${path.sep}node_modules${path.sep}`)[0]

/** What is built: the file, and what it depends on beyond the build files. */
const targets = {
  llava_native: { output: 'build/Release/llava_native.node', isInput: (file) => !file.startsWith('native/testing/') },
  llava_testing: { output: 'build/testing/llava_testing.node', isInput: () => true },
}

class BuildError extends Error {}

/** A command's standard output, or undefined when it is not there or fails. */
function probe(command, args, input = '') {
  const result = spawnSync(command, args, { cwd: root, input, encoding: 'utf8' })
  return result.status === 0 ? result.stdout.trim() : undefined
}

function firstThat(works, candidates) {
  return candidates.find((candidate) => candidate !== undefined && candidate !== '' && works(candidate))
}

/** What this machine has: each a command, or undefined. */
function findTools() {
  const compiles = (cxx) =>
    probe(cxx, ['-std=c++20', '-x', 'c++', '-fsyntax-only', '-'], '#include <span>\nstd::span<int> s;\n') !== undefined
  const answers = (command) => probe(command, ['--version']) !== undefined
  const isPython = (command) => probe(command, ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']) !== undefined
  return {
    compiler: firstThat(compiles, [process.env.CXX, 'g++', 'c++', 'clang++']),
    python: firstThat(isPython, [
      process.env.NODE_GYP_FORCE_PYTHON,
      process.env.npm_config_python,
      process.env.PYTHON,
      'python3',
      'python',
    ]),
    cmake: firstThat(answers, ['cmake']),
    make: firstThat(answers, [process.env.MAKE, 'make']),
    ninja: firstThat(answers, ['ninja', 'ninja-build']),
  }
}

/** 'node-gyp' or 'cmake-js'; throws one sentence that says what to install when neither can work. */
function chooseBuilder(tools, asked) {
  const missing = []
  if (tools.compiler === undefined) missing.push('a C++20 compiler (g++ 11 or clang++ 14, or newer)')
  if (tools.make === undefined && tools.ninja === undefined) missing.push('make or ninja')
  if (tools.python === undefined && tools.cmake === undefined)
    missing.push('Python 3.8 or newer, or CMake 3.19 or newer')
  if (missing.length > 0) {
    throw new BuildError(
      `The native part cannot be built: please install ${missing.join(', and ')} (on Debian or Ubuntu: apt-get install g++ make python3).`,
    )
  }
  const builder = asked ?? (tools.python !== undefined ? 'node-gyp' : 'cmake-js')
  if (builder !== 'node-gyp' && builder !== 'cmake-js')
    throw new BuildError(`--with takes node-gyp or cmake-js, not ${builder}.`)
  if (builder === 'node-gyp' && tools.python === undefined)
    throw new BuildError('node-gyp needs Python 3.8 or newer: please install it, or leave out --with.')
  if (builder === 'cmake-js' && tools.cmake === undefined)
    throw new BuildError('cmake-js needs CMake 3.19 or newer: please install it, or leave out --with.')
  return builder
}

/** Path of a development package's file; they are missing after an install with --omit=dev and in an installed package. */
function packageFile(packageName, file) {
  // npm and npx bring a node-gyp of their own
  const ofNpm = process.env.npm_config_node_gyp
  if (packageName === 'node-gyp' && ofNpm !== undefined && !isInstalled(packageName)) return ofNpm
  try {
    return path.join(path.dirname(require.resolve(`${packageName}/package.json`)), file)
  } catch (cause) {
    const packages = 'node-addon-api@8 node-api-headers@1 node-gyp@12 cmake-js@8'
    throw new BuildError(
      `The native part cannot be built without ${packageName}: run \`npm install --no-save ${packages}\` in ${projectFolder} first.`,
      { cause },
    )
  }
}

function isInstalled(packageName) {
  try {
    require.resolve(`${packageName}/package.json`)
    return true
  } catch {
    return false
  }
}

/** Content hash of everything `target` is made of, so that neither a fresh checkout's times nor a switched branch mislead it. */
function fingerprint(target) {
  const files = readdirSync(path.join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)).replaceAll(path.sep, '/'),
    )
    .filter(targets[target].isInput)
    .concat('binding.gyp', 'CMakeLists.txt')
    .sort()
  const hash = createHash('sha256').update(`${process.platform} ${process.arch} ${process.env.CXX ?? ''}\n`)
  for (const name of ['node-addon-api', 'node-api-headers'])
    hash.update(readFileSync(packageFile(name, 'package.json')))
  for (const file of files) hash.update(`\n${file}\n`).update(readFileSync(path.join(root, file)))
  return hash.digest('hex')
}

const stampOf = (target) => path.join(root, `${targets[target].output}.fingerprint`)

function isUpToDate(target, digest) {
  return (
    existsSync(path.join(root, targets[target].output)) &&
    existsSync(stampOf(target)) &&
    readFileSync(stampOf(target), 'utf8') === digest
  )
}

function run(command, args, environment = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...environment } })
  const line = [command, ...args].map((word) => path.basename(word)).join(' ')
  if (result.status !== 0) throw new BuildError(`${line} failed; its messages stand above.`, { cause: result.error })
}

async function buildWithNodeGyp(tools, testing) {
  const nodeGyp = packageFile('node-gyp', 'bin/node-gyp.js')
  const headers = path.join(root, 'build-headers')
  const { makeNodedir } = await import('./make-nodedir.mjs')
  makeNodedir(headers)
  const useNinja = tools.make === undefined
  const gypArguments = [...(useNinja ? ['-f', 'ninja'] : []), `-Dllava_testing=${testing ? 1 : 0}`]
  const environment = { CXX: tools.compiler, LINK: tools.compiler }
  run(
    process.execPath,
    [
      nodeGyp,
      'configure',
      '--loglevel=warn',
      `--nodedir=${headers}`,
      `--python=${tools.python}`,
      '--',
      ...gypArguments,
    ],
    environment,
  )
  if (useNinja) run(tools.ninja, ['-C', 'build/Release', '-j', jobs], environment)
  else
    run(process.execPath, [nodeGyp, 'build', '--loglevel=warn', `--nodedir=${headers}`, `--jobs=${jobs}`], {
      ...environment,
      MAKE: tools.make,
    })
  // gyp's make files also put a link to the testing addon beside the shipped one, which is not shipped
  rmSync(path.join(root, 'build/Release/llava_testing.node'), { force: true })
}

function buildWithCmakeJs(tools, testing) {
  const generator = tools.ninja !== undefined ? 'Ninja' : 'Unix Makefiles'
  run(
    process.execPath,
    [
      packageFile('cmake-js', 'bin/cmake-js'),
      'build',
      '--log-level=warn',
      '--out',
      'build/cmake',
      '--generator',
      generator,
      '--config',
      'Release',
      '--parallel',
      jobs,
      `--CDLLAVA_TESTING=${testing ? 'ON' : 'OFF'}`,
    ],
    { CXX: tools.compiler },
  )
}

async function main() {
  const { values } = parseArgs({ options: { testing: { type: 'boolean', default: false }, with: { type: 'string' } } })
  const testing = values.testing && sourceList.llava_testing_sources.length > 0
  const wanted = testing ? ['llava_native', 'llava_testing'] : ['llava_native']
  const digests = new Map(wanted.map((target) => [target, fingerprint(target)]))
  if (wanted.every((target) => isUpToDate(target, digests.get(target)))) return

  const tools = findTools()
  const builder = chooseBuilder(tools, values.with)
  console.log(`building ${wanted.join(' and ')} with ${builder} and ${tools.compiler}`)
  mkdirSync(path.join(root, 'build'), { recursive: true })
  if (builder === 'node-gyp') await buildWithNodeGyp(tools, testing)
  else buildWithCmakeJs(tools, testing)
  for (const target of wanted) writeFileSync(stampOf(target), digests.get(target))
}

try {
  await main()
} catch (error) {
  if (!(error instanceof BuildError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
