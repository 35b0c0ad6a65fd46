// Log-probabilities of raw logits: log_softmax(z) = z - ln sum exp z, before bias, penalties and temperature.

import type { Candidates } from '../native.js'

/** A token and the logarithm of its probability. */
export interface ScoredId {
  readonly id: number
  readonly logprob: number
}

/** log_softmax at `id`, whose logit is `logit`, and at the `top` likeliest ids. */
export function logprobsOf(
  { ids, logits, logSumExp }: Candidates,
  id: number,
  logit: number,
  top: number,
): ScoredId & { readonly top: readonly ScoredId[] } {
  return {
    id,
    logprob: logit - logSumExp,
    top: Array.from(ids.subarray(0, top), (one, place) => ({
      id: one,
      logprob: (logits[place] as number) - logSumExp,
    })),
  }
}
