// POST /v1/responses, asked by OpenAI's own client.

import test from 'ava'
import OpenAI from 'openai'
import { answer, demoUrl, question, running, type Running } from './running.js'

let here: Running
let client: OpenAI
test.before(async () => {
  here = await running()
  client = new OpenAI({ baseURL: `${here.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
test.after.always(() => here[Symbol.asyncDispose]())

const asked = {
  model: 'default',
  input: [
    {
      role: 'user' as const,
      content: [
        { type: 'input_image' as const, image_url: demoUrl, detail: 'auto' as const },
        { type: 'input_text' as const, text: question },
      ],
    },
  ],
}

test('a question about a picture has the answer that the library gives', async (t) => {
  const own = await here.model.ask(demoUrl, question)
  const response = await client.responses.create(asked)
  t.is(response.output_text, answer)
  t.is(response.status, 'completed')
  t.is(response.usage?.input_tokens, own.usage.promptTokens)
  t.is(response.usage?.output_tokens, own.usage.completionTokens)
})

test('a stream is the events of a response, numbered, whose end is the whole one', async (t) => {
  const types: string[] = []
  const numbers: number[] = []
  let text = ''
  let last: OpenAI.Responses.Response | undefined
  for await (const event of await client.responses.create({ ...asked, stream: true })) {
    if (types.at(-1) !== event.type) types.push(event.type)
    numbers.push(event.sequence_number)
    if (event.type === 'response.output_text.delta') text += event.delta
    if (event.type === 'response.completed') last = event.response
  }
  t.is(text, answer)
  t.deepEqual(types, [
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.content_part.added',
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    'response.completed',
  ])
  t.deepEqual(
    numbers,
    numbers.map((_, n) => n),
  )
  t.like(last?.output[0], { type: 'message', content: [{ type: 'output_text', text: answer }] })
  const whole = await client.responses.stream(asked).finalResponse()
  t.is(whole.output_text, answer)
})

test('instructions, earlier turns, a form and a limit of tokens reach the model', async (t) => {
  const format = { type: 'json_schema' as const, name: 'thing', schema: { enum: ['dog', 'fish'] } }
  const chosen = await client.responses.create({
    model: 'default',
    instructions: 'Answer in one word.',
    input: [...asked.input, { role: 'assistant', content: answer }, { role: 'user', content: 'Which animal?' }],
    text: { format },
  })
  t.true(['dog', 'fish'].includes(JSON.parse(chosen.output_text) as string))
  const cut = await client.responses.create({ ...asked, max_output_tokens: 3 })
  t.is(cut.status, 'incomplete')
  t.deepEqual(cut.incomplete_details, { reason: 'max_output_tokens' })
  t.is(cut.output_text, 'The picture shows')
})

test('what is not kept and what is not there is refused in words', async (t) => {
  const refused = (more: object) =>
    t.throwsAsync(client.responses.create({ ...asked, ...more, stream: false }), {
      instanceOf: OpenAI.BadRequestError,
    })
  t.regex((await refused({ previous_response_id: 'resp_1' }))?.message ?? '', /not kept/)
  t.regex((await refused({ tools: [{ type: 'web_search' }] }))?.message ?? '', /tools/)
  t.truthy(await refused({ input: [] }))
  t.truthy(await refused({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: '/etc/passwd' }] }] }))
})
