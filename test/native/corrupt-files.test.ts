// Damaged model files, opened as a user would: each gives a LlavaError with a code, or a model that still answers; none a crash or a hang.
// A fixed seed chooses the damage. What GGUF and safetensors readers refuse, and why, is tested in test/weights.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError, LLaVA } from '../../lib/index.js'
import { goldenCase } from '../tiny-model.js'
import { randomNumbers } from './golden-models.js'

/** A damaged model must be refused, or opened and asked, in this time; an intact one takes about 10 ms. */
const limitMs = 10_000

const picture = { width: 8, height: 8, data: new Uint8Array(192).fill(90) }

/** Codes that say it is the model's files; a wild size can also ask for more memory than there is, or leave no room for a question. */
const fileCodes: ReadonlySet<string> = new Set(['MODEL_CORRUPT', 'MODEL_UNSUPPORTED', 'MODEL_NOT_FOUND', 'OUT_OF_MEMORY'])
/** Damaged weights give numbers that are none; a damaged context or vocabulary leaves no room, or no tokens, for the question. */
const answerCodes: ReadonlySet<string> = new Set(['INTERNAL', 'CONTEXT_OVERFLOW', 'INVALID_ARGUMENT', 'MODEL_CORRUPT', 'MODEL_UNSUPPORTED', 'OUT_OF_MEMORY'])

/** Opens and asks: the code of the failure, or 'works'. Fails the test for anything that is not a LlavaError of those that fit. */
async function outcome(t: ExecutionContext, location: string, damage: string): Promise<string> {
  const start = performance.now()
  let asked = false
  try {
    await using model = await LLaVA.open(location, { template: 'hf', threads: 1 })
    asked = true
    await model.ask(picture, 'What?', { maxTokens: 2 })
    return 'works'
  } catch (error) {
    if (!(error instanceof LlavaError)) {
      t.fail(`${damage}: ${String((error as Error).stack ?? error)}`)
      return 'untyped'
    }
    t.true((asked ? answerCodes : fileCodes).has(error.code), `${damage}: ${error.code} ${error.message}`)
    return error.code
  } finally {
    const took = performance.now() - start
    t.true(took < limitMs, `${damage} took ${took} ms`)
  }
}

/** Lengths to cut a file to: every one of its first bytes, all around `boundaries`, and some at random. */
function lengths(size: number, boundaries: readonly number[], count: number, seed: number): number[] {
  const next = randomNumbers(seed)
  const wanted = new Set(Array.from({ length: 34 }, (_, length) => length))
  for (const boundary of [...boundaries, size]) for (const near of [-1, 0, 1]) wanted.add(boundary + near)
  while (wanted.size < count) wanted.add(Math.floor(next() * size))
  return [...wanted].filter((length) => length >= 0 && length < size)
}

/** Where a safetensors header, or a GGUF one, ends and its parts begin: after each name that stands in it. */
function headerBoundaries(bytes: Buffer, headerEnd: number): number[] {
  const text = bytes.toString('latin1', 0, headerEnd)
  const found = [...text.matchAll(/data_offsets|"shape"|general\.|llama\.|clip\.|tokenizer\.|blk\.\d|v\.blk/g)].map(({ index }) => index)
  return [headerEnd, ...found.filter((_, i) => i % 4 === 0)]
}

interface Victim {
  readonly checkpoint: string
  /** The file that is damaged; the checkpoint itself, or one in its directory. */
  readonly file: string
  readonly headerEnd: (bytes: Buffer) => number
}

const safetensorsHeaderEnd = (bytes: Buffer) => 8 + Number(bytes.readBigUInt64LE(0))
/** The tensor infos of these files end within the first third; what is beyond is weights. */
const ggufHeaderEnd = (bytes: Buffer) => {
  const last = bytes.lastIndexOf('.weight', Math.floor(bytes.length / 2))
  return last + 60
}

