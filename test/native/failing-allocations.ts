// What failing-allocations.test.ts runs in a process of its own, with the probe preloaded: `node failing-allocations.js WORK`.
// The work is done again and again, and each time another allocation of the package's native code fails, the first, the second and so on,
// until none is left. Prints how many there were, and throws on anything that should not be.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { checkModel, convertModel, LLaVA, LlavaError, type EncodedImage } from '../../lib/index.js'
import { native, nativeFailure, type NativeSequence } from '../../lib/native.js'
import { goldenCase } from '../tiny-model.js'
import { loadProbe } from './allocation-probe.js'
import { GoldenModel } from './golden-models.js'
import type { KindOfWork } from './work-that-allocates.js'

const { model: modelPath } = goldenCase('hf-f32')
const goldens = new URL('../../../test/fixtures/golden/', import.meta.url)
const pair = (half: string): string => fileURLToPath(new URL(`gguf-pair-q8_0/checkpoint/${half}-q8_0.gguf`, goldens))
const clip = fileURLToPath(new URL('../../../test/fixtures/clip/checkpoint', import.meta.url))
const picture = { width: 8, height: 8, data: new Uint8Array(192).fill(90) }
/** Too large for one thread, and narrow, so that it is done soon. */
const large = { width: 300, height: 1000, data: new Uint8Array(900_000).fill(90) }
const folder = mkdtempSync(path.join(os.tmpdir(), 'llava-'))
const target = path.join(folder, 'out.gguf')

const open = () => LLaVA.open(modelPath, { template: 'hf', threads: 3 })

/** Made before anything fails, and used by the work; `work` disposes of all that it makes itself, whatever happens, and gives what can be compared. */
interface Task {
  readonly prepare?: () => Promise<Disposable>
  readonly work: (prepared: never) => Promise<unknown>
}

function task<Prepared extends Disposable>(prepare: () => Promise<Prepared>, work: (prepared: Prepared) => Promise<unknown>): Task {
  return { prepare, work }
}

const tasks: Readonly<Record<KindOfWork, Task>> = {
  'a model is opened': {
    async work() {
      using model = await open()
      return model.info().contextLength
    },
  },
  'a quantised pair with an adapter is opened': {
    async work() {
      using model = await LLaVA.open(pair('model'), { mmproj: pair('mmproj'), adapter: fileURLToPath(new URL('gguf-lora/adapter.gguf', goldens)), threads: 3 })
      return model.info().contextLength
    },
  },
  'a picture is encoded': task(open, async (model) => {
    using image = await model.encodeImage(picture)
    return [...image.projected(), ...image.features()]
  }),
  'a picture is read by several threads': task(open, async (model) => [...(await model.pixelValues(large)).subarray(0, 100)]),
  'a text is forwarded': task(open, async (model) => {
    using context = model.createContext()
    return [...(await context.forward([Array.from({ length: 130 }, (_, n) => n + 3)]))]
  }),
  'a context is forked, goes on and is cut': task(open, async (model) => {
    using context = model.createContext()
    await context.forward([[1, 5, 6]])
    using fork = context.fork()
    const logits = await fork.forward([[7, 8]])
    fork.truncate(2)
    return [context.length, fork.length, ...logits]
  }),
  'a text is forwarded beside one that is cancelled': task(
    () => GoldenModel.open('hf-f32'),
    async (golden) => {
      const made: NativeSequence[] = []
      const logits = new Float32Array(2 * golden.config.text.vocabSize)
      const text = golden.tokens(1, 70)
      try {
        for (let n = 0; n < 2; n++) made.push(golden.model.createSequence())
        const [kept, cancelled] = made as [NativeSequence, NativeSequence]
        const cancellation = new (native().Cancellation)()
        cancellation.cancel()
        const { failures } = await golden.model.forward([{ sequence: kept, segments: [text], logits: 'last', cancellation: null }, { sequence: cancelled, segments: [text], logits: 'last', cancellation }], logits)
        const [failure, code] = [failures[0] ?? null, (failures[1] as { readonly code?: string } | null)?.code]
        if (code !== 'ABORTED' || kept.length !== (failure === null ? 70 : 0) || cancelled.length !== 0)
          throw new Error(`the steps ended with ${String(failure)} and ${code}, of ${kept.length} and ${cancelled.length} positions`)
        if (failure !== null) throw failure
        return [...logits.subarray(0, logits.length / 2)]
      } catch (error) {
        throw nativeFailure(error, new Error())
      } finally {
        for (const sequence of made) sequence.dispose()
      }
    },
  ),
  'a question is answered several times': task(open, async (model) => {
    const answers = await model.ask(picture, 'What is it?', { answers: 2, maxTokens: 3 })
    return answers.map(({ text }) => text)
  }),
  'a conversation is saved and restored': task(open, async (model) => {
    using conversation = model.createConversation()
    await conversation.say([{ type: 'image', image: picture }, { type: 'text', text: 'What is it?' }], { maxTokens: 2 }).answer
    const saved = await conversation.save({ keysAndValues: true })
    model.clearCaches()
    using restored = await model.restoreConversation(saved, { picture: () => picture })
    const { text, usage } = await restored.say('And?', { maxTokens: 2 }).answer
    return [text, usage]
  }),
  'vectors are made': task(open, async (model) => [...(await model.embed('red', { kind: 'hidden_mean' })).data, ...(await model.embed(picture, { kind: 'projected_mean' })).data]),
  'vectors are made with CLIP': {
    async work() {
      using model = await LLaVA.open(modelPath, { clip, threads: 2 })
      return [...(await model.embed('red', { kind: 'clip_text' })).data, ...(await model.embed(picture, { kind: 'clip_image' })).data]
    },
  },
  'a model is converted': {
    async work() {
      const { files } = await convertModel(modelPath, target, { type: 'q8_0', overwrite: true, threads: 3 })
      return files[0]?.nbytes
    },
  },
  'a model is checked': {
    async work() {
      return (await checkModel(modelPath, { threads: 3 })).sound
    },
  },
  'a model says what it is': task(open, (model) => Promise.resolve(model.info().memory.weightsMapped)),
  'calls are made and not awaited': task(open, async (model) => {
    const calls: Promise<unknown>[] = [model.encodeImage(picture).then((image: EncodedImage) => { image.dispose() }), model.forward([[1, 2]]), model.forward([[3]])]
    const failed = (await Promise.allSettled(calls)).find((call) => call.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }),
}

const probe = loadProbe()
native()
if (probe.watch('llava_native') === 0) throw new Error('the native code is not there to be watched')

const name = process.argv[2] as KindOfWork
if (!Object.hasOwn(tasks, name)) throw new Error(`no work called ${name}`)
const chosen = tasks[name]

async function collected(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    ;(globalThis as unknown as { gc: () => void }).gc()
    await sleep(1)
  }
}

