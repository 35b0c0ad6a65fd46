// How far int8 activations stray: mean KL divergence and top-1 agreement of the logits under `arithmetic: 'fast'` from those of the same weights
// dequantised ('exact'), at every position of a text.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { convertModel, LLaVA, type ConversionType, type Dtype, type PromptPiece } from '../lib/index.js'
import { systemTexts } from '../lib/prompt/templates.js'
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
  let divergence = 0
  let agreeing = 0
  for (const [row, p] of exact.entries()) {
    const q = fast[row]!
    divergence += p.reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]!), 0)
    if (indexOfLargest(p) === indexOfLargest(q)) agreeing++
  }
  return { klDivergence: divergence / exact.length, top1: agreeing / exact.length, positions: exact.length }
}

/** A row for each position. */
async function logProbabilities(file: string, arithmetic: 'exact' | 'fast', prompt: PromptOf): Promise<Float64Array[]> {
  using model = await LLaVA.open(file, { arithmetic })
  const logits = await model.forward(await prompt(model), { logits: 'all' })
  const { vocabSize } = model.info()
  return Array.from({ length: logits.length / vocabSize }, (_, row) =>
    logSoftmax(logits.subarray(row * vocabSize, (row + 1) * vocabSize)),
  )
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY)
  const logSum = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0))
  return Float64Array.from(logits, (logit) => logit - logSum)
}

function indexOfLargest(values: Float64Array): number {
  return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0)
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
