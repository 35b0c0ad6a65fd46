// Speculative decoding by prompt look-up: a token goes through the decoder together with a draft of those that may follow it, in one pass that takes
// little longer than the token alone. While the tokens that are then chosen are those of the draft, their logits are there already; at the first one
// that is not, the rest of the draft is forgotten. What chooses the tokens sees the same logits in the same order as without, and decides by itself.

import { allocate } from '../engine/allocate.js'
import type { Engine } from '../engine/engine.js'
import type { Job } from '../engine/job.js'
import type { NativeSegment, NativeSequence } from '../native.js'
import { PromptLookup } from './prompt-lookup.js'

/** Where a picture stands in the text that drafts are looked up in. */
const noToken = -1

/** What feeds the decoder. */
type Decoder = Pick<Engine, 'append' | 'config'>

export class Speculation {
  /** Tokens that went through the decoder as part of a draft. */
  draftTokens = 0
  /** Of these, those that were chosen. */
  acceptedTokens = 0

  readonly #engine: Decoder
  readonly #sequence: NativeSequence
  readonly #lookup: PromptLookup
  /** [1 + the longest draft so far, V]: after the token, and after each of its draft. */
  #logits: Float32Array
  readonly #job: Job
  readonly #most: number
  /** Tokens that may still be fed. */
  #room: number
  #draft: readonly number[] = []
  #accepted = 0

  /**
   * @param sequence holds the prompt
   * @param most tokens of a draft
   * @param limit tokens of the answer
   */
  constructor(
    engine: Decoder,
    sequence: NativeSequence,
    prompt: readonly NativeSegment[],
    most: number,
    limit: number,
    job: Job,
  ) {
    this.#engine = engine
    this.#sequence = sequence
    this.#most = most
    this.#lookup = new PromptLookup(this.#most === 0 ? [] : promptIds(prompt))
    this.#logits = allocate(engine.config.text.vocabSize)
    this.#room = limit - 1 // the last one is chosen, not fed
    this.#job = job
  }

  /** The logits [V] after the token that was chosen; they are good until the next step. */
  async step(id: number): Promise<Float32Array> {
    if (this.#most > 0) this.#lookup.push(id)
    this.#room--
    if (id !== this.#draft[this.#accepted]) {
      await this.#feed(id)
      return this.#row(0)
    }
    this.#job.check()
    this.acceptedTokens++
    return this.#row(++this.#accepted)
  }

  /** Takes out of the sequence what was not chosen. */
  retract(): void {
    const rejected = this.#draft.length - this.#accepted
    this.#draft = []
    this.#accepted = 0
    if (rejected > 0) this.#sequence.truncate(this.#sequence.length - rejected)
  }

  async #feed(id: number): Promise<void> {
    this.retract()
    const draft = this.#lookup.draft(Math.min(this.#most, this.#room))
    const length = (1 + draft.length) * this.#engine.config.text.vocabSize
    if (this.#logits.length < length) this.#logits = allocate(length)
    const logits = this.#logits.subarray(0, length)
    await this.#engine.append(this.#sequence, [{ tokens: Int32Array.of(id, ...draft) }], logits, this.#job)
    this.#draft = draft
    this.draftTokens += draft.length
  }

  #row(place: number): Float32Array {
    const { vocabSize } = this.#engine.config.text
    return this.#logits.subarray(place * vocabSize, (place + 1) * vocabSize)
  }
}

function promptIds(segments: readonly NativeSegment[]): number[] {
  return segments.flatMap((segment) => ('tokens' in segment ? [...segment.tokens] : [noToken]))
}
