// Speculative decoding by prompt look-up: a token goes through the decoder together with a draft of those that may follow it, in one pass that takes
// little longer than the token alone. While the tokens that are then chosen are those of the draft, their logits are there already; at the first one
// that is not, the rest of the draft is forgotten. What chooses the tokens sees the same logits in the same order as without, and decides by itself.

import { allocate } from '../engine/allocate.js'
import type { CandidateRows } from '../engine/candidate-rows.js'
import type { Engine } from '../engine/engine.js'
import type { Job } from '../engine/job.js'
import type { NativeSegment, NativeSequence } from '../native.js'
import type { LogitNeeds, NextLogits } from './next-logits.js'
import { PromptLookup } from './prompt-lookup.js'

/** Where a picture stands in the text that drafts are looked up in. */
const noToken = -1

/** What feeds the decoder. */
type Decoder = Pick<Engine, 'append' | 'candidateRows' | 'config'>

export interface SpeculationOptions {
  readonly prompt: readonly NativeSegment[]
  /** Most tokens of a draft. */
  readonly most: number
  /** Tokens of the answer. */
  readonly limit: number
  readonly needs: LogitNeeds
}

export class Speculation {
  /** Tokens that went through the decoder as part of a draft. */
  draftTokens = 0
  /** Of these, those that were chosen. */
  acceptedTokens = 0

  readonly #engine: Decoder
  readonly #sequence: NativeSequence
  readonly #lookup: PromptLookup
  readonly #needs: LogitNeeds
  /** `[1 + the longest draft so far, V]`: after the token, and after each of its draft, where all logits are needed. */
  #logits = new Float32Array(0)
  /** After the token, and after each of its draft. */
  #candidates: CandidateRows | undefined
  readonly #job: Job
  readonly #most: number
  #last = noToken
  /** Tokens that may still be fed. */
  #room: number
  #draft: readonly number[] = []
  #accepted = 0

  /** @param sequence holds the prompt */
  constructor(engine: Decoder, sequence: NativeSequence, { prompt, most, limit, needs }: SpeculationOptions, job: Job) {
    this.#engine = engine
    this.#sequence = sequence
    this.#most = most
    this.#needs = needs
    this.#lookup = new PromptLookup(this.#most === 0 ? [] : promptIds(prompt))
    this.#room = limit - 1 // the last one is chosen, not fed
    this.#job = job
  }

  /** What is needed of the logits after the token that was chosen. */
  async step(id: number): Promise<NextLogits> {
    if (this.#most > 0) this.#lookup.push(id)
    this.#room--
    this.#last = id
    if (id !== this.#draft[this.#accepted]) {
      await this.#feed(id)
      return this.#row(0)
    }
    this.#job.check()
    this.acceptedTokens++
    return this.#row(++this.#accepted)
  }

  /**
   * All logits after the token of the last step, where its candidates do not settle what follows: the token goes
   * through the decoder once more, and so few rows have the same bits in any company.
   */
  async whole(): Promise<NextLogits> {
    this.retract()
    this.#sequence.truncate(this.#sequence.length - 1)
    await this.#append([this.#last], { ...this.#needs, all: true })
    return { ...this.#row(0), all: this.#logits.subarray(0, this.#engine.config.text.vocabSize) }
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
    await this.#append([id, ...draft], this.#needs)
    this.#draft = draft
    this.draftTokens += draft.length
  }

  async #append(ids: readonly number[], { all, candidates: count, scored }: LogitNeeds): Promise<void> {
    const length = ids.length * this.#engine.config.text.vocabSize
    if (all && this.#logits.length < length) this.#logits = allocate(length)
    const logits = all ? this.#logits.subarray(0, length) : undefined
    const candidates = count === 0 ? undefined : this.#engine.candidateRows(ids.length, count, scored)
    await this.#engine.append(this.#sequence, [{ tokens: Int32Array.from(ids) }], { logits, candidates }, this.#job)
    this.#candidates = candidates
  }

  #row(place: number): NextLogits {
    const { vocabSize } = this.#engine.config.text
    return {
      all: this.#needs.all ? this.#logits.subarray(place * vocabSize, (place + 1) * vocabSize) : undefined,
      best: this.#candidates?.row(place),
    }
  }
}

function promptIds(segments: readonly NativeSegment[]): number[] {
  return segments.flatMap((segment) => ('tokens' in segment ? [...segment.tokens] : [noToken]))
}
