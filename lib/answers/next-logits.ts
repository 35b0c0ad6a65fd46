// What an answer chooses its next token from: all logits after a position, or the likeliest tokens alone.

import type { Candidates } from '../native.js'
import type { Sampler } from '../sampling/sampler.js'

/** Of one position, good until the next step; at least one of the two. */
export interface NextLogits {
  /** [V] */
  readonly all?: Float32Array | undefined
  readonly best?: Candidates | undefined
}

/** What an answer needs of each position. */
export interface LogitNeeds {
  readonly all: boolean
  /** So many of the likeliest tokens; 0: none. */
  readonly candidates: number
  /** With what their log-probabilities take. */
  readonly scored: boolean
}

/** @param top how many alternatives to a token are told, if its log-probability is at all */
export function logitNeeds({ candidates }: Sampler, top: number | undefined): LogitNeeds {
  return {
    all: candidates === undefined,
    candidates: Math.max(candidates ?? 0, top === undefined ? 0 : Math.max(top, 1)),
    scored: top !== undefined,
  }
}
