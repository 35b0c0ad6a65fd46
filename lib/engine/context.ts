// A running text with its keys and values, for those who want logits instead of answers.

import { LlavaError, invalidArgument } from '../errors.js'
import { EncodedImage } from './encoded-image.js'
import { allocate } from './allocate.js'
import type { Engine } from './engine.js'
import { rowCount } from './segments.js'
import { abortSignal, checkOptions, oneOf, wholeNumber } from '../options.js'
import type { NativeSegment, NativeSequence } from '../native.js'

/**
 * A stretch of a prompt: token ids, a picture, or text. Text is tokenized on its own, as the original LLaVA does between pictures, with the
 * beginning-of-sequence token only where the context is still empty; text like `</s>` in it stays text.
 */
export type PromptPiece = Int32Array | readonly number[] | EncodedImage | string

export interface ForwardOptions {
  /** Which logits to return: those after the last position (default), or those after each. */
  readonly logits?: 'last' | 'all'
  readonly signal?: AbortSignal
}

/**
 * The keys and values of one text. Made by `LLaVA.createContext`; `dispose()` it, or bind it with `using`.
 * One call at a time: a second `forward` while one runs is an error.
 */
export class Context implements Disposable {
  readonly #engine: Engine
  readonly #native: NativeSequence
  #length: number
  #running = false
  #disposed = false

  /** Made by `LLaVA.createContext`. */
  constructor(native: NativeSequence, engine: Engine) {
    this.#native = native
    this.#engine = engine
    this.#length = native.length
  }

  /** Positions held; while a `forward` runs, those from before it. */
  get length(): number {
    this.#alive()
    return this.#length
  }

  /**
   * Appends to the text and resolves to logits in float32, row-major: [vocabSize], or [positions appended, vocabSize] with `logits: 'all'`.
   * Fails with CONTEXT_OVERFLOW, ABORTED, DISPOSED or INVALID_ARGUMENT; the context is then as it was before.
   */
  async forward(prompt: readonly PromptPiece[], options: ForwardOptions = {}): Promise<Float32Array> {
    checkOptions('forward()', options, { logits: oneOf('last', 'all'), signal: abortSignal })
    const sequence = this.#idle('run')
    const held: EncodedImage[] = []
    this.#running = true
    try {
      const segments = toSegments(prompt, this.#engine, this.#length === 0, held)
      const rows = rowCount(segments)
      if (rows === 0) throw invalidArgument('prompt', 'at least one token or picture', prompt)
      this.#engine.checkContext(this.#length + rows, imageRows(segments))
      const logits = allocate((options.logits === 'all' ? rows : 1) * this.#engine.config.text.vocabSize)
      await this.#engine.run(options.signal, (job) => this.#engine.append(sequence, segments, { logits }, job))
      this.#length += rows
      return logits
    } finally {
      this.#running = false
      if (this.#disposed) sequence.dispose()
      for (const image of held) image.release()
    }
  }

  /** A second context with the same past; memory is shared until one of the two goes on. */
  fork(): Context {
    return new Context(this.#engine.fork(this.#idle('fork')), this.#engine)
  }

  /** Forgets everything from position `length` on. */
  truncate(length: number): void {
    const sequence = this.#idle('truncate')
    wholeNumber(0, this.#length)('length', length)
    sequence.truncate(length)
    this.#length = length
  }

  /** Frees the memory, after the call that may still run; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    if (!this.#running) this.#native.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
    return Promise.resolve()
  }

  #alive(): NativeSequence {
    if (this.#disposed) throw new LlavaError('DISPOSED', 'this Context has been disposed of')
    this.#engine.checkAlive()
    return this.#native
  }

  #idle(verb: string): NativeSequence {
    if (this.#running)
      throw new LlavaError(
        'BUSY',
        `cannot ${verb} this Context while a forward() runs on it; await it, or fork() before`,
      )
    return this.#alive()
  }
}

/** Positions that pictures take among segments. */
function imageRows(segments: readonly NativeSegment[]): number {
  return rowCount(segments.filter((segment) => 'image' in segment))
}

/** A prompt's pieces as native segments; `first`: the text begins here. Pictures are held, and put into `held` to be released. */
function toSegments(
  prompt: readonly PromptPiece[],
  engine: Engine,
  first: boolean,
  held: EncodedImage[],
): NativeSegment[] {
  if (!Array.isArray(prompt)) throw invalidArgument('prompt', 'an array of token ids, pictures and texts', prompt)
  return (prompt as readonly PromptPiece[]).map((piece, index): NativeSegment => {
    if (piece instanceof EncodedImage) {
      const image = piece.hold(engine)
      held.push(piece)
      return { image, start: 0, count: piece.rows }
    }
    if (typeof piece === 'string')
      return { tokens: engine.tokenizer.encode(piece, first && index === 0 ? {} : { addBos: false }) }
    return { tokens: toIds(piece, `prompt[${index}]`, engine.config.text.vocabSize) }
  })
}

/** Token ids, each checked against the rows of the embedding table; a copy. */
export function toIds(ids: unknown, name: string, vocabSize: number): Int32Array {
  if (!isIterable(ids)) throw invalidArgument(name, 'token ids', ids)
  if (isDetached(ids)) throw invalidArgument(name, 'token ids that are still there', 'a detached array')
  return Int32Array.from(ids as Iterable<number>, (id: unknown) => {
    if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0 && id < vocabSize) return id
    throw invalidArgument(name, `token ids in [0, ${vocabSize - 1}]`, id)
  })
}

/** Whether a typed array's memory has been transferred to somebody else. */
function isDetached(ids: unknown): boolean {
  if (!(ids instanceof Int32Array) || ids.length > 0) return false
  try {
    ids.values()
    return false
  } catch {
    return true
  }
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
