// A whole model of LLaVA 1.5's shape with random weights: opening, picture, prefill and decode against the roofs, memory, and how threads and batches scale.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LLaVA, type BenchmarkLine, type Dtype, type Isa } from '../lib/index.js'
import { decoders, type DecoderName } from './shapes.js'
import { median } from '../lib/benchmark/statistics.js'
import { writeSyntheticModel } from './synthetic-model.js'

export interface ModelBenchOptions {
  /** A GGUF or checkpoint to time; default: random weights of the shape and types below, in a temporary folder. */
  readonly model?: string
  readonly shape?: DecoderName
  /** Of the decoder; 8 (default) show the same rates as all, in a quarter of the time. */
  readonly layers?: number
  readonly type?: Dtype
  readonly visionType?: Dtype
  readonly isa?: Isa
  /** A run for each; default: one, with all the process may use. */
  readonly threads?: readonly number[]
  /** Prompt lengths; default 512 and 2048. Decoding follows the first. */
  readonly prompts?: readonly number[]
  /** Tokens to decode; default 16. */
  readonly generate?: number
  /** Texts decoded side by side; default 1, 8 and 16. */
  readonly sequences?: readonly number[]
  /** Pictures a call; default 2. */
  readonly images?: number
  /** Repetitions, of which the median counts; default 3. */
  readonly repeat?: number
  /** What to call the CPU; default: what it calls itself, which may not say its generation. */
  readonly cpu?: string
  readonly signal?: AbortSignal
}

/** What was timed. */
export interface ModelUnderTest {
  readonly device: string
  /** `7B, 8 layers, Q4_0, picture F16`, or the model's own name. */
  readonly model: string
  readonly threads: number
}

export type ModelLine =
  | (ModelUnderTest &
      BenchmarkLine & {
        readonly kind: 'model'
        /** Of a prefill: time per position, over that of the first prompt. */ readonly perTokenOfFirst?: number
      })
  | (ModelUnderTest & {
      readonly kind: 'open'
      /** Median of the repetitions, with the file in the page cache. */ readonly milliseconds: number
    })
  | (ModelUnderTest & { readonly kind: 'memory' } & MemoryLine)

export interface MemoryLine {
  /** Resident memory that opening and a prompt of `positions` added, file pages apart; absent where /proc is. */
  readonly residentBytes?: number
  readonly kvCacheBytes: number
  readonly scratchBytes: number
  readonly weightsMappedBytes: number
  readonly positions: number
}

/** Decoding side by side begins after this many positions: prefills are not what is timed there. */
export const batchPrompt = 64

export async function* runModelBench(options: ModelBenchOptions = {}): AsyncGenerator<ModelLine, void, undefined> {
  if (options.model !== undefined) {
    yield* runs(options.model, options)
    return
  }
  const { shape = '7b', layers = 8, type = 'Q4_0', visionType = 'F16' } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    const file = await writeSyntheticModel(directory, { ...decoders[shape], layers }, type, visionType)
    yield* runs(file, options, `${shape.toUpperCase()}, ${layers} layers, ${type}, picture ${visionType}`)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function* runs(
  file: string,
  options: ModelBenchOptions,
  name?: string,
): AsyncGenerator<ModelLine, void, undefined> {
  for (const threads of options.threads ?? [0]) yield* run(file, threads, options, name)
}

async function* run(
  file: string,
  threads: number,
  options: ModelBenchOptions,
  name?: string,
): AsyncGenerator<ModelLine, void, undefined> {
  const before = await anonymousBytes()
  const { milliseconds, model } = await timeOpen(file, threads, options)
  try {
    const info = model.info()
    const subject = { device: options.cpu ?? info.device, model: name ?? info.card.name, threads: info.threads }
    yield { kind: 'open', ...subject, milliseconds }
    yield { kind: 'memory', ...subject, ...(await memory(model, before)) }
    for await (const line of stages(model, options)) yield { kind: 'model', ...subject, ...line }
  } finally {
    model.dispose()
  }
}

async function timeOpen(
  file: string,
  threads: number,
  { isa, repeat = 3 }: ModelBenchOptions,
): Promise<{ milliseconds: number; model: LLaVA }> {
  const open = () => LLaVA.open(file, { ...(threads > 0 && { threads }), ...(isa && { isa }) })
  const times: number[] = []
  for (let n = 0; n < repeat; n++) {
    const start = performance.now()
    const model = await open()
    times.push(performance.now() - start)
    model.dispose()
  }
  return { milliseconds: median(times), model: await open() }
}

/** One call of `benchmark` for the first prompt, one for each other prompt, one for each number of texts. */
async function* stages(
  model: LLaVA,
  options: ModelBenchOptions,
): AsyncGenerator<BenchmarkLine & { readonly perTokenOfFirst?: number }, void, undefined> {
  const { prompts = [512, 2048], generate = 16, sequences = [1, 8, 16], images = 2, repeat = 3, signal } = options
  const shared = { repeat, ...(signal && { signal }) }
  const [first = 512, ...longer] = prompts
  let rate = Number.NaN
  for await (const line of model.benchmark({ ...shared, prompt: first, generate, images })) {
    if (line.what === 'prefill') rate = line.tokensPerSecond
    yield line
  }
  for (const prompt of longer) {
    for await (const line of model.benchmark({ ...shared, prompt, generate: 0, images: 0 }))
      yield { ...line, perTokenOfFirst: rate / line.tokensPerSecond }
  }
  for (const count of sequences.filter((count) => count > 1)) {
    for await (const line of model.benchmark({ ...shared, prompt: batchPrompt, generate, sequences: count, images: 0 }))
      if (line.what === 'decode') yield line
  }
}

async function memory(model: LLaVA, before: number | undefined): Promise<MemoryLine> {
  using context = model.createContext()
  await context.forward([new Int32Array(batchPrompt).fill(5)])
  const after = await anonymousBytes()
  const { kvCache, scratch, weightsMapped } = model.info().memory
  return {
    ...(before !== undefined && after !== undefined && { residentBytes: after - before }),
    kvCacheBytes: kvCache,
    scratchBytes: scratch,
    weightsMappedBytes: weightsMapped,
    positions: context.length,
  }
}

/** Resident memory of this process that no file stands behind. */
async function anonymousBytes(): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1]
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
}
