// Picture, prefill and decode against the roofs of this machine, measured in the same run on the same threads and ISA.
// achieved = work over compute time, barrier to barrier, median of the repetitions; what counts as work: bench-work.ts; which roof binds: roofline.ts.

import {
  boundedPeak,
  computeBound,
  type ComputeBound,
  decodeOperations,
  decodeWeightBytes,
  imageOperations,
  kvBytes,
  prefillOperations,
} from './work.js'
import type { Engine } from '../engine/engine.js'
import type { Job } from '../engine/job.js'
import type { DeviceIsa, Dtype, NativeSequence } from '../native.js'
import { place, type Roofs, type Work } from './roofline.js'
import { median } from './statistics.js'

export interface BenchmarkOptions {
  /** Positions to prefill; default 512, or what the context has room for. */
  readonly prompt?: number
  /** Tokens to decode after the prompt; default 32. */
  readonly generate?: number
  /** Texts decoded side by side; default 1. */
  readonly sequences?: number
  /** Pictures per encode call; default 2. */
  readonly images?: number
  /** Repetitions, of which the median counts; default 5. */
  readonly repeat?: number
  readonly signal?: AbortSignal
}

/** One stage against its roof. */
export interface BenchmarkLine {
  /** `image`: pixel_values → projected rows; `prefill`: prompt → last logits; `decode`: token by token. */
  readonly what: 'image' | 'prefill' | 'decode'
  /** Pictures a call, or texts side by side. */
  readonly sequences: number
  /** Picture rows, prompt positions, or tokens of all texts, of one repetition. */
  readonly tokens: number
  readonly tokensPerSecond: number
  /** In `unit`. */
  readonly achieved: number
  /** This machine's, in `unit`. */
  readonly peak: number
  readonly unit: string
  /** The instruction mix or traffic of the roof that binds, which `peak` was measured with. */
  readonly roof: string
  /** achieved / peak */
  readonly ratio: number
  readonly threads: number
  readonly isa: DeviceIsa
  /** Of the weights. */
  readonly dtype: string
}

interface Measured {
  readonly what: BenchmarkLine['what']
  readonly sequences: number
  readonly tokens: number
  /** Of one repetition. */
  readonly work: Work
  /** Compute time of each repetition. */
  readonly milliseconds: readonly number[]
  /** Measured just before. */
  readonly roofs: Roofs
  readonly dtype: string
}

/** See `LLaVA.benchmark`. */
export async function* runBenchmark(
  engine: Engine,
  options: BenchmarkOptions,
): AsyncGenerator<BenchmarkLine, void, undefined> {
  const { generate = 32, images = 2, repeat = 5, sequences = 1, signal } = options
  const { prompt = Math.max(1, Math.min(512, engine.config.text.contextLength - generate)) } = options
  engine.checkAlive()
  engine.checkContext(prompt + generate, 0)
  const time = async (stage: (job: Job) => Promise<Measured>) => line(engine, await engine.run(signal, stage))
  if (images > 0 && engine.config.vision !== undefined)
    yield await time((job) => timeImages(engine, images, repeat, job))
  const sequence = engine.createSequence()
  try {
    yield await time((job) => timePrefill(engine, sequence, prompt, repeat, job))
    if (generate > 0) yield await time((job) => timeDecode(engine, sequence, prompt, generate, sequences, repeat, job))
  } finally {
    sequence.dispose()
  }
}

async function timeImages(engine: Engine, images: number, repeat: number, job: Job): Promise<Measured> {
  const size = engine.config.vision?.imageSize ?? 0
  const random = uniform()
  const pixelValues = Array.from({ length: images }, () =>
    Float32Array.from({ length: 3 * size * size }, () => 4 * random() - 2),
  )
  const dtype = mostBytes(engine, inTower)
  const roofs = await measureRoofs(engine, dtype, engine.rowsPerImage)
  const milliseconds: number[] = []
  for (let n = -1; n < repeat; n++) {
    const encoded = await Promise.all(pixelValues.map((each) => engine.encode(each, ['projected'], job)))
    for (const { image } of encoded) image.dispose()
    if (n >= 0) milliseconds.push(encoded.reduce((sum, { computeMs }) => sum + computeMs, 0)) // the first one warms up
  }
  const work = { operations: images * imageOperations(engine.config), read: bytesOf(engine, inTower), written: 0 }
  return { what: 'image', sequences: images, tokens: images * engine.rowsPerImage, work, milliseconds, roofs, dtype }
}

