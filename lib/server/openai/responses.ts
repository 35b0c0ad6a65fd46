// POST /v1/responses in its basic form, as OpenAI's API reference has it ("Create a model response"): nothing is kept,
// and there are no tools.

import * as v from 'valibot'
import { dictionary, object } from '../schema-object.js'
import type { Answer } from '../../index.js'
import { Answers } from '../answers.js'
import type { ApiError } from '../api-error.js'
import { messagesOf, modelOf, pictureAt, type Part, type Turn } from '../conversation-input.js'
import { route, StreamedReply, type Served } from '../route.js'
import {
  event,
  eventStream,
  formatOptions,
  given,
  jsonObjectFormat,
  jsonSchemaFields,
  modelField,
  noToolsFields,
  samplingFields,
  seconds,
  textFormat,
  wholeNumber,
} from './fields.js'

const part = v.variant('type', [
  object({ type: v.picklist(['input_text', 'output_text']), text: v.string() }),
  object({
    type: v.literal('input_image'),
    image_url: v.pipe(v.string(), v.description('data:, http: or https:')),
    detail: v.nullish(v.picklist(['auto', 'low', 'high'])),
  }),
])

const message = object({
  type: v.optional(v.literal('message')),
  role: v.picklist(['system', 'developer', 'user', 'assistant']),
  content: v.union([v.string(), v.array(part)]),
})

const body = object({
  model: modelField,
  input: v.union([v.string(), v.pipe(v.array(message), v.minLength(1))]),
  instructions: v.nullish(v.string()),
  max_output_tokens: v.nullish(wholeNumber(1)),
  ...samplingFields,
  stream: v.nullish(v.boolean()),
  text: v.nullish(
    object({
      format: v.nullish(
        v.variant('type', [
          textFormat,
          jsonObjectFormat,
          object({ type: v.literal('json_schema'), ...jsonSchemaFields }),
        ]),
      ),
    }),
  ),
  previous_response_id: v.nullish(
    v.pipe(
      v.string(),
      v.check(() => false, 'responses are not kept: send the whole conversation'),
    ),
  ),
  metadata: v.nullish(dictionary(v.string())),
  ...noToolsFields,
})

const outputText = v.object({
  type: v.literal('output_text'),
  text: v.string(),
  annotations: v.array(v.unknown()),
  logprobs: v.array(v.unknown()),
})

const status = v.picklist(['in_progress', 'completed', 'incomplete'])

const outputMessage = v.object({
  type: v.literal('message'),
  id: v.string(),
  status,
  role: v.literal('assistant'),
  content: v.array(outputText),
})

const usage = v.object({
  input_tokens: v.number(),
  input_tokens_details: v.object({ cached_tokens: v.number() }),
  output_tokens: v.number(),
  output_tokens_details: v.object({ reasoning_tokens: v.number() }),
  total_tokens: v.number(),
})

const response = v.object({
  id: v.string(),
  object: v.literal('response'),
  created_at: v.number(),
  status,
  error: v.null(),
  incomplete_details: v.nullable(v.object({ reason: v.literal('max_output_tokens') })),
  instructions: v.nullable(v.string()),
  max_output_tokens: v.nullable(v.number()),
  model: v.string(),
  output: v.array(outputMessage),
  parallel_tool_calls: v.boolean(),
  previous_response_id: v.null(),
  store: v.boolean(),
  temperature: v.nullable(v.number()),
  text: v.object({ format: v.object({ type: v.string() }) }),
  tool_choice: v.literal('none'),
  tools: v.array(v.unknown()),
  top_p: v.nullable(v.number()),
  truncation: v.literal('disabled'),
  usage: v.nullable(usage),
  metadata: v.record(v.string(), v.string()),
})

const numbered = { sequence_number: v.number() }
const ofItem = { ...numbered, item_id: v.string(), output_index: v.number() }
const ofPart = { ...ofItem, content_index: v.number() }

const streamEvent = v.variant('type', [
  v.object({
    type: v.picklist(['response.created', 'response.in_progress', 'response.completed', 'response.incomplete']),
    response,
    ...numbered,
  }),
  v.object({
    type: v.picklist(['response.output_item.added', 'response.output_item.done']),
    item: outputMessage,
    output_index: v.number(),
    ...numbered,
  }),
  v.object({
    type: v.picklist(['response.content_part.added', 'response.content_part.done']),
    part: outputText,
    ...ofPart,
  }),
  v.object({
    type: v.literal('response.output_text.delta'),
    delta: v.string(),
    logprobs: v.array(v.unknown()),
    ...ofPart,
  }),
  v.object({
    type: v.literal('response.output_text.done'),
    text: v.string(),
    logprobs: v.array(v.unknown()),
    ...ofPart,
  }),
])

type Body = v.InferOutput<typeof body>
type Response = v.InferInput<typeof response>
type Message = v.InferInput<typeof outputMessage>
type StreamEvent = v.InferInput<typeof streamEvent>
/** Without its number, for each kind of event by itself. */
type Unnumbered<Event> = Event extends unknown ? Omit<Event, 'sequence_number'> : never

