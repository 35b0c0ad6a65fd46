// /openapi.json held against what the server says, and what the server says to whatever is asked.

import { Ajv2020 } from 'ajv/dist/2020.js'
import test from 'ava'
import fc from 'fast-check'
import { aboutDemo, answer, demoBase64, demoUrl, post, question, running, type Running } from './running.js'

interface Content {
  readonly [type: string]: { readonly schema: Schema }
}

interface Schema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Schema>>
}

interface Operation {
  readonly operationId: string
  readonly requestBody?: { readonly content: Content }
  readonly responses: Readonly<Record<'200' | 'default', { readonly content: Content }>>
}

interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const ajv = new Ajv2020({ strict: false, allErrors: true })

let here: Running
let document: Document
test.before(async () => {
  here = await running({ limits: { tokens: 8 } })
  document = (await (await fetch(`${here.url}/openapi.json`)).json()) as Document
})
test.after.always(() => here[Symbol.asyncDispose]())

/** What is wrong with a value, by its schema. */
function mistakes(schema: Schema | undefined, value: unknown): string {
  const validate = ajv.compile(schema ?? false)
  return validate(value) ? '' : ajv.errorsText(validate.errors)
}

/** A request for each route that takes one. */
const requests: Readonly<Record<string, object>> = {
  '/v1/chat/completions': { ...aboutDemo, logprobs: true, top_logprobs: 2, stream_options: { include_usage: true } },
  '/v1/responses': {
    model: 'default',
    instructions: 'Be short.',
    input: [
      {
        role: 'user',
        content: [
          { type: 'input_image', image_url: demoUrl },
          { type: 'input_text', text: question },
        ],
      },
    ],
  },
  '/v1/embeddings': { model: 'default', input: ['a', demoUrl] },
  '/v1/llava/attention': {
    model: 'default',
    messages: [...aboutDemo.messages, { role: 'assistant', content: answer }],
    occlusion: true,
    window: 6,
  },
  '/api/chat': { model: 'default', messages: [{ role: 'user', content: question, images: [demoBase64] }] },
  '/api/generate': { model: 'default', prompt: question, images: [demoBase64] },
  '/api/embed': { model: 'default', input: 'a' },
  '/api/show': { model: 'default' },
  '/v1/preview': { model: 'default', image_url: { url: demoUrl } },
}

test('every answer is what the description says, and every request that is described is taken', async (t) => {
  t.regex(document.openapi, /^3\.1\./)
  let checked = 0
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { requestBody, responses }] of Object.entries(methods)) {
      const url = here.url + path.replace('{model}', 'default')
      const body = requests[path]
      t.is(body !== undefined, requestBody !== undefined, path)
      if (body !== undefined) t.is(mistakes(requestBody?.content['application/json']?.schema, body), '', path)
      const response = body === undefined ? await fetch(url) : await post(url, { ...body, stream: false })
      t.is(response.status, 200, `${method} ${path}`)
      const type = response.headers.get('content-type')?.split(';')[0] ?? ''
      const { schema } = responses[200].content[type] ?? {}
      const replied: unknown = type === 'text/plain' ? await response.text() : await response.json()
      t.is(mistakes(schema, replied), '', `${method} ${path}`)
      checked++
    }
  }
  t.is(checked, Object.keys(document.paths).length)
  t.true(checked >= 15)
})

test('every piece of a stream is what the description says', async (t) => {
  for (const [path, body] of Object.entries(requests)) {
    const content = document.paths[path]?.['post']?.responses[200].content ?? {}
    const [type] = Object.keys(content).filter((one) => one !== 'application/json')
    if (type === undefined) continue
    const response = await post(here.url + path, { ...body, stream: true })
    t.is(response.headers.get('content-type'), type)
    const text = await response.text()
    const pieces = type === 'text/event-stream' ? text.matchAll(/^data: (\{.*)$/gm) : text.matchAll(/^(\{.*)$/gm)
    let count = 0
    for (const [, piece = ''] of pieces) {
      t.is(mistakes(content[type]?.schema, JSON.parse(piece)), '', `${path}: ${piece}`)
      count++
    }
    t.true(count > 3, path)
  }
})

test('every mistake is told in the form that the description says', async (t) => {
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { responses }] of Object.entries(methods)) {
      const other = method === 'get' ? 'POST' : 'DELETE'
      for (const response of [await fetch(here.url + path.replace('{model}', 'default'), { method: other })]) {
        t.is(response.status, 405)
        t.is(mistakes(responses.default.content['application/json']?.schema, await response.json()), '', path)
      }
    }
  }
})

/** Values that are of none of these types. */
function ofAnotherType(schema: Schema): readonly unknown[] {
  const values: readonly (readonly [type: string, value: unknown])[] = [
    ['string', 'x'],
    ['number', 1.5],
    ['boolean', true],
    ['array', [[]]],
    ['object', { a: { b: 1 } }],
    ['array', [null]],
    ['number', -1e300],
    ['null', null],
  ]
  return values.filter(([, value]) => mistakes(schema, value) !== '').map(([, value]) => value)
}

test('a value of a wrong type in any field is 400 and names the field', async (t) => {
  let tried = 0
  for (const [path, body] of Object.entries(requests)) {
    const properties = document.paths[path]?.['post']?.requestBody?.content['application/json']?.schema.properties ?? {}
    for (const [field, schema] of Object.entries(properties)) {
      for (const value of ofAnotherType(schema)) {
        const response = await post(here.url + path, { ...body, [field]: value })
        const refusal = (await response.json()) as { readonly error: unknown }
        t.is(response.status, 400, `${path} ${field} ${JSON.stringify(value)}`)
        t.true(JSON.stringify(refusal).includes(field), `${path} ${field} ${JSON.stringify(refusal)}`)
        tried++
      }
    }
  }
  t.true(tried > 100)
})

test('whatever is asked is answered with 200 or a mistake of the client', async (t) => {
  const fields = [...new Set(Object.values(requests).flatMap((body) => Object.keys(body))), 'options', 'text', 'format']
  const field = fc.constantFrom(...fields, 'messages', 'response_format', 'tools', 'logit_bias', 'stop')
  const change = fc.dictionary(field, fc.jsonValue({ maxDepth: 4 }), { maxKeys: 2, noNullPrototype: true })
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...Object.keys(requests)), change, async (path, changed) => {
      const response = await post(here.url + path, { ...requests[path], ...changed, stream: false })
      const body = await response.text()
      if (![200, 400, 404].includes(response.status)) throw new Error(`${response.status}: ${body}`)
      JSON.parse(body)
    }),
    { numRuns: 150 },
  )
  for (const hostile of [
    '{"__proto__":{"model":"default"}}',
    '['.repeat(50_000),
    '\u0000',
    '{"model":"default","messages":[]}',
  ])
    t.is((await post(`${here.url}/v1/chat/completions`, hostile)).status, 400)
  const deep = `${'{"items":'.repeat(5000)}true${'}'.repeat(5000)}`
  const format = `{"type":"json_schema","json_schema":{"name":"deep","schema":${deep}}}`
  const body = `{"model":"default","messages":[{"role":"user","content":"a"}],"response_format":${format}}`
  const response = await post(`${here.url}/v1/chat/completions`, body)
  t.true(response.status < 500, await response.text())
})
