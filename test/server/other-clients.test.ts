// The AI SDK's and LangChain's clients, unchanged.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { HumanMessage, SystemMessage } from '@langchain/core/messages'
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { embedMany, generateText, jsonSchema, Output, streamText } from 'ai'
import test from 'ava'
import { answer, demoBase64, demoUrl, question, running, type Running } from './running.js'

let here: Running
test.before(async () => {
  here = await running()
})
test.after.always(() => here[Symbol.asyncDispose]())

const messages = () => [
  {
    role: 'user' as const,
    content: [
      { type: 'file' as const, data: Buffer.from(demoBase64, 'base64'), mediaType: 'image/png' },
      { type: 'text' as const, text: question },
    ],
  },
]

test('AI SDK: texts, streams, forms and vectors', async (t) => {
  const llava = createOpenAICompatible({
    name: 'llava',
    baseURL: `${here.url}/v1`,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })
  const model = llava('default')
  const whole = await generateText({ model, messages: messages(), maxRetries: 0 })
  t.is(whole.text, answer)
  t.is(whole.finishReason, 'stop')
  t.true((whole.usage.inputTokens ?? 0) > 100)

  const streamed = streamText({ model, messages: messages(), maxRetries: 0 })
  let text = ''
  for await (const piece of streamed.textStream) text += piece
  t.is(text, answer)
  t.true(((await streamed.usage).outputTokens ?? 0) > 5)

  const schema = jsonSchema<{ readonly thing: string }>({
    type: 'object',
    properties: { thing: { type: 'string', enum: ['rocket', 'fish'] } },
    required: ['thing'],
    additionalProperties: false,
  })
  const formed = await generateText({ model, messages: messages(), maxRetries: 0, output: Output.object({ schema }) })
  t.true(['rocket', 'fish'].includes(formed.output.thing))

  const values = ['a drawing of a dog', 'a drawing of a fish']
  const { embeddings } = await embedMany({ model: llava.embeddingModel('default'), values, maxRetries: 0 })
  const own = await here.model.embed(values, { kind: 'clip_text', normalize: true })
  t.deepEqual(
    embeddings,
    own.map(({ data }) => Array.from(data)),
  )
})

test('LangChain: texts, streams, forms and vectors', async (t) => {
  const configuration = { baseURL: `${here.url}/v1` }
  const model = new ChatOpenAI({ model: 'default', apiKey: 'none', configuration, maxRetries: 0 })
  const asked = [
    new SystemMessage('Answer in one sentence.'),
    new HumanMessage({
      content: [
        { type: 'image_url', image_url: { url: demoUrl } },
        { type: 'text', text: question },
      ],
    }),
  ]
  const own = await here.model.chat([
    { role: 'system', content: 'Answer in one sentence.' },
    {
      role: 'user',
      content: [
        { type: 'image', image: demoUrl },
        { type: 'text', text: question },
      ],
    },
  ]).answer
  const whole = await model.invoke(asked)
  t.is(whole.content, own.text)
  t.like(whole.usage_metadata, { output_tokens: own.usage.completionTokens })
  let text = ''
  for await (const { content } of await model.stream(asked)) text += content as string
  t.is(text, own.text)
  const schema = { type: 'object', properties: { thing: { enum: ['rocket', 'fish'] } }, required: ['thing'] }
  const formed = await model
    .withStructuredOutput<{ thing: string }>({ title: 'thing', ...schema }, { method: 'jsonSchema' })
    .invoke(asked)
  t.true(['rocket', 'fish'].includes(formed.thing))
  const embeddings = new OpenAIEmbeddings({ model: 'default', apiKey: 'none', configuration, maxRetries: 0 })
  const vectors = await embeddings.embedDocuments(['a drawing of a dog'])
  t.is(vectors[0]?.length, (await here.model.embed('a', { kind: 'clip_text' })).data.length)
})
