// How a token is chosen, as the caller says it; every value is checked here, with one wording.

import { invalidArgument } from '../errors.js'

/** A rule of the caller's own on what may come next; one of these can hold an answer to a grammar. */
export interface LogitsProcessor {
  /**
   * Changes `logits` [V] in place, before every token: add to favour, -Infinity to rule out. It runs where a mask belongs: after bias, penalties and
   * n-grams, before temperature and what cuts the tail. Tokens that can never be chosen stay so, whatever it writes.
   *
   * Synchronous; what it throws fails the answer. With several answers it is asked for each of them in turn, so it should depend on its arguments only.
   *
   * @param tokenIds the tokens of the answer so far, without the prompt; not to be changed
   */
  process(logits: Float32Array, tokenIds: readonly number[]): void
}

/**
 * How tokens are chosen. Everything is applied in Hugging Face's order: logitBias, repetitionPenalty, frequencyPenalty and presencePenalty,
 * noRepeatNgramSize, logitsProcessor, minTokens; then, unless temperature is 0: temperature, topK, topP, minP, typicalP, each on what the one before left.
 * Penalties and n-grams look at the tokens of the answer alone, as with every prompt that reaches the decoder as embeddings.
 */
export interface SamplingOptions {
  /** 0 (default): greedy. Higher is more random. */
  readonly temperature?: number
  /** Draw among the k most probable; 0 (default): no limit. */
  readonly topK?: number
  /** Draw among the most probable whose probabilities reach p in sum, in (0, 1]; 1 (default): no limit. */
  readonly topP?: number
  /** Draw among those that are at least m times as probable as the most probable one, in [0, 1]; 0 (default): no limit. */
  readonly minP?: number
  /**
   * Draw among those whose information is nearest to the entropy, whose probabilities reach p in sum, in (0, 1]; 1 (default): no limit.
   * Locally typical sampling (Meister et al. 2022).
   */
  readonly typicalP?: number
  /** Divides positive and multiplies negative logits of tokens that were there before, greater than 0; 1 (default): none. CTRL (Keskar et al. 2019). */
  readonly repetitionPenalty?: number
  /** Taken off the logits of tokens that were there before, once; 0 (default): none. Negative values favour them. */
  readonly presencePenalty?: number
  /** Taken off the logits of tokens that were there before, as often as they were; 0 (default): none. Negative values favour them. */
  readonly frequencyPenalty?: number
  /** No sequence of so many tokens comes twice; 0 (default): no limit. */
  readonly noRepeatNgramSize?: number
  /**
   * Added to the logits of some tokens; -Infinity rules one out. A key of digits is a token id; any other is a token's text, `' red'` and `'red'` being two,
   * or its piece as the vocabulary writes it, such as `'▁red'` or `'</s>'`.
   */
  readonly logitBias?: Readonly<Record<number | string, number>>
  /** No end-of-sequence token is chosen before so many tokens; default 0. Stop strings still end the answer. */
  readonly minTokens?: number
  /** Has the last word on the logits. */
  readonly logitsProcessor?: LogitsProcessor
  /** An integer; the same seed gives the same text, on any number of threads and whatever runs beside it. Default: a random one. */
  readonly seed?: number
}

type Rule = readonly [expectation: string, holds: (value: number) => boolean]

const fraction: Rule = ['a number in (0, 1]', (value) => value > 0 && value <= 1]
const finite: Rule = ['a finite number', Number.isFinite]
const count: Rule = ['an integer that is 0 or greater', (value) => Number.isSafeInteger(value) && value >= 0]

const rules = {
  temperature: ['a number that is 0 or greater', (value) => value >= 0 && value < Infinity],
  topK: count,
  topP: fraction,
  minP: ['a number in [0, 1]', (value) => value >= 0 && value <= 1],
  typicalP: fraction,
  repetitionPenalty: ['a number greater than 0', (value) => value > 0 && value < Infinity],
  presencePenalty: finite,
  frequencyPenalty: finite,
  noRepeatNgramSize: count,
  minTokens: count,
  seed: ['an integer', Number.isSafeInteger],
} satisfies Partial<Record<keyof SamplingOptions, Rule>>

const biasRule = 'token ids or texts with numbers to add, or -Infinity'

/** Throws INVALID_ARGUMENT for the first value that is none. Keys of `logitBias` are the façade's to look up. */
export function checkSampling(options: SamplingOptions): void {
  for (const [name, [expectation, holds]] of Object.entries(rules) as [keyof typeof rules, Rule][]) {
    const value = options[name]
    if (value !== undefined && !(typeof value === 'number' && holds(value)))
      throw invalidArgument(name, expectation, value)
  }
  const { logitBias, logitsProcessor } = options
  if (logitBias !== undefined) checkBias(logitBias)
  if (
    logitsProcessor !== undefined &&
    typeof (logitsProcessor as Partial<LogitsProcessor> | null)?.process !== 'function'
  ) {
    throw invalidArgument('logitsProcessor', 'an object with a method `process`', logitsProcessor)
  }
}

function checkBias(bias: unknown): void {
  if (typeof bias !== 'object' || bias === null || Array.isArray(bias) || bias instanceof Map)
    throw invalidArgument('logitBias', biasRule, bias)
  for (const [key, value] of Object.entries(bias) as [string, unknown][]) {
    const sensible = typeof value === 'number' && (value === -Infinity || Number.isFinite(Math.fround(value)))
    if (!sensible) throw invalidArgument(`logitBias[${JSON.stringify(key)}]`, 'a number to add, or -Infinity', value)
  }
}
