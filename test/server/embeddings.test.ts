// POST /v1/embeddings and /api/embed, asked by OpenAI's and Ollama's own clients.

import test from 'ava'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { demoUrl, post, running, type Running } from './running.js'

let here: Running
let client: OpenAI
test.before(async () => {
  here = await running()
  client = new OpenAI({ baseURL: `${here.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
test.after.always(() => here[Symbol.asyncDispose]())

const texts = ['a drawing of a rocket', 'a drawing of a fish'] as const

test('texts and pictures have the vectors that the library gives, in the order in which they stand', async (t) => {
  const own = await here.model.embed(texts, { kind: 'clip_text', normalize: true })
  const picture = await here.model.embed(demoUrl, { kind: 'clip_image', normalize: true })
  const input = [
    texts[0],
    { type: 'image_url', image_url: { url: demoUrl } },
    { type: 'text', text: texts[1] },
    demoUrl,
  ]
  const { data, model, usage } = await client.embeddings.create({
    model: 'default',
    input: input as string[],
    encoding_format: 'float',
  })
  t.deepEqual(
    data.map(({ index, embedding }) => [index, embedding]),
    [own[0], picture, own[1], picture].map((one, index) => [index, Array.from(one?.data ?? [])]),
  )
  t.is(model, 'default')
  t.true(usage.prompt_tokens > 0)
})

test('base64, which the client asks for where nothing is said, holds the same values as float', async (t) => {
  const { data } = await client.embeddings.create({ model: 'default', input: texts[0] })
  const plain = await client.embeddings.create({ model: 'default', input: texts[0], encoding_format: 'float' })
  t.deepEqual(data[0]?.embedding, plain.data[0]?.embedding)
  const raw = await post(`${here.url}/v1/embeddings`, { model: 'default', input: texts[0], encoding_format: 'base64' })
  const { data: encoded } = (await raw.json()) as { readonly data: readonly { readonly embedding: string }[] }
  const bytes = Buffer.from(encoded[0]?.embedding ?? '', 'base64')
  t.is(bytes.readFloatLE(0), plain.data[0]?.embedding[0] ?? NaN)
})

test('dimensions are those that were trained, and any other is refused in words', async (t) => {
  const { data } = await client.embeddings.create({ model: 'default', input: texts[0] })
  const width = data[0]?.embedding.length ?? 0
  const same = await client.embeddings.create({ model: 'default', input: texts[0], dimensions: width })
  t.deepEqual(same.data, data)
  await t.throwsAsync(client.embeddings.create({ model: 'default', input: texts[0], dimensions: width / 2 }), {
    instanceOf: OpenAI.BadRequestError,
    message: new RegExp(`\`dimensions\` to be ${width}`),
  })
})

test('ids of tokens, and more inputs than are allowed, are refused', async (t) => {
  for (const input of [[1, 2, 3], [[1, 2]]])
    await t.throwsAsync(client.embeddings.create({ model: 'default', input: input }), {
      instanceOf: OpenAI.BadRequestError,
    })
  await using strict = await running({ limits: { inputs: 2, pictures: 1 } })
  const asked = async (input: unknown) =>
    (await post(`${strict.url}/v1/embeddings`, { model: 'default', input })).status
  t.is(await asked(['a', 'b', 'c']), 400)
  t.is(await asked([demoUrl, demoUrl]), 400)
  t.is(await asked([demoUrl, 'a']), 200)
})

test("Ollama's client gets the same vectors", async (t) => {
  const ollama = new Ollama({ host: here.url })
  const own = await here.model.embed(texts, { kind: 'clip_text', normalize: true })
  const { embeddings, model } = await ollama.embed({ model: 'default', input: [...texts] })
  t.deepEqual(
    embeddings,
    own.map(({ data }) => Array.from(data)),
  )
  t.is(model, 'default')
  await t.throwsAsync(ollama.embed({ model: 'default', input: 'a', dimensions: 3 }), { message: /dimensions/ })
})
