// The one cycle of the pipeline: logits → token → text, until something ends it.
//   EOS, or a format in which nothing may follow, ends it as 'stop', a stop string as 'stop_string', the token limit or the end of the context as 'length'.

import type { Candidates } from '../native.js'
import type { NextLogits } from './next-logits.js'
import { StopStrings } from './stop-strings.js'
import type { TokenLogprobs } from './token-logprobs.js'
import { TrimmedText } from './trimmed-text.js'

/** Why an answer ended: an end-of-sequence token or the end of its format, one of the stop strings, the limit of tokens or of the context, or a reader who left. */
export type FinishReason = 'stop' | 'stop_string' | 'length' | 'cancelled'

/** A token of an answer, as soon as it is chosen. */
export interface GeneratedToken {
  readonly id: number
  /** With the option `logprobs`. */
  readonly logprobs?: TokenLogprobs
}

/** What the cycle needs of its neighbours. */
export interface GenerationParts {
  readonly sampler: {
    /** Chooses a token from logits [V]. */
    next(logits: Float32Array): number
    /** Chooses the same token from the likeliest alone; `undefined`: they do not settle it. */
    nextOf(best: Candidates): number | undefined
    /** Begins what the next choice needs, beside the pass that its logits come from. */
    prepare?(): Promise<void> | undefined
    /** What it chose is a whole answer, and nothing may follow. */
    readonly ended?: boolean
  }
  /** Turns tokens into text, never half a character. */
  readonly text: { push(id: number): string; flush(): string }
  readonly eosIds: readonly number[]
  readonly stop: readonly string[]
  /** Most tokens to generate; what the context has room for is already in it. */
  readonly limit: number
  /** How likely a token was, where that is wanted. */
  readonly logprobs?: ((next: NextLogits, id: number) => TokenLogprobs) | undefined
  /** Hears of each token before its text. */
  readonly onToken?: ((token: GeneratedToken) => void) | undefined
}

/** Where logits come from. */
export interface LogitSource {
  /** Feeds one token. */
  step(id: number): Promise<NextLogits>
  /** All logits after the token that was fed last. */
  whole(): Promise<NextLogits>
}

/** An answer in the making. The fields hold what there is so far, also when `run` was stopped half-way. */
export class Generation {
  /** Tokens chosen; without the EOS that ends them. */
  readonly tokenIds: number[] = []
  /** One for each of these, where they are wanted. */
  readonly logprobs: TokenLogprobs[] = []
  /** The text so far, trimmed at both ends and without the stop string. */
  text = ''
  finishReason: FinishReason = 'cancelled'

  readonly #parts: GenerationParts
  readonly #eosIds: ReadonlySet<number>
  readonly #stops: StopStrings
  readonly #trimmed = new TrimmedText()

  constructor(parts: GenerationParts) {
    this.#parts = parts
    this.#eosIds = new Set(parts.eosIds)
    this.#stops = new StopStrings(parts.stop)
  }

  /**
   * Runs to the end. `next` is of the prompt's last position, with all logits; `source` gives the others; `emit`
   * receives text as it becomes certain.
   */
  async run(next: NextLogits, source: LogitSource, emit: (text: string) => void): Promise<void> {
    const { sampler, text, limit, onToken } = this.#parts
    while (this.tokenIds.length < limit) {
      const preparing = sampler.prepare?.()
      preparing?.catch(() => undefined) // heard below, unless the pass fails first
      if (this.tokenIds.length > 0) next = await source.step(this.tokenIds.at(-1) as number)
      if (preparing !== undefined) await preparing
      let id = next.all === undefined ? sampler.nextOf(next.best as Candidates) : sampler.next(next.all)
      if (id === undefined) {
        next = await source.whole()
        id = sampler.next(next.all as Float32Array)
      }
      if (this.#eosIds.has(id)) {
        this.#finish('stop', emit)
        return
      }
      this.tokenIds.push(id)
      const logprobs = this.#parts.logprobs?.(next, id)
      if (logprobs !== undefined) this.logprobs.push(logprobs)
      onToken?.({ id, ...(logprobs && { logprobs }) })
      this.#give(this.#stops.push(text.push(id)), emit)
      if (this.#stops.matched) break
      if (sampler.ended === true) {
        this.#finish('stop', emit)
        return
      }
    }
    this.#finish('length', emit)
  }

  /** Gives out what was held back: half a character, half a stop string. A stop string that is complete is the reason in any case. */
  #finish(reason: FinishReason, emit: (text: string) => void): void {
    this.#give(this.#stops.push(this.#parts.text.flush()) + this.#stops.flush(), emit)
    this.finishReason = this.#stops.matched ? 'stop_string' : reason
  }

  #give(text: string, emit: (text: string) => void): void {
    const certain = this.#trimmed.push(text)
    if (certain === '') return
    this.text += certain
    emit(certain)
  }
}
