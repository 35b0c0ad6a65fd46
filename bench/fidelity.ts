// How far int8 activations stray: mean KL divergence and top-1 agreement of the logits under `arithmetic: 'fast'` from those of the same weights
// dequantised ('exact'), at every position of a text. Of a real text also the perplexity, and the same of llama.cpp, where node-llama-cpp is installed.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { convertModel, LLaVA, type ConversionType, type Dtype, type PromptPiece } from '../lib/index.js'
import { systemTexts } from '../lib/prompt/templates.js'
import type { Isa } from '../lib/native.js'
import { optional } from './optional.js'
import { decoders } from './shapes.js'
import { writeSyntheticModel } from './synthetic-model.js'

export interface Fidelity {
  /** Mean over positions of sum p log(p / q): p from 'exact', q from 'fast'. */
  readonly klDivergence: number
  /** Share of positions whose likeliest token is the same. */
  readonly top1: number
  readonly positions: number
}

/** A prompt in a model's own terms: its tokens, its encoding of a picture. */
export type PromptOf = (model: LLaVA) => PromptPiece[] | Promise<PromptPiece[]>

/** Runs `prompt` through the model at `file` under both arithmetics and compares all logits. */
export async function measureFidelity(file: string, prompt: PromptOf): Promise<Fidelity> {
  const exact = await logProbabilities(file, 'exact', prompt)
  const fast = await logProbabilities(file, 'fast', prompt)
  let sum = 0
  let agreeing = 0
  for (const [row, p] of exact.entries()) {
    const q = fast[row]!
    sum += divergence(p, q)
    if (indexOfLargest(p) === indexOfLargest(q)) agreeing++
  }
  return { klDivergence: sum / exact.length, top1: agreeing / exact.length, positions: exact.length }
}

/** A row for each position. */
async function logProbabilities(file: string, arithmetic: 'exact' | 'fast', prompt: PromptOf): Promise<Float64Array[]> {
  using model = await LLaVA.open(file, { arithmetic })
  const logits = await model.forward(await prompt(model), { logits: 'all' })
  return rowsOf(logits, model.info().vocabSize).map(logSoftmax)
}

function rowsOf(logits: Float32Array, vocabSize: number): Float32Array[] {
  return Array.from({ length: logits.length / vocabSize }, (_, row) =>
    logits.subarray(row * vocabSize, (row + 1) * vocabSize),
  )
}

/** sum p log(p / q) of log-probabilities. */
function divergence(p: Float64Array, q: Float64Array): number {
  return p.reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]!), 0)
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY)
  const logSum = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0))
  return Float64Array.from(logits, (logit) => logit - logSum)
}

function indexOfLargest(values: Float64Array): number {
  return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0)
}

export interface TextFidelity extends Fidelity {
  readonly engine: 'llava-native' | 'node-llama-cpp'
  readonly perplexity: number
  /** That of 'exact'. */
  readonly exactPerplexity: number
}

/** Log-probabilities after each of the tokens, which follow those given before. */
interface Reader {
  readonly read: (tokens: readonly number[]) => Promise<Float64Array[]>
  readonly close: () => void | Promise<void>
}

const window = 128 // tokens whose logits are held at a time

/** The first `positions` tokens of a text, on us and on llama.cpp, against our 'exact' arithmetic. */
export async function measureText(
  file: string,
  text: string,
  positions: number,
  isa: Isa | 'auto' = 'auto',
): Promise<TextFidelity[]> {
  const exact = await openReader(file, 'exact')
  const tokens = [...exact.tokenize(text).subarray(0, positions)]
  const peer = await openNodeLlamaCpp(file, tokens.length)
  const readers = new Map<TextFidelity['engine'], Reader>([['llava-native', await openReader(file, 'fast', isa)]])
  if (peer !== undefined) readers.set('node-llama-cpp', peer)
  const tallies = new Map([...readers.keys()].map((engine) => [engine, new Tally()]))
  for (let first = 0; first < tokens.length; first += window) {
    const part = tokens.slice(first, first + window)
    const next = tokens.slice(first + 1, first + 1 + window)
    const p = await exact.read(part)
    for (const [engine, reader] of readers) tallies.get(engine)!.add(p, await reader.read(part), next)
  }
  for (const reader of [exact, ...readers.values()]) await reader.close()
  return [...tallies].map(([engine, tally]) => ({ engine, ...tally.result() }))
}

class Tally {
  #divergence = 0
  #agreeing = 0
  #positions = 0
  #predicted = 0
  #exactLoss = 0
  #loss = 0

