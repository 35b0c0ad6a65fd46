// A question with everything about it checked and read that needs no computing.

import type { Place } from '../engine/admission.js'
import type { ImageSource } from '../engine/encoded-image.js'
import type { Engine } from '../engine/engine.js'
import { invalidArgument } from '../errors.js'
import { checkOptions } from '../options.js'
import type { ProgressListener } from '../progress.js'
import { conversationImages } from '../prompt/templates.js'
import { checkSampling } from '../sampling/options.js'
import { Sampler } from '../sampling/sampler.js'
import { answerChecks, type AnswerOptions, type AskInput, type Message } from './answer-options.js'
import { AnswerFormat } from './answer-format.js'
import { biasById } from './logit-bias.js'
import type { Past } from './past.js'
import type { PromptParts, PromptWriter } from './prompt-writer.js'

export interface AnswerRequest {
  /** The public method. */
  readonly call: string
  readonly parts: PromptParts
  readonly images: readonly ImageSource[]
  /** One for each answer. */
  readonly samplers: readonly Sampler[]
  readonly eosIds: readonly number[]
  readonly stop: readonly string[]
  readonly format: AnswerFormat | undefined
  readonly maxTokens: number
  readonly promptLookupTokens: number
  readonly place: Place
  readonly signal: AbortSignal | undefined
  /** How many alternatives to each token are wanted. */
  readonly logprobs: number | undefined
  readonly onProgress: ProgressListener | undefined
  /** What a conversation keeps between its prompts. */
  readonly past?: Past
}

/**
 * Throws INVALID_ARGUMENT for what is wrong with messages or options.
 * @param call the public method, as errors name it
 * @param count answers to the one question
 */
export function answerRequest(
  { tokenizer, description, config }: Engine,
  prompts: PromptWriter,
  call: string,
  messages: readonly Message[],
  options: AnswerOptions,
  count = 1,
): AnswerRequest {
  checkOptions(call, options, answerChecks)
  checkSampling(options)
  const { stop = [], maxTokens = 512, promptLookupTokens = 15, minTokens = 0 } = options
  const { logitBias, signal, logprobs, onProgress, priority, client, maxWaitMs } = options
  if (minTokens > maxTokens) throw invalidArgument('minTokens', `at most \`maxTokens\`, ${maxTokens}`, minTokens)
  const sampling =
    logitBias === undefined ? options : { ...options, logitBias: biasById(logitBias, tokenizer, config.text.vocabSize) }
  const image = description.imageToken === undefined ? [] : [description.imageToken.id]
  const template = options.template ?? prompts.template
  const { stopIds, stopTexts } = prompts.stops(template)
  const eosIds = [...description.generation.eosTokenIds, ...stopIds]
  const banned = { ids: image, from: tokenizer.vocabSize, eosIds }
  const format = AnswerFormat.of(options, tokenizer, [...image, ...description.generation.eosTokenIds])
  return {
    call,
    parts: prompts.parts(messages, template, options.system ?? prompts.system),
    images: conversationImages(messages),
    samplers: Array.from({ length: count }, (_, stream) => new Sampler(sampling, banned, stream)),
    eosIds,
    // a format ends by itself; a template's stop may be part of a value
    stop: [...(format === undefined ? stopTexts : []), ...(typeof stop === 'string' ? [stop] : stop)],
    format,
    maxTokens,
    promptLookupTokens,
    signal,
    logprobs,
    onProgress,
    place: { priority, client, maxWaitMs },
  }
}

/** An input of `askMany`. */
export function askInput(name: string, input: AskInput): Required<AskInput> {
  if (typeof input !== 'object' || input === null || typeof input.question !== 'string')
    throw invalidArgument(name, 'an object with a question, a string, and images where it is about some', input)
  return { images: input.images ?? [], question: input.question }
}

/** One user's message: the pictures, then the question. */
export function userMessage(image: ImageSource | readonly ImageSource[], question: string): Message {
  if (typeof question !== 'string') throw invalidArgument('question', 'a string', question)
  const images: readonly ImageSource[] = Array.isArray(image) ? image : [image as ImageSource]
  return {
    role: 'user',
    content: [...images.map((one) => ({ type: 'image' as const, image: one })), { type: 'text', text: question }],
  }
}
