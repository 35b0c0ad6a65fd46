// Where the model looks: the attention weights of the position from which a token of an answer was chosen. The prompt runs on top of what is
// kept of it, the answer's tokens after it, and each decoder layer gives the softmax of one row of scores beside its output.

import type { AnsweredPrompt } from './answers/answered.js'
import { promptSegments, type Prompt, type PromptWriter } from './answers/prompt-writer.js'
import type { Place } from './engine/admission.js'
import { allocate } from './engine/allocate.js'
import type { Engine } from './engine/engine.js'
import type { Job } from './engine/job.js'
import type { PictureEncoder } from './engine/picture-encoder.js'
import { invalidArgument } from './errors.js'
import type { NativeSegment, NativeSequence } from './native.js'
import { checkOptions, wholeNumber, type OptionCheck } from './options.js'
import { patchGrid, type PatchGrid } from './weights/tower-rows.js'

/** Of which weights the mean is taken. */
export interface MeanAttentionOptions {
  /** Which of the prompt's pictures, counted from 0; default the first. */
  readonly picture?: number
  /** Decoder layers, counted from 0; default all. */
  readonly layers?: readonly number[]
  /** Query heads, counted from 0; default all. */
  readonly heads?: readonly number[]
}

/** What one token's attention is made of. @internal */
export interface AttentionParts {
  readonly token: number
  readonly id: number
  readonly bytes: readonly number[]
  readonly logprob: number
  readonly layers: number
  readonly heads: number
  readonly positions: number
  readonly weights: Float32Array
  /** Positions at which pictures begin. */
  readonly pictures: readonly number[]
  readonly grid: PatchGrid | undefined
}

/**
 * The attention weights with which one token of an answer was chosen, made by `LLaVA.attentionOf`. They say which
 * positions the model read, not why it chose the token: `LLaVA.occlusionOf` says what becomes of it without them.
 */
export class TokenAttention {
  /** Which token of the answer, counted from 0. */
  readonly token: number
  readonly id: number
  /** What it adds to the text, special tokens written out. */
  readonly text: string
  /** The same in UTF-8. */
  readonly bytes: readonly number[]
  /** Natural logarithm of its probability by the model itself, as `Answer.logprobs` has it. */
  readonly logprob: number
  /** L: decoder layers. */
  readonly layers: number
  /** H: query heads of a layer. */
  readonly heads: number
  /** T: positions up to the one from which the token was chosen: the prompt and the tokens before it. */
  readonly positions: number
  /** [L, H, T], row-major: each row of T sums to one. */
  readonly weights: Float32Array
  /** Where each picture's rows begin among the positions. */
  readonly pictures: readonly number[]
  /** Patches of a picture, down and across; 0 where the model takes no pictures. */
  readonly grid: { readonly rows: number; readonly columns: number }
  readonly #patches: PatchGrid | undefined

  /** Made by `LLaVA.attentionOf`. */
  constructor(parts: AttentionParts) {
    this.token = parts.token
    this.id = parts.id
    this.text = Buffer.from(parts.bytes).toString()
    this.bytes = parts.bytes
    this.logprob = parts.logprob
    this.layers = parts.layers
    this.heads = parts.heads
    this.positions = parts.positions
    this.weights = parts.weights
    this.pictures = parts.pictures
    this.#patches = parts.grid
    this.grid = { rows: parts.grid?.side ?? 0, columns: parts.grid?.side ?? 0 }
  }

  /** The weights over one picture's patches: [L, H, rows, columns] of the grid, row-major, a fresh copy. Throws INVALID_ARGUMENT. */
  patches(picture = 0): Float32Array {
    const [grid, first] = this.#picture(picture)
    const count = grid.side ** 2
    const out = new Float32Array(this.layers * this.heads * count)
    for (let row = 0; row < this.layers * this.heads; row++) {
      const from = row * this.positions + first + grid.extraRows
      out.set(this.weights.subarray(from, from + count - grid.missing), row * count + grid.missing)
    }
    return out
  }

  /** The mean over layers and heads of the weights over one picture's patches: [rows, columns]. Throws INVALID_ARGUMENT. */
  mean(options: MeanAttentionOptions = {}): Float32Array {
    checkOptions('mean()', options, {
      picture: wholeNumber(0),
      layers: someOf(this.layers),
      heads: someOf(this.heads),
    })
    const { picture = 0, layers = range(this.layers), heads = range(this.heads) } = options
    const [grid, first] = this.#picture(picture)
    const count = grid.side ** 2
    const sums = new Float64Array(count)
    for (const layer of layers) {
      for (const head of heads) {
        const from = (layer * this.heads + head) * this.positions + first + grid.extraRows - grid.missing
        for (let patch = grid.missing; patch < count; patch++) sums[patch]! += this.weights[from + patch] as number
      }
    }
    return Float32Array.from(sums, (sum) => sum / (layers.length * heads.length))
  }

