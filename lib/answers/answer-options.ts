// What a call for answers may say: messages, prompts, and how an answer is written.

import type { FormatOptions } from './answer-format.js'
import type { ImageSource } from '../engine/encoded-image.js'
import { invalidArgument } from '../errors.js'
import { abortSignal, callback, flag, oneOf, stopStrings, text, wholeNumber, type OptionCheck } from '../options.js'
import type { ManyProgressListener, ProgressListener } from '../progress.js'
import { templateNames, type ChatMessage, type TemplateName } from '../prompt/templates.js'
import type { SamplingOptions } from '../sampling/options.js'

/** A message of `LLaVA.chat`. */
export type Message = ChatMessage<ImageSource>

/** How prompts are written. */
export interface PromptOptions {
  /**
   * The conversation's format; `checkpoint` renders the chat template that the checkpoint brings. Default: what fits
   * the checkpoint, which `info()` names; `vicuna_v1`, LLaVA 1.5's own, unless its name or its vocabulary is another
   * family's. Some end an answer at text of their own, such as `###` of `v0`.
   */
  readonly template?: TemplateName
  /** Replaces the template's system text. */
  readonly system?: string
}

/** A question of `askMany`. */
export interface AskInput {
  /** What it is about; default nothing. */
  readonly images?: ImageSource | readonly ImageSource[]
  readonly question: string
}

/** Those of `ask`, the same for all questions. */
export interface AskManyOptions<Schema = unknown, Choice extends string = string> extends Omit<
  AnswerOptions<Schema, Choice>,
  'onProgress'
> {
  /** Answers in the order of their questions (default), or each as soon as it is written. */
  readonly ordered?: boolean
  /** Hears how many questions are done. */
  readonly onProgress?: ManyProgressListener
}

export interface AnswerOptions<Schema = unknown, Choice extends string = string>
  extends SamplingOptions, PromptOptions, FormatOptions<Schema, Choice> {
  /** Most tokens to generate; default 512. */
  readonly maxTokens?: number
  /**
   * Most tokens that are computed ahead at once, in [0, 31]; default 15, 0: none. They are looked up in the prompt and
   * the answer so far, and used only where they are the tokens that are chosen anyway: the answer is the same, and
   * comes faster where it repeats what was said. Several answers to one question take none.
   */
  readonly promptLookupTokens?: number
  /**
   * Of answers that wait for memory (`kvCacheBytes`), those of higher priority go first; default 0, in [-1000, 1000].
   */
  readonly priority?: number
  /**
   * Whom the answer is for: of answers that wait with the same priority, those of whoever has the least memory in use
   * go first. Default nobody in particular.
   */
  readonly client?: string
  /**
   * Milliseconds that an answer waits for memory at most, then it fails with OVERLOADED; default: as long as it takes.
   * `signal` bounds the whole call.
   */
  readonly maxWaitMs?: number
  /** Text that ends the answer; it is not part of it. */
  readonly stop?: string | readonly string[]
  /**
   * Gives with each token its log-probability and those of the so many likeliest ones, in [0, 20]; default: none at
   * all.
   */
  readonly logprobs?: number
  /** Hears how far pictures, prompt and answer are. */
  readonly onProgress?: ProgressListener
  /** Stops the work natively and fails the call with ABORTED, the signal's reason as its cause. */
  readonly signal?: AbortSignal
}

export const promptChecks = { template: oneOf(...templateNames), system: text } satisfies Record<
  keyof PromptOptions,
  OptionCheck
>

/** Most alternatives to a token, as elsewhere (OpenAI's and vLLM's APIs). */
const mostLogprobs = 20

/** Most tokens of a draft: eight groups of four rows, with the token before them. */
const mostLookupTokens = 31

const byFormat: OptionCheck = () => undefined // answer-format.ts says what a format is

const bySampling: OptionCheck = () => undefined // lib/sampling/options.ts says which values are sensible

export const answerChecks = {
  ...promptChecks,
  temperature: bySampling,
  topK: bySampling,
  topP: bySampling,
  minP: bySampling,
  typicalP: bySampling,
  repetitionPenalty: bySampling,
  presencePenalty: bySampling,
  frequencyPenalty: bySampling,
  noRepeatNgramSize: bySampling,
  logitBias: bySampling,
  minTokens: bySampling,
  logitsProcessor: bySampling,
  seed: bySampling,
  schema: byFormat,
  choices: byFormat,
  regex: byFormat,
  maxTokens: wholeNumber(1),
  promptLookupTokens: wholeNumber(0, mostLookupTokens),
  stop: stopStrings,
  priority: wholeNumber(-1000, 1000),
  client: text,
  maxWaitMs: wholeNumber(0, 2 ** 31 - 1), // of a timer
  logprobs: wholeNumber(0, mostLogprobs),
  onProgress: callback,
  signal: abortSignal,
} satisfies Record<keyof AnswerOptions, OptionCheck>

export const askManyChecks = { ...answerChecks, ordered: flag } satisfies Record<keyof AskManyOptions, OptionCheck>

export const messageList: OptionCheck = (name, value) => {
  const isList = Array.isArray(value) && value.every((message) => typeof message === 'object' && message !== null)
  if (!isList) throw invalidArgument(name, 'a list of messages { role, content }', value)
}