/** Leaves the sequence with the prompt in it. */
async function timePrefill(
  engine: Engine,
  sequence: NativeSequence,
  prompt: number,
  repeat: number,
  job: Job,
): Promise<Measured> {
  const { vocabSize } = engine.config.text
  const logits = new Float32Array(vocabSize)
  const random = uniform()
  const tokens = Int32Array.from({ length: prompt }, () => Math.floor(random() * vocabSize))
  const dtype = engine.description.card.languageDtype
  const roofs = await measureRoofs(engine, dtype, prompt)
  // warms up: every weight is read once
  await engine.append(sequence, [{ tokens: tokens.subarray(0, 1) }], { logits }, job)
  const milliseconds: number[] = []
  for (let n = 0; n < repeat; n++) {
    sequence.truncate(0)
    milliseconds.push(await engine.append(sequence, [{ tokens }], { logits }, job))
  }
  const work = {
    operations: prefillOperations(engine.config, prompt),
    read: decodeWeightBytes(engine.description.tensors),
    written: 0,
  }
  return { what: 'prefill', sequences: 1, tokens: prompt, work, milliseconds, roofs, dtype }
}

/** Begins with the prompt in the sequence; the others are its forks. */
async function timeDecode(
  engine: Engine,
  sequence: NativeSequence,
  prompt: number,
  generate: number,
  count: number,
  repeat: number,
  job: Job,
): Promise<Measured> {
  const { vocabSize } = engine.config.text
  const dtype = engine.description.card.languageDtype
  const logits = new Float32Array(count * vocabSize)
  const random = uniform()
  const roofs = await measureRoofs(engine, dtype, count)
  const sequences = [sequence, ...Array.from({ length: count - 1 }, () => sequence.fork())]
  const milliseconds: number[] = []
  try {
    for (let n = 0; n < repeat; n++) {
      for (const each of sequences) each.truncate(prompt)
      let sum = 0
      for (let i = 0; i < generate; i++) {
        const ids = sequences.map(() => Math.floor(random() * vocabSize))
        const tokens = sequences.map((each, row) => {
          const out = logits.subarray(row * vocabSize, (row + 1) * vocabSize)
          return engine.append(each, [{ tokens: Int32Array.of(ids[row] as number) }], { logits: out }, job)
        })
        sum += Math.max(...(await Promise.all(tokens))) // one pass
      }
      milliseconds.push(sum)
    }
  } finally {
    for (const fork of sequences.slice(1)) fork.dispose()
  }
  const work = decodeWork(engine, prompt, generate, count)
  return { what: 'decode', sequences: count, tokens: generate * count, work, milliseconds, roofs, dtype }
}

/** Weights cross once a step for all texts, keys and values for each. */
function decodeWork(engine: Engine, prompt: number, generate: number, count: number): Work {
  let read = generate * decodeWeightBytes(engine.description.tensors)
  let operations = 0
  for (let i = 1; i <= generate; i++) {
    read += count * kvBytes(engine.config, engine.options.kvCache, prompt + i)
    operations += count * decodeOperations(engine.config, prompt + i)
  }
  return { operations, read, written: 0 }
}

function line(engine: Engine, { what, sequences, tokens, work, milliseconds, roofs, dtype }: Measured): BenchmarkLine {
  const { threads, isa } = engine.nativeInfo()
  const nanoseconds = median(milliseconds) * 1e6
  const { achieved, peak, unit, mix, ratio } = place(work, nanoseconds, roofs)
  return {
    what,
    sequences,
    tokens,
    tokensPerSecond: (tokens / nanoseconds) * 1e9,
    achieved,
    peak,
    unit,
    roof: mix,
    ratio,
    threads,
    isa,
    dtype,
  }
}

async function measureRoofs(engine: Engine, dtype: string, rows: number): Promise<Roofs> {
  const bound: ComputeBound =
    engine.options.arithmetic === 'exact'
      ? { kind: 'fma', products: 1 }
      : computeBound(dtype, rows, engine.nativeInfo())
  return {
    compute: boundedPeak(await engine.measurePeak(bound.kind), bound),
    reads: await engine.measurePeak('read'),
  }
}

function inTower(name: string): boolean {
  return name.startsWith('vision_tower.') || name.startsWith('multi_modal_projector.')
}

function bytesOf(engine: Engine, wanted: (name: string) => boolean): number {
  return engine.description.tensors.reduce((sum, { name, nbytes }) => sum + (wanted(name) ? nbytes : 0), 0)
}

/** The dtype that most bytes of some tensors have. */
function mostBytes(engine: Engine, wanted: (name: string) => boolean): string {
  const bytes = new Map<Dtype, number>()
  for (const { name, dtype, nbytes } of engine.description.tensors)
    if (wanted(name)) bytes.set(dtype, (bytes.get(dtype) ?? 0) + nbytes)
  return [...bytes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'F32'
}

/** The same numbers in [0, 1) on every run (a linear congruential generator with the constants of Numerical Recipes). */
function uniform(): () => number {
  let state = 1
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
