// POST /v1/llava/attention: where the model looked for each word of an answer. No API of others has it; its messages are those of chat
// completions, the answer last.

import * as v from 'valibot'
import { answerWords, type LLaVA, type Message, type Occlusion, type TokenAttention } from '../../index.js'
import { ApiError, reasons } from '../api-error.js'
import { messagesOf, modelOf, type Turn } from '../conversation-input.js'
import { chatMessages, turnsOf } from '../openai/chat-messages.js'
import { modelField, wholeNumber } from '../openai/fields.js'
import { route, type Call } from '../route.js'
import { object } from '../schema-object.js'

const body = object({
  model: modelField,
  messages: v.pipe(chatMessages, v.description('those of /v1/chat/completions, and the answer as the last one')),
  picture: v.nullish(v.pipe(wholeNumber(0), v.description('which of the pictures, counted from 0; default 0'))),
  layers: v.nullish(
    v.pipe(v.array(wholeNumber(0)), v.description('decoder layers whose mean it is, counted from 0; default all')),
  ),
  occlusion: v.nullish(
    v.pipe(
      v.boolean(),
      v.description('whether to grey places of the picture too: a picture and a prompt for each of them'),
    ),
  ),
  window: v.nullish(v.pipe(wholeNumber(1), v.description('patches on a side of a place; default: at most 64 places'))),
})

const field = v.array(v.array(v.number()))
const size = { rows: v.number(), columns: v.number() }

const answer = v.object({
  object: v.literal('llava.attention'),
  model: v.string(),
  text: v.pipe(v.string(), v.description('the answer')),
  grid: v.pipe(v.object(size), v.description('patches of the picture as the model sees it')),
  places: v.nullable(v.object({ window: v.number(), ...size })),
  words: v.array(
    v.object({
      text: v.string(),
      start: v.pipe(v.number(), v.description('in `text`, in UTF-16 units')),
      end: v.number(),
      logprob: v.number(),
      attention: v.pipe(
        field,
        v.description('shares of the attention by row and column: means over layers, heads and the tokens of the word'),
      ),
      occlusion: v.nullable(
        v.pipe(field, v.description("by row and column of `places`: the change of the word's log-probability")),
      ),
    }),
  ),
})

type Body = v.InferOutput<typeof body>

export const attention = route({
  method: 'post',
  path: '/v1/llava/attention',
  summary: 'Where the model looked for each word of an answer; what it read, which is no explanation of it.',
  body,
  answer,
  async handle(call): Promise<v.InferInput<typeof answer>> {
    const { model: name, picture, layers, occlusion, window } = call.body
    const model = modelOf(call.served, name)
    const { messages, text } = asked(call)
    const options = { signal: call.signal, client: call.client, maxWaitMs: call.served.limits.waitMs }
    const tokens = await means(model, messages, text, { ...options, picture, layers })
    const changed =
      occlusion === true
        ? await model.occlusionOf(messages, text, {
            ...options,
            ...(typeof picture === 'number' && { picture }),
            ...(typeof window === 'number' && { window }),
          })
        : undefined
    const whole = Buffer.from(tokens.flatMap(({ bytes }) => [...bytes])).toString()
    const lead = whole.length - whole.trimStart().length
    const grid = tokens[0]?.grid ?? { rows: 0, columns: 0 }
    return {
      object: 'llava.attention',
      model: name,
      text: whole.trim(),
      grid,
      places: changed === undefined ? null : { window: changed.window, ...changed.grid },
      words: answerWords(tokens).map((word) => {
        const own = word.tokens.map((token) => tokens[token] as MeanAttention)
        return {
          text: word.text,
          start: word.start - lead,
          end: word.end - lead,
          logprob: Math.max(
            own.reduce((sum, { logprob }) => sum + logprob, 0),
            -9999, // JSON has no infinity
          ),
          attention: rowsOf(meanOf(own), grid.columns),
          occlusion: changed === undefined ? null : changes(changed, word.tokens),
        }
      }),
    }
  },
})

/** What is kept of a token's attention. */
interface MeanAttention extends Pick<TokenAttention, 'bytes' | 'logprob' | 'grid'> {
  readonly mean: Float32Array
}

async function means(
  model: LLaVA,
  messages: readonly Message[],
  text: string,
  { picture, layers, ...options }: Pick<Body, 'picture' | 'layers'> & Parameters<LLaVA['attentionOfTokens']>[2],
): Promise<readonly MeanAttention[]> {
  const chosen = { ...(typeof picture === 'number' && { picture }), ...(Array.isArray(layers) && { layers }) }
  const tokens: MeanAttention[] = []
  for await (const token of model.attentionOfTokens(messages, text, options)) {
    const { bytes, logprob, grid } = token
    tokens.push({ bytes, logprob, grid, mean: token.mean(chosen) })
  }
  return tokens
}

/** The question, and its answer. Fails with 400 where the last message is none. */
function asked(call: Call<Body>): { readonly messages: readonly Message[]; readonly text: string } {
  const turns = turnsOf(call.body.messages, call.served)
  const last = turns.at(-1)
  if (last?.role === 'assistant') {
    const text = textOf(last)
    if (text.trim() !== '') return { messages: messagesOf(turns.slice(0, -1), call), text }
  }
  throw new ApiError(reasons.invalid, 'expected `messages` to end with the answer, a message of the assistant', {
    param: 'messages',
  })
}

function textOf({ parts }: Turn): string {
  return parts.map((part) => (part.type === 'text' ? part.text : '')).join('')
}

function meanOf(tokens: readonly MeanAttention[]): Float32Array {
  const sum = (at: number) => tokens.reduce((total, { mean }) => total + (mean[at] as number), 0)
  return (tokens[0] as MeanAttention).mean.map((_, at) => sum(at) / tokens.length)
}

function changes(occlusion: Occlusion, tokens: readonly number[]): number[][] {
  return rowsOf(occlusion.change(tokens), occlusion.grid.columns)
}

/** Rows of so many values, of four digits: more than a colour shows. */
function rowsOf(values: Float32Array, columns: number): number[][] {
  const finite = Array.from(values, (value) => (Number.isFinite(value) ? Number(value.toPrecision(4)) : 0))
  return Array.from({ length: values.length / columns }, (_, row) => finite.slice(row * columns, (row + 1) * columns))
}
