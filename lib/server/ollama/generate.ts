// POST /api/generate, as Ollama's API has it ("Generate a completion").

import * as v from 'valibot'
import { object } from '../schema-object.js'
import { Answers } from '../answers.js'
import { messagesOf, modelOf, pictureIn, type Part, type Turn } from '../conversation-input.js'
import { route, type StreamedReply } from '../route.js'
import { answerFields, answerOptions, endFields, lines } from './fields.js'
import { reply } from './reply.js'

/** Clients send these empty. */
const mustBeEmpty = (why: string) =>
  v.nullish(
    v.pipe(
      v.string(),
      v.check((text) => text === '', why),
    ),
  )

const body = object({
  ...answerFields,
  prompt: v.optional(v.string(), ''),
  images: v.nullish(v.pipe(v.array(v.string()), v.description('in base64'))),
  system: v.nullish(v.string()),
  raw: v.nullish(v.pipe(v.boolean(), v.description('the prompt as it stands, without a template'))),
  suffix: mustBeEmpty('models of this server do not fill in'),
  template: mustBeEmpty('prompts are written as the model was trained'),
})

const answer = v.object({
  model: v.string(),
  created_at: v.string(),
  response: v.string(),
  done: v.boolean(),
  ...endFields,
})

type Body = v.InferOutput<typeof body>
type Generated = v.InferInput<typeof answer>

export const generate = route({
  method: 'post',
  path: '/api/generate',
  summary: 'Answers one text, as lines of JSON or in one piece.',
  body,
  answer,
  streams: { contentType: lines, piece: answer },
  async handle(call): Promise<Generated | StreamedReply> {
    const asked = call.body
    const model = modelOf(call.served, asked.model)
    // so clients load a model, which is loaded already
    if (asked.prompt === '' && (asked.images ?? []).length === 0)
      return { ...said(asked, ''), done: true, done_reason: 'load' }
    const options = answerOptions(asked, call.served.limits.tokens)
    const answers = new Answers(
      {
        model,
        messages: messagesOf(turns(asked), call),
        options: asked.raw === true ? { ...options, template: 'plain' } : options,
        count: 1,
      },
      call,
    )
    return reply(asked.stream, answers, (text) => said(asked, text))
  },
})

function said({ model }: Body, response: string): Omit<Generated, 'done'> {
  return { model, created_at: new Date().toISOString(), response }
}

function turns({ prompt, images, system }: Body): readonly Turn[] {
  const pictures = (images ?? []).map((image, at): Part => ({
    type: 'image',
    image: pictureIn(image, `images[${at}]`),
  }))
  const question: Turn = { role: 'user', parts: [...pictures, { type: 'text', text: prompt }] }
  if (system === null || system === undefined || system === '') return [question]
  return [{ role: 'system', parts: [{ type: 'text', text: system }] }, question]
}
