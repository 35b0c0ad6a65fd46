// Tokens with the logarithms of their probabilities, readable.

import type { Candidates } from '../native.js'
import { logprobsOf, type ScoredId } from '../sampling/logprobs.js'
import type { NextLogits } from './next-logits.js'
import type { Tokenizer } from '../tokenizer/tokenizer.js'

/** A token and how likely it was. */
export interface TokenLogprob {
  readonly id: number
  /** What it adds to the text, special tokens written out; U+FFFD for bytes that are only part of a character. */
  readonly text: string
  /** The same in UTF-8: the bytes of an answer's tokens, joined, are whole characters. */
  readonly bytes: readonly number[]
  /** Natural logarithm of its probability by the model itself: log-softmax of the raw logits, before bias, penalties and temperature. */
  readonly logprob: number
}

/** A chosen token, and the likeliest that could have stood in its place, itself perhaps among them: best first. */
export interface TokenLogprobs extends TokenLogprob {
  readonly top: readonly TokenLogprob[]
}

/**
 * @param next with candidates that are scored
 * @param id the token chosen: where there are candidates alone, one of them
 * @param top how many alternatives
 */
export function tokenLogprobs(next: NextLogits, id: number, top: number, tokenizer: Tokenizer): TokenLogprobs {
  const readable = ({ id: one, logprob }: ScoredId): TokenLogprob => {
    const bytes = tokenizer.pieceBytes(one, { skipSpecial: false })
    return { id: one, text: Buffer.from(bytes).toString(), bytes: [...bytes], logprob }
  }
  const best = next.best as Candidates
  const logit = (next.all?.[id] ?? best.logits[best.ids.indexOf(id)]) as number
  const scored = logprobsOf(best, id, logit, top)
  return { ...readable(scored), top: scored.top.map(readable) }
}
