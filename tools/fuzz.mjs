// node tools/fuzz.mjs [--executions N] [--keep] [NAME…]: the fuzz targets of native/testing/fuzz, or those named, by clang's libFuzzer with
// AddressSanitizer and UndefinedBehaviorSanitizer, each from its corpus, native/testing/fuzz/corpus/NAME; and `arguments`, random calls of the boundary itself
// (test/native/random-arguments.ts), with the same sanitizers in Node.
//   --executions  of each target, and a tenth as many calls of `arguments`; default: 1,000,000
//   --keep        puts the fewest inputs that take every branch seen into the corpus
// What makes a target fail is left in build/fuzz, to be run again as `llava_fuzz_NAME FILE`. Needs dist (npm run build:ts), CMake, Ninja and a clang with its
// runtimes. Installs nothing.

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import pLimit from 'p-limit'
import { buildAddons, cmakeBuild, cmakeOptions, root, sanitizedBuild } from './cmake-build.mjs'

const targets = ['weights', 'steps', 'conversion']
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { executions: { type: 'string', default: '1000000' }, keep: { type: 'boolean', default: false } },
})
const asked = positionals.length === 0 ? [...targets, 'arguments'] : positionals
const failing = path.join(root, 'build/fuzz')

/** Runs libFuzzer's program; its last lines, and whether it found nothing. */
function run(program, words) {
  return new Promise((resolve, reject) => {
    // UndefinedBehaviorSanitizer goes on by default
    const env = { ...process.env, UBSAN_OPTIONS: 'halt_on_error=1:abort_on_error=1:print_stacktrace=1' }
    const child = spawn(program, words, { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] })
    let text = ''
    child.stderr.setEncoding('utf8').on('data', (part) => (text = (text + part).slice(-20_000)))
    child.on('error', reject)
    child.on('close', (code) => resolve({ text, sound: code === 0 }))
  })
}

/** One target; whether it found nothing. */
async function fuzz(folder, name) {
  const program = path.join(root, folder, `llava_fuzz_${name}`)
  const corpus = path.join(root, 'native/testing/fuzz/corpus', name)
  mkdirSync(corpus, { recursive: true })
  const found = mkdtempSync(path.join(os.tmpdir(), 'llava-fuzz-'))
  try {
    const start = Date.now()
    const settings = ['-max_len=600', '-timeout=60', '-rss_limit_mb=4096', `-artifact_prefix=${failing}/${name}-`]
    const { text, sound } = await run(program, [`-runs=${values.executions}`, ...settings, found, corpus])
    if (!sound) {
      console.log(`${text}\nFAILED: fuzz target ${name}`)
      return false
    }
    const seconds = Math.round((Date.now() - start) / 1000)
    const [, branches = '?'] = /cov: (\d+)(?!.*cov: )/s.exec(text) ?? []
    console.log(`fuzz target ${name}: ${values.executions} executions in ${seconds} s, ${branches} edges seen`)
    if (values.keep) keepFewest(program, corpus, found)
    return true
  } finally {
    rmSync(found, { recursive: true })
  }
}

/** The corpus becomes the fewest inputs of it and of `found` that take every branch. */
function keepFewest(program, corpus, found) {
  const fewest = mkdtempSync(path.join(path.dirname(corpus), 'merged-'))
  const { status } = spawnSync(program, ['-set_cover_merge=1', '-use_counters=0', fewest, found, corpus], {
    cwd: root,
    stdio: 'ignore',
  })
  if (status !== 0) throw new Error(`merging the corpus of ${path.basename(corpus)} failed`)
  rmSync(corpus, { recursive: true })
  renameSync(fewest, corpus)
  console.log(`  ${readdirSync(corpus).length} inputs are kept`)
}

/** Random calls in Node; whether all ended as calls may. */
function fuzzArguments({ compiler, folder, options, environment }) {
  const env = { ...process.env, ...buildAddons(folder, compiler, options), ...environment }
  const calls = String(Math.ceil(Number(values.executions) / 10))
  const start = Date.now()
  const script = path.join(root, 'dist/test/native/random-arguments.js')
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, calls], { env, encoding: 'utf8' })
  const seconds = Math.round((Date.now() - start) / 1000)
  console.log(
    status === 0 ? `random arguments: ${calls} calls in ${seconds} s: ${stdout}` : `${stderr}\nFAILED: arguments`,
  )
  return status === 0
}

const build = sanitizedBuild('address')
if (build === undefined) {
  process.exitCode = 1
} else {
  mkdirSync(failing, { recursive: true })
  const { compiler, folder, options } = build
  const programs = targets.filter((name) => asked.includes(name))
  const names = programs.map((name) => `llava_fuzz_${name}`)
  if (names.length > 0) cmakeBuild({ folder, targets: names, options: cmakeOptions(folder, compiler, options) })
  const limit = pLimit(os.availableParallelism())
  const results = await Promise.all(programs.map((name) => limit(() => fuzz(folder, name))))
  if (asked.includes('arguments')) results.push(fuzzArguments(build))
  const passed = results.filter(Boolean).length
  if (passed > 0) console.log(`\n  ${passed} tests passed`)
  if (passed < results.length) {
    console.log(`  ${results.length - passed} tests failed`)
    process.exitCode = 1
  }
}