interface Outcome {
  /** As JSON. */
  readonly result?: string
  readonly error?: unknown
  /** Allocations there were. */
  readonly reached: number
}

/** Does the work with allocation `n` failing (0: none). */
async function outcome(work: () => Promise<unknown>, n: number): Promise<Outcome> {
  probe.fail(n)
  try {
    const result = JSON.stringify(await work())
    return { result, reached: probe.reached() }
  } catch (error) {
    return { error, reached: probe.reached() }
  } finally {
    probe.fail(0)
  }
}

/** The same, and once more with what was prepared, where it has to go well. */
async function twice({ prepare, work }: Task, n: number, expected?: string): Promise<Outcome> {
  using prepared = (await prepare?.()) ?? { [Symbol.dispose]: () => undefined }
  const first = await outcome(() => work(prepared as never), n)
  if (first.error === undefined || prepare === undefined) return first
  const { result, error } = await outcome(() => work(prepared as never), 0)
  if (result !== expected) throw new Error(`after allocation ${n} had failed, the work gave ${error === undefined ? result : 'an error'}`, { cause: error })
  return first
}

function checkError(error: unknown, n: number): void {
  if (error instanceof LlavaError && error.code === 'OUT_OF_MEMORY') return
  throw new Error(`allocation ${n} failed, and that came out as ${String(error instanceof LlavaError ? `${error.code} ${error.message}` : error)}`, { cause: error })
}

/** What becomes of the work when allocation `n` fails. The error does not leave this function: its stack holds the model that was at work. */
async function endingWith(n: number, expected: string | undefined): Promise<'failed' | 'harmless' | 'not reached'> {
  const { result, error, reached } = await twice(chosen, n, expected)
  if (error !== undefined) {
    checkError(error, n)
    return 'failed'
  }
  if (reached < n) return 'not reached'
  if (result !== expected) throw new Error(`allocation ${n} failed, and the result was another: ${result}`)
  return 'harmless'
}

async function checkNothingLeft(before: number, from: number, to: number): Promise<void> {
  await collected()
  if (probe.live() > before) throw new Error(`${probe.live() - before} allocations were left behind when one of ${from} to ${to} failed`)
}

/** Often enough to say where a leak is, seldom enough not to spend the time in the collector. */
const leakStride = 40

/** Each of so many places is tried. */
const stride = Number(process.env['ALLOCATION_STRIDE'] ?? 1)

try {
  for (let i = 0; i < 3; i++) await twice(chosen, 0)
  const { result: expected, error: unexpected } = await twice(chosen, 0)
  if (unexpected !== undefined) throw new Error('the work fails though nothing is made to fail', { cause: unexpected })
  await collected()
  const before = probe.live()
  let harmless = 0
  let tried = 0
  let looked = 0 // at which place it was last seen that nothing is left
  let n = 1
  for (; ; n += stride) {
    const ending = await endingWith(n, expected)
    if (ending === 'not reached') break
    if (ending === 'harmless') harmless++
    if (++tried % leakStride !== 0) continue
    await checkNothingLeft(before, looked + 1, n)
    looked = n
  }
  await checkNothingLeft(before, looked + 1, n)
  process.stdout.write(JSON.stringify({ sites: tried, harmless }))
} finally {
  rmSync(folder, { recursive: true })
}
