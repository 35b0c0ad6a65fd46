// Ollama's API, asked by Ollama's own client and by fetch.

import test from 'ava'
import { Ollama } from 'ollama'
import { answer, demoBase64, post, question, running, type Running } from './running.js'

let here: Running
let ollama: Ollama
test.before(async () => {
  here = await running()
  ollama = new Ollama({ host: here.url })
})
test.after.always(() => here[Symbol.asyncDispose]())

const model = 'default'
const asked = { model, messages: [{ role: 'user', content: question, images: [demoBase64] }] }

test('chat answers about a picture, whole and as a stream of lines', async (t) => {
  const whole = await ollama.chat(asked)
  t.is(whole.message.content, answer)
  t.true(whole.done)
  t.is(whole.done_reason, 'stop')
  t.is(whole.eval_count, (await here.model.ask(Buffer.from(demoBase64, 'base64'), question)).usage.completionTokens)
  t.true(whole.prompt_eval_count > 100)
  t.true(whole.total_duration >= whole.eval_duration)
  let text = ''
  let lines = 0
  for await (const line of await ollama.chat({ ...asked, stream: true })) {
    text += line.message.content
    lines++
  }
  t.is(text, answer)
  t.true(lines > 5)
})

test('generate answers about a picture, whole and as a stream; raw leaves out the template', async (t) => {
  const prompt = { model, prompt: question, images: [demoBase64] }
  t.is((await ollama.generate(prompt)).response, answer)
  let text = ''
  for await (const line of await ollama.generate({ ...prompt, stream: true })) text += line.response ?? ''
  t.is(text, answer)
  const raw = `USER: \n${question} ASSISTANT:`
  const plain = await here.model.ask([], raw, { template: 'plain', maxTokens: 12 })
  t.is((await ollama.generate({ model, prompt: raw, raw: true, options: { num_predict: 12 } })).response, plain.text)
})

test('a stream is what is given where nothing is said, and its type is JSON lines', async (t) => {
  const response = await post(`${here.url}/api/chat`, asked)
  t.is(response.headers.get('content-type'), 'application/x-ndjson')
  const lines = (await response.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly done: boolean })
  t.deepEqual(
    lines.map(({ done }) => done),
    lines.map((_, n) => n === lines.length - 1),
  )
})

test('options and formats reach the model', async (t) => {
  const content = async (more: object) => (await ollama.chat({ ...asked, ...more, stream: false })).message.content
  t.is(await content({ options: { stop: [' dog'] } }), 'The picture shows a rocket, a')
  t.is(await content({ options: { num_predict: 3 } }), 'The picture shows')
  t.is(await content({ options: { num_predict: -1, temperature: 1, top_k: 1, seed: 3 } }), answer)
  const form = { type: 'object', properties: { n: { type: 'integer', minimum: 1, maximum: 3 } }, required: ['n'] }
  t.deepEqual(Object.keys(JSON.parse(await content({ format: form })) as object), ['n'])
})

test('the model is listed and described, and Ollama finds it under its tag too', async (t) => {
  const { models } = await ollama.list()
  t.deepEqual(
    models.map(({ name }) => name),
    ['default'],
  )
  t.regex(models[0]?.digest ?? '', /^[0-9a-f]{64}$/)
  const shown = await ollama.show({ model })
  t.deepEqual(shown.capabilities, ['completion', 'vision'])
  t.is(shown.details.quantization_level, 'Q8_0')
  t.is((await ollama.version()).version, '0.1.0')
  t.is((await ollama.chat({ ...asked, model: 'default:latest' })).message.content, answer)
})

test('no prompt loads a model, which is loaded already', async (t) => {
  t.is((await ollama.generate({ model, prompt: '' })).done_reason, 'load')
  t.is((await ollama.chat({ model, messages: [] })).done_reason, 'load')
})

test("mistakes come in Ollama's form", async (t) => {
  const mistake = async (path: string, body: unknown) => {
    const response = await post(`${here.url}${path}`, body)
    return [response.status, typeof ((await response.json()) as { readonly error: unknown }).error] as const
  }
  t.deepEqual(await mistake('/api/chat', { model: 'x', messages: asked.messages }), [404, 'string'])
  t.deepEqual(await mistake('/api/chat', { model, messages: 1 }), [400, 'string'])
  t.deepEqual(await mistake('/api/chat', { ...asked, messages: [{ role: 'user', images: ['§'] }] }), [400, 'string'])
  t.deepEqual(await mistake('/api/chat', { ...asked, messages: [{ role: 'user', images: ['AAAA'] }] }), [400, 'string'])
  t.deepEqual(await mistake('/api/generate', { model, prompt: 'x', suffix: 'y' }), [400, 'string'])
  t.deepEqual(await mistake('/api/show', { model: 'x' }), [404, 'string'])
  t.deepEqual(await mistake('/api/pull', {}), [404, 'string'])
})
