// POST /v1/chat/completions, asked by OpenAI's own client and by fetch.

import test from 'ava'
import OpenAI from 'openai'
import { aboutDemo, answer, demoUrl, endless, post, question, running, type Running } from './running.js'

let here: Running
let client: OpenAI
test.before(async () => {
  here = await running()
  client = new OpenAI({ baseURL: `${here.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
test.after.always(() => here[Symbol.asyncDispose]())

test('a question about a picture has the answer that the library gives', async (t) => {
  const { choices, usage, model, object, id } = await client.chat.completions.create(aboutDemo)
  const own = await here.model.ask(demoUrl, question)
  t.is(own.text, answer)
  t.deepEqual(choices, [
    { index: 0, message: { role: 'assistant', content: answer, refusal: null }, logprobs: null, finish_reason: 'stop' },
  ])
  t.is(usage?.prompt_tokens, own.usage.promptTokens)
  t.is(usage?.completion_tokens, own.usage.completionTokens)
  t.is(usage?.total_tokens, own.usage.promptTokens + own.usage.completionTokens)
  t.is(model, 'default')
  t.is(object, 'chat.completion')
  t.regex(id, /^chatcmpl-/)
})

test('a streamed answer is the same in pieces, and says what it took where that is asked for', async (t) => {
  const stream = await client.chat.completions.create({
    ...aboutDemo,
    stream: true,
    stream_options: { include_usage: true },
  })
  let text = ''
  const finished: (string | null)[] = []
  let usage: OpenAI.CompletionUsage | null | undefined
  let pieces = 0
  for await (const chunk of stream) {
    pieces++
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? ''
      if (choice.finish_reason !== null) finished.push(choice.finish_reason)
    }
    if (chunk.usage) usage = chunk.usage
  }
  t.is(text, answer)
  t.deepEqual(finished, ['stop'])
  t.true(pieces > 5)
  t.is(usage?.completion_tokens, (await here.model.ask(demoUrl, question)).usage.completionTokens)
})

test('what a stream adds up to is what the whole answer has, tokens with their log-probabilities too', async (t) => {
  const asked = { ...aboutDemo, logprobs: true, top_logprobs: 3 }
  const whole = await client.chat.completions.create(asked)
  const stream = client.chat.completions.stream(asked)
  const { choices } = await stream.finalChatCompletion()
  t.is(choices[0]?.message.content, answer)
  t.deepEqual(choices[0]?.logprobs?.content, whole.choices[0]?.logprobs?.content)
  const tokens = whole.choices[0]?.logprobs?.content ?? []
  t.is(
    tokens
      .map(({ token }) => token)
      .join('')
      .trim(),
    answer,
  )
  t.true(tokens.every(({ top_logprobs, logprob }) => top_logprobs.length === 3 && logprob <= 0))
})

test('several pictures may stand in a message, and in several ones', async (t) => {
  const picture = { type: 'image_url' as const, image_url: { url: demoUrl } }
  const { usage, choices } = await client.chat.completions.create({
    model: 'default',
    messages: [
      { role: 'system', content: 'Answer in one sentence.' },
      { role: 'user', content: [picture, picture, { type: 'text', text: question }] },
      { role: 'assistant', content: answer },
      { role: 'user', content: 'Look at this.' },
      { role: 'user', content: [picture, { type: 'text', text: 'Is there a cat in the picture?' }] },
    ],
    max_completion_tokens: 8,
  })
  t.true((usage?.prompt_tokens ?? 0) > 3 * (here.model.info().vision?.rowsPerImage ?? NaN))
  t.is(typeof choices[0]?.message.content, 'string')
})

test('several answers are numbered, whole and in pieces; the first is that of one alone, and a seed gives the same', async (t) => {
  const asked = { ...aboutDemo, n: 3, temperature: 5, seed: 5, max_completion_tokens: 12 }
  const texts = ({ choices }: OpenAI.ChatCompletion) => choices.map(({ message }) => message.content)
  const several = await client.chat.completions.create(asked)
  t.deepEqual(
    several.choices.map(({ index }) => index),
    [0, 1, 2],
  )
  t.is(new Set(texts(several)).size, 3)
  const alone = await client.chat.completions.create({ ...asked, n: 1 })
  t.is(texts(alone)[0], texts(several)[0])
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion()
  t.deepEqual(texts(streamed), texts(several))
})

test('sampling, penalties, bias, stop texts and limits reach the model', async (t) => {
  const text = async (more: object) => {
    const { choices } = await client.chat.completions.create({ ...aboutDemo, ...more })
    return choices[0]
  }
  t.is((await text({ stop: ' dog' }))?.message.content, 'The picture shows a rocket, a')
  t.is((await text({ stop: ['no such text', ' a'] }))?.message.content, 'The picture shows')
  const cut = await text({ max_completion_tokens: 3 })
  t.is(cut?.message.content, 'The picture shows')
  t.is(cut?.finish_reason, 'length')
  const [id] = here.model.tokenize(' rocket', { addBos: false }).slice(-1)
  t.notRegex((await text({ logit_bias: { [id as number]: -100 } }))?.message.content ?? '', /rocket/)
  t.not((await text({ frequency_penalty: 2, presence_penalty: 2 }))?.message.content, answer)
  t.is((await text({ temperature: 1, top_p: 0.0001, seed: 1 }))?.message.content, answer)
  t.is((await text({ temperature: 1, top_k: 1, min_p: 1, repetition_penalty: 1 }))?.message.content, answer)
})

test('an answer has the form that response_format asks for', async (t) => {
  const schema = {
    type: 'object',
    properties: { thing: { enum: ['rocket', 'dog', 'cat'] }, count: { type: 'integer', minimum: 0, maximum: 9 } },
    required: ['thing', 'count'],
    additionalProperties: false,
  }
  const value = async (response_format: OpenAI.ChatCompletionCreateParams['response_format']) => {
    const { choices } = await client.chat.completions.create({
      ...aboutDemo,
      ...(response_format && { response_format }),
      max_completion_tokens: 200,
    })
    return JSON.parse(choices[0]?.message.content ?? '') as unknown
  }
  const made = await value({ type: 'json_schema', json_schema: { name: 'scene', strict: true, schema } })
  t.deepEqual(Object.keys(made as object), ['thing', 'count'])
  const wrong = { type: 'json_schema' as const, json_schema: { name: 'x', schema: { type: 'object', foo: 1 } } }
  await t.throwsAsync(value(wrong), { instanceOf: OpenAI.BadRequestError, message: /foo/ })
})

test('a second question about a picture takes what is remembered, and says so', async (t) => {
  await client.chat.completions.create(aboutDemo)
  const { usage } = await client.chat.completions.create(aboutDemo)
  t.true((usage?.prompt_tokens_details?.cached_tokens ?? 0) > 0)
})

test('the models are listed, and one is found by its name', async (t) => {
  const models = await client.models.list()
  t.deepEqual(
    models.data.map(({ id, object }) => [id, object]),
    [['default', 'model']],
  )
  t.is((await client.models.retrieve('default')).id, 'default')
  await t.throwsAsync(client.models.retrieve('gpt'), { instanceOf: OpenAI.NotFoundError, code: 'model_not_found' })
})

test("mistakes come in OpenAI's form: the status, a sentence, the field and a code", async (t) => {
  const mistake = async (body: unknown) => {
    const response = await post(`${here.url}/v1/chat/completions`, body)
    return [response.status, ((await response.json()) as { error: Record<string, unknown> }).error] as const
  }
  const cases: readonly (readonly [body: unknown, status: number, code: string, param: string | null])[] = [
    ['{', 400, 'invalid_value', null],
    ['', 400, 'invalid_value', null],
    [[], 400, 'invalid_value', null],
    [{}, 400, 'invalid_value', 'model'],
    ['1', 400, 'invalid_value', null],
    [{ ...aboutDemo, model: 'gpt-4o' }, 404, 'model_not_found', 'model'],
    [{ ...aboutDemo, temperature: '1' }, 400, 'invalid_value', 'temperature'],
    [{ ...aboutDemo, n: 0 }, 400, 'invalid_value', 'n'],
    [{ ...aboutDemo, n: 9 }, 400, 'unsupported_value', 'n'],
    [{ ...aboutDemo, messages: [] }, 400, 'invalid_value', 'messages'],
    [{ ...aboutDemo, messages: [{ role: 'tool', content: 'x' }] }, 400, 'invalid_value', 'messages[0].role'],
    [{ ...aboutDemo, messages: [{ role: 'assistant', content: 'x' }] }, 400, 'invalid_value', 'messages[0].role'],
    [{ ...aboutDemo, tools: [{ type: 'function' }] }, 400, 'invalid_value', 'tools'],
    [{ ...aboutDemo, stop: '' }, 400, 'invalid_value', 'stop'],
    [aboutPicture('/etc/passwd'), 400, 'invalid_value', 'messages[0].content[0].image_url.url'],
    [aboutPicture('file:///etc/passwd'), 400, 'invalid_value', 'messages[0].content[0].image_url.url'],
    [aboutPicture('data:image/png;base64,AAAA'), 400, 'invalid_image', null],
    [
      { model: 'default', messages: [{ role: 'user', content: 'a '.repeat(5000) }] },
      400,
      'context_length_exceeded',
      null,
    ],
  ]
  for (const [body, status, code, param] of cases) {
    const [got, error] = await mistake(body)
    t.is(got, status, JSON.stringify(error))
    t.like(error, { code, param, type: 'invalid_request_error' }, JSON.stringify(error))
    t.true(typeof error['message'] === 'string' && error['message'].length > 10)
  }
})

function aboutPicture(url: string): object {
  return { model: 'default', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] }
}

test('an answer that would not end goes on until its limit of tokens', async (t) => {
  const { choices, usage } = await client.chat.completions.create({ ...endless, max_completion_tokens: 40 })
  t.is(choices[0]?.finish_reason, 'length')
  t.is(usage?.completion_tokens, 40)
})
