// POST /api/chat, as Ollama's API has it ("Generate a chat completion").

import * as v from 'valibot'
import { object } from '../schema-object.js'
import { Answers } from '../answers.js'
import { messagesOf, modelOf, pictureIn, type Part, type Turn } from '../conversation-input.js'
import { noToolsFields } from '../openai/fields.js'
import { route, type StreamedReply } from '../route.js'
import { answerFields, answerOptions, endFields, lines } from './fields.js'
import { reply } from './reply.js'

const message = object({
  role: v.picklist(['system', 'user', 'assistant']),
  content: v.optional(v.string(), ''),
  images: v.nullish(v.pipe(v.array(v.string()), v.description('in base64'))),
})

const body = object({ ...answerFields, messages: v.array(message), ...noToolsFields })

const answer = v.object({
  model: v.string(),
  created_at: v.string(),
  message: v.object({ role: v.literal('assistant'), content: v.string() }),
  done: v.boolean(),
  ...endFields,
})

type Body = v.InferOutput<typeof body>
type Chat = v.InferInput<typeof answer>

export const chat = route({
  method: 'post',
  path: '/api/chat',
  summary: 'Answers a conversation, as lines of JSON or in one piece.',
  body,
  answer,
  streams: { contentType: lines, piece: answer },
  async handle(call): Promise<Chat | StreamedReply> {
    const asked = call.body
    const model = modelOf(call.served, asked.model)
    // so clients load a model, which is loaded already
    if (asked.messages.length === 0) return { ...said(asked, ''), done: true, done_reason: 'load' }
    const answers = new Answers(
      {
        model,
        messages: messagesOf(turns(asked), call),
        options: answerOptions(asked, call.served.limits.tokens),
        count: 1,
      },
      call,
    )
    return reply(asked.stream, answers, (text) => said(asked, text))
  },
})

function said({ model }: Body, content: string): Omit<Chat, 'done'> {
  return { model, created_at: new Date().toISOString(), message: { role: 'assistant', content } }
}

function turns({ messages }: Body): readonly Turn[] {
  return messages.map(({ role, content, images }, at) => ({
    role,
    parts: [
      ...(images ?? []).map((image, n): Part => ({
        type: 'image',
        image: pictureIn(image, `messages[${at}].images[${n}]`),
      })),
      { type: 'text', text: content },
    ],
  }))
}
