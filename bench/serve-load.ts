// Many questions to one model: one after another, and all at once. Random weights of LLaVA 1.5's 7B shape with few layers; answers of a fixed length.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LLaVA, type Dtype } from '../lib/index.js'
import { median } from '../lib/statistics.js'
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
  /** Pictures of a question. */
  readonly pictures: number
  readonly questions: number
  readonly threads: number
  readonly inTurns: ServeLoadTimes
  readonly atOnce: ServeLoadTimes
  /** inTurns.seconds / atOnce.seconds */
  readonly ratio: number
}

export async function* measureServeLoad(options: ServeLoadOptions = {}): AsyncGenerator<ServeLoadLine> {
  const { threads, layers = 8, type = 'Q4_0' } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    const file = await writeSyntheticModel(directory, { ...decoders['7b'], layers }, type, 'Q8_0')
    using model = await LLaVA.open(file, threads === undefined ? {} : { threads })
    for (const pictures of [0, 1]) yield await measure(model, `7B, ${layers} layers, ${type}`, pictures, options)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function measure(
  model: LLaVA,
  name: string,
  pictures: number,
  { questions = 16, prompt = 64, answer = 32, repeat = 3 }: ServeLoadOptions,
): Promise<ServeLoadLine> {
  const ask = (n: number) => timeOf(model, n, pictures, prompt, answer)
  const inTurns: ServeLoadTimes[] = []
  const atOnce: ServeLoadTimes[] = []
  for (let turn = 0; turn < repeat; turn++) {
    const start = performance.now()
    const each: Written[] = []
    for (let n = 0; n < questions; n++) each.push(await ask(n))
    inTurns.push(timesOf(each, start))
    const begin = performance.now()
    atOnce.push(timesOf(await Promise.all(Array.from({ length: questions }, (_, n) => ask(n))), begin))
  }
  const { device, threads } = model.info()
  const measured = { inTurns: medians(inTurns), atOnce: medians(atOnce) }
  const ratio = measured.inTurns.seconds / measured.atOnce.seconds
  return { device, model: name, pictures, questions, threads, ...measured, ratio }
}

/** When each token of an answer came. */
type Written = readonly number[]

async function timeOf(model: LLaVA, n: number, pictures: number, prompt: number, answer: number): Promise<Written> {
  const times: number[] = []
  const { imageSize } = model.info().vision ?? { imageSize: 1 }
  const image = { width: imageSize, height: imageSize, data: new Uint8Array(imageSize * imageSize * 3).fill(90 + n) }
  await model.ask(
    Array.from({ length: pictures }, () => image),
    questionOf(model, n, prompt),
    {
      template: 'plain',
      maxTokens: answer,
      minTokens: answer,
      temperature: 0,
      promptLookupTokens: 0,
      onProgress({ stage, done }) {
        if (stage === 'generate' && done > 0) times.push(performance.now())
      },
    },
  )
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