  #picture(picture: number): readonly [PatchGrid, number] {
    const first = this.pictures[picture]
    if (this.#patches === undefined || first === undefined) {
      const count = this.pictures.length
      throw invalidArgument(
        'picture',
        count === 0 ? 'nothing, as the prompt has no picture' : `one of ${count}, from 0`,
        picture,
      )
    }
    return [this.#patches, first]
  }
}

function range(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index)
}

/** A list of at least one of so many. */
function someOf(count: number): OptionCheck {
  const one = wholeNumber(0, count - 1)
  return (name, value) => {
    if (!Array.isArray(value) || value.length === 0)
      throw invalidArgument(name, 'a list with at least one number', value)
    for (const [index, each] of value.entries()) one(`${name}[${index}]`, each)
  }
}

/** What attention runs on. */
export interface AttentionModel {
  readonly engine: Engine
  readonly prompts: PromptWriter
  readonly pictures: PictureEncoder
}

/**
 * The attention of tokens of an answer one after another.
 *
 * @param tokens in any order; undefined: all
 */
export async function* runAttention(
  { engine, prompts, pictures }: AttentionModel,
  { parts, images, tokenIds }: AnsweredPrompt,
  { tokens, place }: { readonly tokens: readonly number[] | undefined; readonly place: Place },
  job: Job,
): AsyncGenerator<TokenAttention, void, undefined> {
  const cleanUp: (() => void)[] = []
  try {
    const taken = pictures.takeAll(images, {}, cleanUp, job)
    const prompt = await prompts.cut(parts, images.length)
    const ids = await tokenIds()
    for (const token of tokens ?? []) wholeNumber(0, ids.length - 1)('token', token)
    const wanted = [...new Set(tokens ?? ids.keys())].sort((a, b) => a - b)
    const last = wanted.at(-1) ?? 0
    engine.checkContext(prompt.positions + last, prompt.imagePositions)
    cleanUp.push(await engine.enter(prompt.positions, last, 1, job, place))
    const segments = promptSegments(prompt, await pictures.encodeAll(taken, cleanUp, job, undefined))
    const begun = await engine.prefixes.begin(segments, job)
    cleanUp.push(() => {
      begun.end()
      begun.sequence.dispose()
    })
    const look = async (calls: readonly (readonly NativeSegment[])[], token: number) => {
      const row = await rowOf(engine, begun.sequence, calls, prompt.positions + token, ids[token] as number, job)
      return new TokenAttention({ ...row, token, ...picturesOf(engine, prompt) })
    }
    const first = wanted[0] === 0 ? await look(begun.calls, 0) : undefined
    if (first === undefined) {
      const logits = allocate(engine.config.text.vocabSize) // nobody's
      for (const call of begun.calls) await engine.append(begun.sequence, call, { logits }, job)
    }
    begun.prompted()
    if (first !== undefined) yield first
    let done = 0 // of the answer's tokens, those that stand in the sequence
    for (const token of wanted) {
      if (token === 0) continue
      const attention = await look([[{ tokens: Int32Array.from(ids.slice(done, token)) }]], token)
      done = token
      yield attention
    }
    begun.answered(ids.slice(0, done))
  } finally {
    for (const clean of cleanUp) clean()
  }
}

/** Runs calls one after another; of their last row, at the last of so many positions, what `id` was chosen with. */
async function rowOf(
  engine: Engine,
  sequence: NativeSequence,
  calls: readonly (readonly NativeSegment[])[],
  positions: number,
  id: number,
  job: Job,
): Promise<Omit<AttentionParts, 'token' | 'pictures' | 'grid'>> {
  const { layers, heads, vocabSize } = engine.config.text
  const weights = allocate(layers * heads * positions)
  const logits = allocate(vocabSize)
  const candidates = engine.candidateRows(1, 1, true)
  for (const [n, call] of calls.entries()) {
    const attention = n + 1 === calls.length ? weights : undefined
    await engine.append(sequence, call, { logits, candidates, attention }, job)
  }
  const bytes = [...engine.tokenizer.pieceBytes(id, { skipSpecial: false })]
  const logprob = (logits[id] as number) - candidates.row(0).logSumExp
  return { id, bytes, logprob, layers, heads, positions, weights }
}

function picturesOf(engine: Engine, { items }: Prompt): Pick<AttentionParts, 'pictures' | 'grid'> {
  const { vision } = engine.config
  const pictures: number[] = []
  let at = 0
  for (const item of items) {
    if (item.kind === 'image') pictures[item.index] = at
    at += item.kind === 'image' ? engine.rowsPerImage : item.ids.length
  }
  return { pictures, grid: vision && patchGrid(vision) }
}
