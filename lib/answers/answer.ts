// What a question gives back.

import type { LlavaError } from '../errors.js'
import type { FinishReason } from './generation.js'
import type { TokenLogprobs } from './token-logprobs.js'

/** Tokens, counted in positions of the context. */
export interface Usage {
  /** Positions the prompt took, those of pictures included. */
  readonly promptTokens: number
  /** Of these, the rows of pictures. */
  readonly imageTokens: number
  /** Of the prompt's positions, those whose keys and values were there already: in a Conversation, what did not change since its last answer. */
  readonly cachedTokens: number
  /** Tokens generated, without the end-of-sequence token. */
  readonly completionTokens: number
  /** Tokens that were looked up and computed ahead of being chosen (option `promptLookupTokens`); they are no part of the other figures. */
  readonly draftTokens: number
  /** Of these, those that were then chosen: so many passes through the decoder were saved. */
  readonly acceptedTokens: number
}

/** Wall times in milliseconds. */
export interface Timings {
  /** What `LLaVA.open` took, once per model. */
  readonly loadMs: number
  /** Decoding, preprocessing and encoding the pictures; next to nothing when they came as EncodedImage. */
  readonly imageMs: number
  /** From the prompt to its last logits. */
  readonly promptMs: number
  /** From there to the last token. */
  readonly generateMs: number
}

/** A finished answer. `Value` is what the options `schema`, `choices` and `regex` make of it. */
export interface Answer<Value = unknown> {
  /** Trimmed at both ends; without the stop string. */
  readonly text: string
  /** The tokens generated, without the end-of-sequence token. With a stop string they reach to the token that completed it. */
  readonly tokenIds: readonly number[]
  readonly finishReason: FinishReason
  /** With `schema`, `choices` or `regex`: what the answer says. Absent where it was cut: unless `finishReason` is 'stop'. */
  readonly value?: Value
  /**
   * Why the schema's own checks refuse this answer, which then has no `value`: VALUE_INVALID. Of several answers to one
   * question alone; a single one fails its
   * call.
   */
  readonly valueError?: LlavaError
  /** One for each of `tokenIds`, with the option `logprobs`. */
  readonly logprobs?: readonly TokenLogprobs[]
  readonly usage: Usage
  readonly timings: Timings
}
