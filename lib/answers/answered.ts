// A prompt and the answer that it got, to be looked at once more.

import { invalidArgument } from '../errors.js'
import { checkOptions, type OptionCheck } from '../options.js'
import { conversationImages } from '../prompt/templates.js'
import { messageList, type Message, type PromptOptions } from './answer-options.js'
import type { Answer } from './answer.js'
import type { ImageSource } from '../engine/encoded-image.js'
import type { Engine } from '../engine/engine.js'
import type { PromptParts, PromptWriter } from './prompt-writer.js'

/**
 * What was answered: what `ask` or `chat` gave, or a text, which is then cut into tokens as an answer to these messages
 * would be.
 */
export type Answered = Pick<Answer, 'tokenIds'> | string

/** Checked and read; nothing is computed. */
export interface AnsweredPrompt {
  readonly parts: PromptParts
  readonly images: readonly ImageSource[]
  /** The answer's tokens, at least one. */
  readonly tokenIds: () => Promise<readonly number[]>
}

/** Throws INVALID_ARGUMENT for what is wrong with messages, answer or options. */
export function answeredPrompt(
  { config }: Pick<Engine, 'config'>,
  prompts: PromptWriter,
  call: string,
  messages: readonly Message[],
  answer: Answered,
  options: PromptOptions,
  checks: Readonly<Record<string, OptionCheck>>,
): AnsweredPrompt {
  messageList('messages', messages)
  checkOptions(call, options, checks)
  const template = options.template ?? prompts.template
  const system = options.system ?? prompts.system
  const parts = prompts.parts(messages, template, system)
  if (typeof answer === 'string') {
    if (answer.trim() === '') throw invalidArgument('answer', 'a text', answer)
    const tokenIds = () => prompts.answerIds([...messages], answer.trim(), template, system)
    return { parts, images: conversationImages(messages), tokenIds }
  }
  const ids: readonly number[] = idsOf(answer, config.text.vocabSize)
  return { parts, images: conversationImages(messages), tokenIds: () => Promise.resolve(ids) }
}

function idsOf(answer: unknown, vocabSize: number): readonly number[] {
  const { tokenIds } = Object(answer) as { readonly tokenIds?: unknown }
  const isId = (id: unknown) => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabSize
  if (!Array.isArray(tokenIds) || tokenIds.length === 0 || !tokenIds.every(isId))
    throw invalidArgument('answer', 'an answer of this model with at least one token, or its text', answer)
  return [...(tokenIds as readonly number[])]
}