export const responses = route({
  method: 'post',
  path: '/v1/responses',
  summary: 'Answers a text or a conversation, in one piece or streamed.',
  body,
  answer: response,
  streams: { contentType: eventStream, piece: streamEvent },
  async handle(call): Promise<Response | StreamedReply> {
    const asked = call.body
    const question = {
      model: modelOf(call.served, asked.model),
      messages: messagesOf(turns(asked, call.served), call),
      options: {
        ...given({ maxTokens: asked.max_output_tokens, temperature: asked.temperature, topP: asked.top_p }),
        ...formatOptions(asked.text?.format ?? undefined),
      },
      count: 1,
    }
    const answers = new Answers(question, call)
    const writing = new Writing(asked, call.id)
    if (asked.stream === true)
      return new StreamedReply(eventStream, writing.events(answers), (error) => writing.failed(error))
    return writing.ended((await answers.all)[0] as Answer)
  },
})

/** A response from its first event to its last. */
class Writing {
  readonly #asked: Body
  readonly #id: string
  readonly #created = seconds(new Date())
  #sequence = 0

  constructor(asked: Body, id: string) {
    this.#asked = asked
    this.#id = id
  }

  ended(answer: Answer): Response {
    const { promptTokens, cachedTokens, completionTokens } = answer.usage
    const cut = answer.finishReason === 'length'
    return {
      ...this.#response(),
      status: cut ? 'incomplete' : 'completed',
      incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
      output: [this.#message(cut ? 'incomplete' : 'completed', answer.text)],
      usage: {
        input_tokens: promptTokens,
        input_tokens_details: { cached_tokens: cachedTokens },
        output_tokens: completionTokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: promptTokens + completionTokens,
      },
    }
  }

  async *events(answers: Answers): AsyncGenerator<string, void, undefined> {
    const place = { item_id: this.#itemId, output_index: 0, content_index: 0 }
    let begun = false
    for await (const { text } of answers.pieces()) {
      if (!begun) yield this.#beginning()
      begun = true
      if (text !== '') yield this.#write({ type: 'response.output_text.delta', ...place, delta: text, logprobs: [] })
    }
    if (!begun) yield this.#beginning()
    const ended = this.ended((await answers.all)[0] as Answer)
    const [item] = ended.output as [Message]
    const [part] = item.content as [Message['content'][number]]
    yield this.#write({ type: 'response.output_text.done', ...place, text: part.text, logprobs: [] })
    yield this.#write({ type: 'response.content_part.done', ...place, part })
    yield this.#write({ type: 'response.output_item.done', output_index: 0, item })
    yield this.#write({
      type: ended.status === 'incomplete' ? 'response.incomplete' : 'response.completed',
      response: ended,
    })
  }

  /** The last event of a response that fails half-way. */
  failed({ message, code, param }: ApiError): string {
    return event({ type: 'error', code, message, param, sequence_number: this.#sequence++ }, 'error')
  }

  /** What comes before the first text. */
  #beginning(): string {
    const place = { item_id: this.#itemId, output_index: 0, content_index: 0 }
    const empty = { ...this.#message('in_progress', ''), content: [] }
    return [
      this.#write({ type: 'response.created', response: this.#response() }),
      this.#write({ type: 'response.in_progress', response: this.#response() }),
      this.#write({ type: 'response.output_item.added', output_index: 0, item: empty }),
      this.#write({ type: 'response.content_part.added', ...place, part: textOf('') }),
    ].join('')
  }

  get #itemId(): string {
    return `msg_${this.#id}`
  }

  #write(unnumbered: Unnumbered<StreamEvent>): string {
    return event({ ...unnumbered, sequence_number: this.#sequence++ }, unnumbered.type)
  }

  #message(status: Message['status'], text: string): Message {
    return { type: 'message', id: this.#itemId, status, role: 'assistant', content: [textOf(text)] }
  }

  #response(): Response {
    const { model, instructions, max_output_tokens, temperature, top_p, text, metadata } = this.#asked
    return {
      id: `resp_${this.#id}`,
      object: 'response',
      created_at: this.#created,
      status: 'in_progress',
      error: null,
      incomplete_details: null,
      instructions: instructions ?? null,
      max_output_tokens: max_output_tokens ?? null,
      model,
      output: [],
      parallel_tool_calls: false,
      previous_response_id: null,
      store: false,
      temperature: temperature ?? 0,
      text: { format: text?.format ?? { type: 'text' } },
      tool_choice: 'none',
      tools: [],
      top_p: top_p ?? 1,
      truncation: 'disabled',
      usage: null,
      metadata: metadata ?? {},
    }
  }
}

function textOf(text: string): Message['content'][number] {
  return { type: 'output_text', text, annotations: [], logprobs: [] }
}

function turns({ input, instructions }: Body, served: Served): readonly Turn[] {
  const opening: readonly Turn[] =
    instructions === null || instructions === undefined || instructions === ''
      ? []
      : [{ role: 'system', parts: [{ type: 'text', text: instructions }] }]
  if (typeof input === 'string') return [...opening, { role: 'user', parts: [{ type: 'text', text: input }] }]
  const said = input.map(({ role, content }, at): Turn => ({
    role: role === 'developer' ? 'system' : role,
    parts: partsOf(content, served, `input[${at}].content`),
  }))
  return [...opening, ...said]
}

function partsOf(
  content: string | readonly v.InferOutput<typeof part>[],
  served: Served,
  param: string,
): readonly Part[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  return content.map((one, at) =>
    one.type === 'input_image'
      ? { type: 'image', image: pictureAt(one.image_url, served, `${param}[${at}].image_url`) }
      : { type: 'text', text: one.text },
  )
}
