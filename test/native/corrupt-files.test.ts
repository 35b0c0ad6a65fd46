// Damaged model files, opened as a user would: each gives a LlavaError with a code, or a model that still answers; none a crash, a hang, or
// more memory than the file is worth. A fixed seed chooses the damage. What each reader refuses, and why, is the table of bad-input.test.ts.

import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/index.js'
import { probePath } from './allocation-probe.js'
import { runChild, wellEnded } from './child.js'
import { randomNumbers } from './golden-models.js'
import { lengths, victims, withCopy, withTurnedBits, type Copy } from './victims.js'

/** A damaged model must be refused, or opened and asked, in this time; an intact one takes about 10 ms. */
const limitMs = 10_000

const picture = { width: 8, height: 8, data: new Uint8Array(192).fill(90) }

/** Codes that say it is the model's files; a wild size can also ask for more memory than there is, or leave no room for a question. */
const fileCodes: ReadonlySet<string> = new Set(['MODEL_CORRUPT', 'MODEL_UNSUPPORTED', 'MODEL_NOT_FOUND', 'OUT_OF_MEMORY'])
/** Damaged weights give numbers that are none; a damaged context or vocabulary leaves no room, or no tokens, for the question. */
const answerCodes: ReadonlySet<string> = new Set(['INTERNAL', 'CONTEXT_OVERFLOW', 'INVALID_ARGUMENT', 'MODEL_CORRUPT', 'MODEL_UNSUPPORTED', 'OUT_OF_MEMORY'])

/** Opens and asks: the code of the failure, or 'works'. Fails the test for anything that is not a LlavaError of those that fit. */
async function outcome(t: ExecutionContext, { open }: Copy, damage: string): Promise<string> {
  const start = performance.now()
  let asked = false
  try {
    await using model = await open({ template: 'hf', threads: 1 })
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

/** Where a safetensors header, or a GGUF one, ends and its parts begin: after each name that stands in it. */
function headerBoundaries(bytes: Buffer, headerEnd: number): number[] {
  const text = bytes.toString('latin1', 0, headerEnd)
  const found = [...text.matchAll(/data_offsets|"shape"|general\.|llama\.|clip\.|tokenizer\.|blk\.\d|v\.blk/g)].map(({ index }) => index)
  return [headerEnd, ...found.filter((_, i) => i % 4 === 0)]
}

for (const [seed, victim] of victims.entries()) {
  const { golden, file } = victim
  const count = /model\.gguf$|model\.safetensors$/.test(file) ? 100 : 40

  test.serial(`${golden}: ${file} cut short anywhere is refused with a typed error`, async (t) => {
    await withCopy(victim, async (copy) => {
      const { bytes } = copy
      t.is(await outcome(t, copy, 'intact'), 'works')
      for (const length of lengths(bytes.length, headerBoundaries(bytes, victim.headerEnd(bytes)), count, seed)) {
        await copy.replace(bytes.subarray(0, length))
        const result = await outcome(t, copy, `cut to ${length} of ${bytes.length}`)
        if (length < bytes.length - (victim.spare ?? 0)) t.not(result, 'works', `cut to ${length}`)
      }
    })
  })

  test.serial(`${golden}: ${file} with a bit of its header flipped is refused with a typed error, or still answers`, async (t) => {
    await withCopy(victim, async (copy) => {
      const outcomes: Record<string, number> = {}
      for (const [damage, damaged] of withTurnedBits(copy.bytes, victim.headerEnd(copy.bytes), count, seed + 100)) {
        await copy.replace(damaged)
        const result = await outcome(t, copy, damage)
        outcomes[result] = (outcomes[result] ?? 0) + 1
      }
      t.log(JSON.stringify(outcomes))
    })
  })
}

for (const [golden, file] of [
  ['hf-f32', 'checkpoint/model.safetensors'],
  ['gguf-single-f16', 'checkpoint/model.gguf'],
] as const) {
  test.serial(`${golden}: weights of random bits give an answer or a typed error`, async (t) => {
    const victim = victims.find((one) => one.golden === golden && one.file === file)!
    await withCopy(victim, async (copy) => {
      const next = randomNumbers(7)
      for (let i = 0; i < 10; i++) {
        const damaged = Buffer.from(copy.bytes)
        const from = victim.headerEnd(copy.bytes) + 4096
        for (let at = from; at < damaged.length; at += 1 + Math.floor(next() * 200)) damaged[at] = Math.floor(next() * 256)
        await copy.replace(damaged)
        await outcome(t, copy, `random weights ${i}`)
      }
    })
  })
}

// The probe is for Linux with glibc.
const withProbe = process.platform === 'linux' ? test.serial : test.serial.skip

withProbe('a damaged file of any format never takes more memory than its own size and 64 MiB', async (t) => {
  const { stdout, ...ending } = await runChild('', ['--expose-gc'], { script: 'bounded-memory.js', env: { LD_PRELOAD: probePath } })
  t.deepEqual({ ...ending, stdout: '' }, wellEnded(''))
  t.log(stdout)
})
