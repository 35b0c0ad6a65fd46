// llava convert and llava info --check, as they are run.

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { describeModel } from '../lib/weights/describe-model.js'
import { goldenCase } from './tiny-model.js'
import {
  llavaConfig,
  savedName,
  temporaryFolder,
  textShapes,
  tiny,
  tokenizerJson,
  visionShapes,
} from './weights/tiny-llava.js'

const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url))
const { model } = goldenCase('hf-f16')

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function start(args: readonly string[]): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [main, ...args])
  child.stdin.end()
  return child
}

async function ended(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ])
  return { code, stdout, stderr }
}

test('convert writes the file and says what it wrote', async (t) => {
  const file = path.join(await temporaryFolder(t), 'out.gguf')
  const { code, stdout, stderr } = await ended(start(['convert', model, '--type', 'q8_0', '--out', file]))
  t.is(stderr, '')
  t.is(code, 0)
  t.true(stdout.startsWith(`${file}  `))
  t.regex(stdout, /Q8_0 [\d.]+ KiB/)
  t.is((await describeModel(file)).format, 'gguf')
})

test('convert --json writes one object with these keys', async (t) => {
  const folder = await temporaryFolder(t)
  const { stdout, code } = await ended(
    start([
      'convert',
      model,
      '--type',
      'f16',
      '--pair',
      '--out',
      path.join(folder, 'tiny'),
      '--vision-type',
      'f32',
      '--json',
    ]),
  )
  t.is(code, 0)
  const result = JSON.parse(stdout) as { readonly files: readonly { readonly path: string }[] }
  t.deepEqual(Object.keys(result), ['files', 'weightDtypes', 'requantised', 'elapsedMs'])
  t.deepEqual(
    result.files.map(({ path: file }) => path.basename(file)),
    ['tiny.gguf', 'mmproj-tiny.gguf'],
  )
})

test('convert warns of quantising what is quantised', async (t) => {
  const folder = await temporaryFolder(t)
  const eight = path.join(folder, 'eight.gguf')
  t.is((await ended(start(['convert', model, '--type', 'q8_0', '--out', eight]))).stderr, '')
  const { stderr, stdout, code } = await ended(start(['convert', eight, '--type', 'q4_0', '--out', `${folder}/new/`]))
  t.regex(
    stderr,
    /^warning: \d+ matrices are quantised already; quantising them again loses more than converting the original does\n$/,
  )
  t.regex(stdout, /new\/[^/]+-q4_0\.gguf {2}/)
  t.is(code, 0)
})

test('convert does not replace a file unless --force says so', async (t) => {
  const file = path.join(await temporaryFolder(t), 'out.gguf')
  await writeFile(file, 'mine')
  const refused = await ended(start(['convert', model, '--type', 'f16', '--out', file]))
  t.regex(refused.stderr, /^error: .* is there already.*\(INVALID_ARGUMENT\)\n$/)
  t.is(refused.code, 2)
  t.is((await ended(start(['convert', model, '--type', 'f16', '--out', file, '--force']))).code, 0)
})

/** A checkpoint whose conversion takes a while, most of it a hole in its file: the embedding has two million rows. */
async function largeCheckpoint(t: ExecutionContext): Promise<string> {
  const folder = path.join(await temporaryFolder(t), 'large')
  await mkdir(folder)
  const shapes = [...textShapes({ ...tiny, V: 2_000_000 }), ...visionShapes()]
  const entries: Record<string, unknown> = {}
  let begin = 0
  for (const [name, shape] of shapes) {
    const end = begin + 2 * shape.reduce((product, size) => product * size, 1)
    entries[savedName(name)] = { dtype: 'F16', shape, data_offsets: [begin, end] }
    begin = end
  }
  const json = Buffer.from(JSON.stringify(entries))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = await open(path.join(folder, 'model.safetensors'), 'w')
  await file.write(Buffer.concat([length, json]))
  await file.truncate(8 + json.length + begin)
  await file.close()
  await writeFile(
    path.join(folder, 'config.json'),
    JSON.stringify({ ...llavaConfig, text_config: { ...llavaConfig.text_config, vocab_size: 2_000_000 } }),
  )
  await writeFile(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson))
  return folder
}

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`convert ended by ${signal} in the middle leaves nothing that looks finished`, async (t) => {
    const source = await largeCheckpoint(t)
    const folder = await temporaryFolder(t)
    const child = start(['convert', source, '--type', 'f32', '--out', path.join(folder, 'out.gguf')])
    const end = ended(child)
    while ((await readdir(folder)).length === 0 && child.exitCode === null) await setTimeout(1)
    child.kill(signal)
    const { code, stdout } = await end
    t.is(stdout, '')
    t.is(code, signal === 'SIGINT' ? 130 : null)
    const left = await readdir(folder)
    t.false(left.includes('out.gguf'))
    if (signal === 'SIGINT') t.deepEqual(left, [])
    await t.throwsAsync(describeModel(folder), { code: 'MODEL_NOT_FOUND' })
  })
}

test('info --check reads the weights and prints the file with its SHA-256', async (t) => {
  const { code, stdout, stderr } = await ended(start(['info', '--model', model, '--check']))
  t.is(stderr, '')
  t.is(code, 0)
  t.regex(stdout, /check +\d+ tensors read in [\d.]+ s; every value is a number/)
  t.regex(stdout, /sha256 +[0-9a-f]{64} {2}.*model\.safetensors/)
})

test('info --check --json holds the check beside the facts', async (t) => {
  const { stdout } = await ended(start(['info', '--model', model, '--check', '--json']))
  const { check, card } = JSON.parse(stdout) as {
    readonly check: Readonly<Record<string, unknown>>
    readonly card: unknown
  }
  t.truthy(card)
  t.deepEqual(Object.keys(check), ['path', 'format', 'sound', 'files', 'tensors', 'elapsedMs'])
  t.is(check['sound'], true)
})
