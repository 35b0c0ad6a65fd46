// POST /v1/chat/completions, as OpenAI's API reference has it ("Create chat completion").

import * as v from 'valibot'
import { dictionary, object } from '../schema-object.js'
import type { Answer, AnswerOptions, FinishReason } from '../../index.js'
import { Answers, spentOn, type Piece } from '../answers.js'
import { ApiError, openaiError, reasons } from '../api-error.js'
import { messagesOf, modelOf } from '../conversation-input.js'
import { route, StreamedReply, type Call } from '../route.js'
import { chatMessages, turnsOf } from './chat-messages.js'
import {
  event,
  eventStream,
  formatOptions,
  furtherSamplingFields,
  given,
  jsonObjectFormat,
  jsonSchemaFields,
  logprobEntry,
  modelField,
  noToolsFields,
  penaltyFields,
  samplingFields,
  seconds,
  textFormat,
  tokenLogprob,
  wholeNumber,
} from './fields.js'

const body = object({
  model: modelField,
  messages: chatMessages,
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(object({ include_usage: v.nullish(v.boolean()) })),
  max_completion_tokens: v.nullish(wholeNumber(1)),
  max_tokens: v.nullish(v.pipe(wholeNumber(1), v.description('the older name of max_completion_tokens'))),
  n: v.nullish(wholeNumber(1)),
  stop: v.nullish(v.union([v.string(), v.array(v.string())])),
  seed: v.nullish(wholeNumber(Number.MIN_SAFE_INTEGER)),
  ...samplingFields,
  ...penaltyFields,
  ...furtherSamplingFields,
  logit_bias: v.nullish(v.pipe(dictionary(v.number()), v.description('by the ids of tokens'))),
  logprobs: v.nullish(v.boolean()),
  top_logprobs: v.nullish(wholeNumber(0, 20)),
  response_format: v.nullish(
    v.variant('type', [
      textFormat,
      jsonObjectFormat,
      object({ type: v.literal('json_schema'), json_schema: object(jsonSchemaFields) }),
    ]),
  ),
  ...noToolsFields,
})

const finishReason = v.picklist(['stop', 'length'])
const logprobs = v.nullable(v.object({ content: v.array(tokenLogprob), refusal: v.null() }))

const usage = v.object({
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
  total_tokens: v.number(),
  prompt_tokens_details: v.object({ cached_tokens: v.number() }),
})

const head = { id: v.string(), created: v.number(), model: v.string() }

const completion = v.object({
  ...head,
  object: v.literal('chat.completion'),
  choices: v.array(
    v.object({
      index: v.number(),
      message: v.object({ role: v.literal('assistant'), content: v.string(), refusal: v.null() }),
      logprobs,
      finish_reason: finishReason,
    }),
  ),
  usage,
})

const chunk = v.object({
  ...head,
  object: v.literal('chat.completion.chunk'),
  choices: v.array(
    v.object({
      index: v.number(),
      delta: v.object({ role: v.optional(v.literal('assistant')), content: v.optional(v.string()) }),
      logprobs,
      finish_reason: v.nullable(finishReason),
    }),
  ),
  usage: v.optional(v.nullable(usage)),
})

type Body = v.InferOutput<typeof body>
type Chunk = v.InferOutput<typeof chunk>

export const chatCompletions = route({
  method: 'post',
  path: '/v1/chat/completions',
  summary: 'Answers a conversation, in one piece or streamed.',
  body,
  answer: completion,
  streams: { contentType: eventStream, piece: chunk },
  async handle(call): Promise<v.InferInput<typeof completion> | StreamedReply> {
    const asked = call.body
    const answers = new Answers(
      {
        model: modelOf(call.served, asked.model),
        messages: messagesOf(turnsOf(asked.messages, call.served), call),
        options: answerOptions(asked),
        count: countOf(asked, call),
      },
      call,
    )
    const made = { id: `chatcmpl-${call.id}`, created: seconds(new Date()), model: asked.model }
    if (asked.stream === true) {
      const failure = (error: ApiError) => event(openaiError(error))
      return new StreamedReply(eventStream, chunks(answers, asked, made), failure)
    }
    const all = await answers.all
    return {
      ...made,
      object: 'chat.completion',
      choices: all.map((answer, index) => ({
        index,
        message: { role: 'assistant', content: answer.text, refusal: null },
        logprobs: answer.logprobs === undefined ? null : { content: answer.logprobs.map(logprobEntry), refusal: null },
        finish_reason: finishOf(answer.finishReason),
      })),
      usage: usageOf(all),
    }
  },
})

async function* chunks(
  answers: Answers,
  asked: Body,
  made: { readonly id: string; readonly created: number; readonly model: string },
): AsyncGenerator<string, void, undefined> {
  const withUsage = asked.stream_options?.include_usage === true
  const write = (choices: Chunk['choices'], usage: Chunk['usage'] = null): string =>
    event({
      ...made,
      object: 'chat.completion.chunk',
      choices,
      ...(withUsage && { usage }),
    } satisfies Chunk)
  const begun = new Set<number>()
  const begin = function* (index: number) {
    if (begun.has(index)) return
    begun.add(index)
    yield write([{ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }])
  }
  for await (const piece of answers.pieces()) {
    yield* begin(piece.index)
    const delta = { content: piece.text }
    yield write([{ index: piece.index, delta, logprobs: logprobsOf(piece), finish_reason: null }])
  }
  const all = await answers.all
  for (const [index, { finishReason }] of all.entries()) {
    yield* begin(index)
    yield write([{ index, delta: {}, logprobs: null, finish_reason: finishOf(finishReason) }])
  }
  if (withUsage) yield write([], usageOf(all))
  yield 'data: [DONE]\n\n'
}

function logprobsOf({ tokens }: Piece): v.InferOutput<typeof logprobs> {
  const content = tokens.flatMap((token) => (token.logprobs === undefined ? [] : [logprobEntry(token.logprobs)]))
  return content.length === 0 ? null : { content, refusal: null }
}

/** How many answers. Fails with 400 where they are more than are allowed. */
function countOf({ n }: Body, { served }: Call<unknown>): number {
  const { answers } = served.limits
  if ((n ?? 1) <= answers) return n ?? 1
  throw new ApiError(reasons.unsupported, `expected \`n\` to be at most ${answers}, got ${n}`, { param: 'n' })
}

function answerOptions(asked: Body): AnswerOptions {
  const { response_format: format, logprobs, top_logprobs } = asked
  return {
    ...given({
      maxTokens: asked.max_completion_tokens ?? asked.max_tokens,
      stop: asked.stop,
      seed: asked.seed,
      temperature: asked.temperature,
      topP: asked.top_p,
      topK: asked.top_k,
      minP: asked.min_p,
      repetitionPenalty: asked.repetition_penalty,
      presencePenalty: asked.presence_penalty,
      frequencyPenalty: asked.frequency_penalty,
      logitBias: asked.logit_bias,
      logprobs: logprobs === true ? (top_logprobs ?? 0) : undefined,
    }),
    ...formatOptions(
      format?.type === 'json_schema'
        ? { type: 'json_schema', schema: format.json_schema.schema }
        : (format ?? undefined),
    ),
  }
}

function finishOf(reason: FinishReason): 'stop' | 'length' {
  return reason === 'length' ? 'length' : 'stop'
}

function usageOf(answers: readonly Answer[]): v.InferOutput<typeof usage> {
  const { promptTokens, cachedTokens, completionTokens } = spentOn(answers)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  }
}
