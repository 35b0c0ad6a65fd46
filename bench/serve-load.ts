// Many questions to one model: one after another with nothing kept between them, and all at once. Random weights of LLaVA 1.5's 7B shape with few layers; answers of a fixed length.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LLaVA, type Dtype } from '../lib/index.js'
import { median } from '../lib/benchmark/statistics.js'
import { decoders } from './shapes.js'
import { writeSyntheticModel } from './synthetic-model.js'

export interface ServeLoadOptions {
  /** Default: all the process may use. */
  readonly threads?: number
  /** Default 8. */
  readonly layers?: number
  /** Of the decoder's weights; default Q4_0. The tower's are Q8_0. */
  readonly type?: Dtype
  /** Default 16. */
  readonly questions?: number
  /** Tokens of a prompt; default 64. */
  readonly prompt?: number
  /** Tokens of an answer; default 32. */
  readonly answer?: number
  /** Turns, of which the median counts; default 3. */
  readonly repeat?: number
}

/** What one way of asking takes; medians of the turns. */
export interface ServeLoadTimes {
  /** From the first question to the last token. */
  readonly seconds: number
  /** Mean over the questions, counted from when all are asked. */
  readonly firstTokenMs: number
  /** Longest wait of an answer for its next token. */
  readonly longestGapMs: number
}

export interface ServeLoadLine {
  readonly device: string
  readonly model: string
  readonly asked: Asked
  readonly questions: number
  readonly threads: number
  readonly inTurns: ServeLoadTimes
  readonly atOnce: ServeLoadTimes
  /** inTurns.seconds / atOnce.seconds */
  readonly ratio: number
  /** About one picture: a second question of 12 tokens. */
  readonly second?: {
    /** Milliseconds to its first token, and of the first question. */
    readonly firstTokenMs: number
    readonly coldFirstTokenMs: number
  }
}

/** Text alone, with a picture of its own each, or all about one. */
const kinds = ['text', 'a picture each', 'one picture'] as const
export type Asked = (typeof kinds)[number]

export async function* measureServeLoad(options: ServeLoadOptions = {}): AsyncGenerator<ServeLoadLine> {
  const { threads, layers = 8, type = 'Q4_0' } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    const file = await writeSyntheticModel(directory, { ...decoders['7b'], layers }, type, 'Q8_0')
    using model = await LLaVA.open(file, threads === undefined ? {} : { threads })
    for (const asked of kinds) yield await measure(model, `7B, ${layers} layers, ${type}`, asked, options)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function measure(
  model: LLaVA,
  name: string,
  asked: Asked,
  { questions = 16, prompt = 64, answer = 32, repeat = 3 }: ServeLoadOptions,
): Promise<ServeLoadLine> {
  const ask = (n: number, tokens = prompt) => {
    const picture = asked === 'text' ? undefined : asked === 'one picture' ? 0 : n
    return timeOf(model, picture, questionOf(model, n, tokens), answer)
  }
  const inTurns: ServeLoadTimes[] = []
  const atOnce: ServeLoadTimes[] = []
  for (let turn = 0; turn < repeat; turn++) {
    const start = performance.now()
    const each: Written[] = []
    for (let n = 0; n < questions; n++) {
      model.clearCaches()
      each.push(await ask(n))
    }
    inTurns.push(timesOf(each, start))
    model.clearCaches()
    const begin = performance.now()
    atOnce.push(timesOf(await Promise.all(Array.from({ length: questions }, (_, n) => ask(n))), begin))
  }
  const { device, threads } = model.info()
  const measured = { inTurns: medians(inTurns), atOnce: medians(atOnce) }
  const ratio = measured.inTurns.seconds / measured.atOnce.seconds
  const line = { device, model: name, asked, questions, threads, ...measured, ratio }
  return asked === 'one picture' ? { ...line, second: await askTwice(model, ask, repeat) } : line
}

/** A question about a picture that nobody asked about before, and one of 12 tokens after it. */
async function askTwice(
  model: LLaVA,
  ask: (n: number, tokens?: number) => Promise<Written>,
  repeat: number,
): Promise<NonNullable<ServeLoadLine['second']>> {
  const firstToken = async (n: number, tokens?: number) => {
    const start = performance.now()
    return ((await ask(n, tokens))[0] ?? start) - start
  }
  const cold: number[] = []
  const second: number[] = []
  for (let turn = 0; turn < repeat; turn++) {
    model.clearCaches()
    cold.push(await firstToken(1))
    second.push(await firstToken(2, 12))
  }
  return { firstTokenMs: median(second), coldFirstTokenMs: median(cold) }
}

/** When each token of an answer came. */
type Written = readonly number[]

/** `picture`: which one, if any. */
async function timeOf(model: LLaVA, picture: number | undefined, question: string, answer: number): Promise<Written> {
  const times: number[] = []
  const { imageSize: size } = model.info().vision ?? { imageSize: 1 }
  const pixels = (n: number) => ({ width: size, height: size, data: new Uint8Array(size * size * 3).fill(90 + n) })
  await model.ask(picture === undefined ? [] : [pixels(picture)], question, {
    template: 'plain',
    maxTokens: answer,
    minTokens: answer,
    temperature: 0,
    promptLookupTokens: 0,
    onProgress({ stage, done }) {
      if (stage === 'generate' && done > 0) times.push(performance.now())
    },
  })
  return times
}

/** A text of about so many tokens. */
function questionOf(model: LLaVA, n: number, tokens: number): string {
  let text = `${n}`
  while (model.tokenize(text).length < tokens) text += ` ${n}`
  return text
}

function timesOf(answers: readonly Written[], start: number): ServeLoadTimes {
  const last = Math.max(...answers.map((times) => times.at(-1) ?? start))
  const first = answers.map((times) => (times[0] ?? start) - start)
  const gaps = answers.flatMap((times) => times.slice(1).map((time, n) => time - (times[n] as number)))
  return {
    seconds: (last - start) / 1000,
    firstTokenMs: first.reduce((sum, time) => sum + time, 0) / first.length,
    longestGapMs: Math.max(0, ...gaps),
  }
}

function medians(turns: readonly ServeLoadTimes[]): ServeLoadTimes {
  const of = (name: keyof ServeLoadTimes) => median(turns.map((turn) => turn[name]))
  return { seconds: of('seconds'), firstTokenMs: of('firstTokenMs'), longestGapMs: of('longestGapMs') }
}
