// What is left of our speed where other processes keep cores busy: one thread and several, on an idle machine and on a busy one, in turns within one run.
//   Stages: picture, prefill and decode of the model that comes with the package and of a random one of LLaVA 1.5's 7B shape with few layers,
//   and 200 questions at once. The goal of a stage: several threads under load reach 0.9 of one thread under load.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { LLaVA, type Dtype } from '../lib/index.js'
import { median } from '../lib/benchmark/statistics.js'
import { decoders } from './shapes.js'
import { writeSyntheticModel } from './synthetic-model.js'

export interface NeighbourOptions {
  /** Held against one thread; default: all the process may use. */
  readonly threads?: number
  /** Busy processes beside ours; default: half as many as there are CPUs. */
  readonly busy?: number
  /** Of the 7B shape; default 2. */
  readonly layers?: number
  /** Of its weights; default Q4_0. */
  readonly type?: Dtype
  /** Turns, of which the median counts; default 5. */
  readonly repeat?: number
}

export interface NeighbourLine {
  readonly device: string
  readonly model: string
  readonly stage: string
  /** Of the rates. */
  readonly unit: string
  readonly threads: number
  readonly busy: number
  /** Medians. */
  readonly idle: Rates
  readonly loaded: Rates
  /** loaded.several / loaded.one */
  readonly ratio: number
}

interface Rates {
  /** With one thread. */
  readonly one: number
  /** With `threads`. */
  readonly several: number
}

/** Work on one model; resolves to how much of it was done. */
interface Stage {
  readonly name: string
  readonly unit: string
  prepare(model: LLaVA): Repeated | Promise<Repeated>
}

type Repeated = () => Promise<number>

/** Of one measurement, at least: a hundred time slices of the operating system. */
const milliseconds = 400
const promptTokens = 256
const decodedTokens = 16
const questions = 200
const picturePath = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../models/demo.png')

export async function* measureNeighbours(options: NeighbourOptions = {}): AsyncGenerator<NeighbourLine> {
  const { layers = 2, type = 'Q4_0' } = options
  yield* measureModel(undefined, 'embedded', [picture, prefill, decode, asking], options)
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    const file = await writeSyntheticModel(directory, { ...decoders['7b'], layers }, type, 'Q8_0')
    yield* measureModel(file, `7B, ${layers} layers, ${type}`, [picture, prefill, decode], options)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function* measureModel(
  file: string | undefined,
  name: string,
  stages: readonly Stage[],
  options: NeighbourOptions,
): AsyncGenerator<NeighbourLine> {
  const { threads, busy = Math.ceil(availableParallelism() / 2), repeat = 5 } = options
  using one = await LLaVA.open(file, { threads: 1 })
  using several = await LLaVA.open(file, threads === undefined ? {} : { threads })
  const { device, threads: count } = several.info()
  for (const stage of stages) {
    const { idle, loaded } = await inTurns(await stage.prepare(one), await stage.prepare(several), busy, repeat)
    const measured = { idle, loaded, ratio: loaded.several / loaded.one }
    yield { device, model: name, stage: stage.name, unit: stage.unit, threads: count, busy, ...measured }
  }
}

/** Idle and loaded, one thread and several, all of them once a turn; the first turn warms up. */
async function inTurns(
  one: Repeated,
  several: Repeated,
  busy: number,
  repeat: number,
): Promise<{ readonly idle: Rates; readonly loaded: Rates }> {
  const idle: Rates[] = []
  const loaded: Rates[] = []
  const both = async (): Promise<Rates> => ({
    one: await rateOf(one),
    several: await rateOf(several),
  })
  await both()
  for (let turn = 0; turn < repeat; turn++) {
    idle.push(await both())
    const neighbours = await startNeighbours(busy)
    try {
      loaded.push(await both())
    } finally {
      await stopNeighbours(neighbours)
    }
  }
  return { idle: medians(idle), loaded: medians(loaded) }
}

function medians(rates: readonly Rates[]): Rates {
  return { one: median(rates.map(({ one }) => one)), several: median(rates.map(({ several }) => several)) }
}

/** Work per second. */
async function rateOf(work: Repeated): Promise<number> {
  const start = performance.now()
  const elapsed = () => performance.now() - start
  let done = await work()
  while (elapsed() < milliseconds) done += await work()
  return (done / elapsed()) * 1000
}

/** Computes without end, and ends when its standard input does: with this process, whatever becomes of it. */
const neighbour = `process.stdin.on('end', () => process.exit()).resume()
  const spin = () => { for (const start = Date.now(); Date.now() - start < 50; ); setImmediate(spin) }
  spin()`

async function startNeighbours(count: number): Promise<readonly ChildProcess[]> {
  const started = Array.from({ length: count }, () =>
    spawn(process.execPath, ['-e', neighbour], { stdio: ['pipe', 'ignore', 'ignore'] }),
  )
  await Promise.all(started.map((one) => once(one, 'spawn')))
  await pause(200) // Node has started by then
  return started
}

async function stopNeighbours(neighbours: readonly ChildProcess[]): Promise<void> {
  await Promise.all(
    neighbours.map(async (one) => {
      const ended = once(one, 'exit')
      one.kill('SIGKILL')
      await ended
    }),
  )
}

const picture: Stage = {
  name: 'picture',
  unit: 'pictures/s',
  prepare(model) {
    const { imageSize } = model.info().vision ?? { imageSize: 1 }
    const image = { width: imageSize, height: imageSize, data: new Uint8Array(imageSize * imageSize * 3).fill(90) }
    return async () => {
      ;(await model.encodeImage(image)).dispose()
      return 1
    }
  },
}

const prefill: Stage = {
  name: 'prefill',
  unit: 'tokens/s',
  prepare(model) {
    const context = model.createContext()
    const tokens = Int32Array.from({ length: promptTokens }, (_, n) => 300 + n)
    return async () => {
      context.truncate(0)
      await context.forward([tokens])
      return promptTokens
    }
  },
}

const decode: Stage = {
  name: 'decode',
  unit: 'tokens/s',
  async prepare(model) {
    const context = model.createContext()
    const tokens = Int32Array.from({ length: promptTokens }, (_, n) => 300 + n)
    await context.forward([tokens])
    return async () => {
      for (let n = 0; n < decodedTokens; n++) await context.forward([[400 + n]])
      context.truncate(promptTokens)
      return decodedTokens
    }
  },
}

const asking: Stage = {
  name: `${questions} questions at once`,
  unit: 'answers/s',
  async prepare(model) {
    const encoded = await model.encodeImage(picturePath)
    return async () => {
      const ask = (_: unknown, n: number) => model.ask(encoded, `What is in this picture? (${n})`, { maxTokens: 8 })
      await Promise.all(Array.from({ length: questions }, ask))
      return questions
    }
  },
}