  add(exact: readonly Float64Array[], measured: readonly Float64Array[], next: readonly number[]): void {
    for (const [row, p] of exact.entries()) {
      const q = measured[row]!
      const token = next[row]
      this.#positions++
      this.#divergence += divergence(p, q)
      if (indexOfLargest(p) === indexOfLargest(q)) this.#agreeing++
      if (token === undefined) continue
      this.#predicted++
      this.#exactLoss -= p[token]!
      this.#loss -= q[token]!
    }
  }

  result(): Omit<TextFidelity, 'engine'> {
    return {
      klDivergence: this.#divergence / this.#positions,
      top1: this.#agreeing / this.#positions,
      positions: this.#positions,
      perplexity: Math.exp(this.#loss / this.#predicted),
      exactPerplexity: Math.exp(this.#exactLoss / this.#predicted),
    }
  }
}

async function openReader(
  file: string,
  arithmetic: 'exact' | 'fast',
  isa: Isa | 'auto' = 'auto',
): Promise<Reader & { readonly tokenize: (text: string) => Int32Array }> {
  const model = await LLaVA.open(file, { arithmetic, isa })
  const context = model.createContext()
  return {
    tokenize: (text) => model.tokenize(text),
    read: async (tokens) =>
      rowsOf(await context.forward([[...tokens]], { logits: 'all' }), model.info().vocabSize).map(logSoftmax),
    close: () => {
      context.dispose()
      model.dispose()
    },
  }
}

/** The part of node-llama-cpp that is used; it is not a dependency. */
interface NodeLlamaCpp {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): ControlledSequence }>
      dispose(): Promise<void>
    }>
  }>
}

interface ControlledSequence {
  controlledEvaluate(
    tokens: readonly (readonly [number, object])[],
  ): Promise<{ readonly next: { readonly logits: ReadonlyMap<number, number> } }[]>
}

async function openNodeLlamaCpp(file: string, contextSize: number): Promise<Reader | undefined> {
  const library = await optional<NodeLlamaCpp>('node-llama-cpp')
  if (library === undefined) return undefined
  const llama = await library.getLlama({ gpu: false, build: 'never', logLevel: 'error' })
  const loaded = await llama.loadModel({ modelPath: file })
  const sequence = (await loaded.createContext({ contextSize: contextSize + 8, batchSize: window })).getSequence()
  const wanted = { generateNext: { logits: true } }
  return {
    read: async (tokens) => {
      const results = await sequence.controlledEvaluate(tokens.map((token) => [token, wanted] as const))
      return results.map(({ next }) => logSoftmax(inOrder(next.logits)))
    },
    close: () => loaded.dispose(),
  }
}

function inOrder(logits: ReadonlyMap<number, number>): Float32Array {
  const row = new Float32Array(logits.size)
  for (const [token, logit] of logits) row[token] = logit
  return row
}

/** As many tokens from all over the vocabulary, the same on every run. */
export function spacedTokens(count: number): PromptOf {
  return (model) => [Array.from({ length: count }, (_, i) => (7919 * (i + 1)) % model.info().vocabSize)]
}

const models = fileURLToPath(new URL('../../models/', import.meta.url))

/** The model that comes with the package, its language model converted to `type`, in a conversation about its demo picture. */
export function measureDefault(type: ConversionType): Promise<Fidelity> {
  return inTemporaryDirectory(async (directory) => {
    const file = path.join(directory, 'default.gguf')
    await convertModel(path.join(models, 'default.gguf'), file, { type })
    return measureFidelity(file, async (model) => [
      `${systemTexts.user} USER: `,
      await model.encodeImage(path.join(models, 'demo.png')),
      model.tokenize(demoText, { addBos: false, parseSpecial: true }),
    ])
  })
}

const demoText = [
  '\nWhat is in this picture? ASSISTANT: The picture shows a rocket, a dog and a cactus.',
  'USER: How many dogs are there? ASSISTANT: There is one dog.',
  'USER: Is there a cat in the picture? ASSISTANT: No, there is no cat.',
  'USER: Where is the rocket? ASSISTANT: The rocket is at the top left.',
].join('</s>')

/** Two layers of LLaVA 1.5's 7B shape with random weights. */
export function measureSlice(type: Dtype, prompt: PromptOf): Promise<Fidelity> {
  return inTemporaryDirectory(async (directory) =>
    measureFidelity(await writeSyntheticModel(directory, { ...decoders['7b'], layers: 2 }, type, 'F16'), prompt),
  )
}

async function inTemporaryDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-fidelity-'))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