const victims: readonly Victim[] = [
  { checkpoint: 'gguf-single-f16', file: 'model.gguf', headerEnd: ggufHeaderEnd },
  { checkpoint: 'gguf-pair-q4_0', file: 'model-q4_0.gguf', headerEnd: ggufHeaderEnd },
  { checkpoint: 'gguf-pair-q4_0', file: 'mmproj-q4_0.gguf', headerEnd: ggufHeaderEnd },
  { checkpoint: 'hf-f32', file: 'model.safetensors', headerEnd: safetensorsHeaderEnd },
  { checkpoint: 'hf-4x-names', file: 'model-00002-of-00002.safetensors', headerEnd: safetensorsHeaderEnd },
  { checkpoint: 'hf-4x-names', file: 'model.safetensors.index.json', headerEnd: (bytes) => bytes.length },
  { checkpoint: 'hf-f32', file: 'config.json', headerEnd: (bytes) => bytes.length },
  { checkpoint: 'hf-f32', file: 'tokenizer.json', headerEnd: (bytes) => bytes.length },
  { checkpoint: 'hf-4x-names', file: 'tokenizer.model', headerEnd: (bytes) => bytes.length },
  { checkpoint: 'hf-f32', file: 'processor_config.json', headerEnd: (bytes) => bytes.length },
]

/** Runs `work` with a copy of the checkpoint: where to open it, and a way to replace the victim's bytes. */
async function withCopy(victim: Victim, work: (location: string, bytes: Buffer, replace: (damaged: Buffer) => Promise<void>) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  const { model } = goldenCase(victim.checkpoint)
  const source = model.endsWith('.gguf') ? path.dirname(model) : model
  try {
    await cp(source, folder, { recursive: true })
    const file = path.join(folder, victim.file)
    const location = model.endsWith('.gguf') ? path.join(folder, path.basename(model)) : folder
    await work(location, await readFile(file), async (damaged) => {
      await rm(file) // a mapping of the one before, should there be any, keeps its own file
      await writeFile(file, damaged)
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

for (const [seed, victim] of victims.entries()) {
  const { checkpoint, file } = victim
  const count = /gguf$|model\.safetensors$/.test(file) ? 100 : 40

  test.serial(`${checkpoint}: ${file} cut short anywhere is refused with a typed error`, async (t) => {
    await withCopy(victim, async (location, bytes, replace) => {
      t.is(await outcome(t, location, 'intact'), 'works')
      for (const length of lengths(bytes.length, headerBoundaries(bytes, victim.headerEnd(bytes)), count, seed)) {
        await replace(bytes.subarray(0, length))
        const result = await outcome(t, location, `cut to ${length} of ${bytes.length}`)
        // the last byte of a JSON text may be white space
        if (!(file.endsWith('.json') && length === bytes.length - 1)) t.not(result, 'works', `cut to ${length}`)
      }
    })
  })

  test.serial(`${checkpoint}: ${file} with a bit of its header flipped is refused with a typed error, or still answers`, async (t) => {
    await withCopy(victim, async (location, bytes, replace) => {
      const next = randomNumbers(seed + 100)
      const headerEnd = victim.headerEnd(bytes)
      const outcomes: Record<string, number> = {}
      for (let i = 0; i < count; i++) {
        const [at, bit] = [Math.floor(next() * headerEnd), Math.floor(next() * 8)]
        const damaged = Buffer.from(bytes)
        damaged[at]! ^= 1 << bit
        await replace(damaged)
        const result = await outcome(t, location, `bit ${bit} of byte ${at}`)
        outcomes[result] = (outcomes[result] ?? 0) + 1
      }
      t.log(JSON.stringify(outcomes))
    })
  })
}

for (const [checkpoint, file] of [
  ['hf-f32', 'model.safetensors'],
  ['gguf-single-f16', 'model.gguf'],
] as const) {
  test.serial(`${checkpoint}: weights of random bits give an answer or a typed error`, async (t) => {
    const victim = victims.find((one) => one.checkpoint === checkpoint && one.file === file)!
    await withCopy(victim, async (location, bytes, replace) => {
      const next = randomNumbers(7)
      for (let i = 0; i < 10; i++) {
        const damaged = Buffer.from(bytes)
        const from = victim.headerEnd(bytes) + 4096
        for (let at = from; at < damaged.length; at += 1 + Math.floor(next() * 200)) damaged[at] = Math.floor(next() * 256)
        await replace(damaged)
        await outcome(t, location, `random weights ${i}`)
      }
    })
  })
}
