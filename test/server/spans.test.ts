// Spans of requests, as a collector of OpenTelemetry gets them.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { ended, start } from '../command.js'
import { aboutDemo, answer, post, question } from './running.js'

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: number }
}

interface Span {
  readonly traceId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly attributes: readonly Attribute[]
  readonly events: readonly { readonly name: string }[]
  readonly status: { readonly code: number }
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] }
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[]
  }[]
}

const valueOf = (attributes: readonly Attribute[], name: string) => {
  const { stringValue, intValue } = attributes.find(({ key }) => key === name)?.value ?? {}
  return stringValue ?? intValue
}

test('a collector gets a span of each request, below that of its client, without what was asked or answered', async (t) => {
  const bodies: string[] = []
  const collector = createServer((request, response) => {
    void text(request).then((body) => {
      bodies.push(body)
      response.setHeader('content-type', 'application/json').end('{}')
    })
  }).listen(0, '127.0.0.1')
  await once(collector, 'listening')
  const { port } = collector.address() as AddressInfo
  const child = start(['serve', '--port', '0'], {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_SERVICE_NAME: 'pictures',
  })
  const end = ended(child)
  const [first] = (await once(child.stdout, 'data')) as [Buffer]
  const { url } = JSON.parse(String(first).split('\n')[0] ?? '') as { readonly url: string }
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` }
  t.is((await post(`${url}/v1/chat/completions`, aboutDemo, { headers })).status, 200)
  t.is((await post(`${url}/v1/chat/completions`, { model: 'default' })).status, 400)
  child.kill('SIGTERM')
  const { code, stderr } = await end
  t.is(stderr, '')
  t.is(code, 0)
  collector.close()

  const exports = bodies.map((body) => JSON.parse(body) as Export).flatMap(({ resourceSpans }) => resourceSpans)
  t.is(valueOf(exports[0]?.resource.attributes ?? [], 'service.name'), 'pictures')
  const spans = exports.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans: some }) => some))
  t.is(spans.length, 2)
  const [answered, refused] = spans as [Span, Span]
  t.is(answered.name, 'POST /v1/chat/completions')
  t.is(answered.kind, 2) // of a server
  t.is(answered.traceId, traceId)
  t.is(answered.parentSpanId, 'b7ad6b7169203331')
  t.deepEqual(
    answered.events.map(({ name }) => name),
    ['first token'],
  )
  t.is(valueOf(answered.attributes, 'http.route'), '/v1/chat/completions')
  t.is(valueOf(answered.attributes, 'http.response.status_code'), 200)
  t.true(Number(valueOf(answered.attributes, 'gen_ai.usage.input_tokens')) > 10)
  t.true(Number(valueOf(answered.attributes, 'gen_ai.usage.output_tokens')) > 5)
  t.not(refused.traceId, traceId)
  t.is(valueOf(refused.attributes, 'http.response.status_code'), 400)
  t.is(typeof valueOf(refused.attributes, 'error.type'), 'string')
  t.is(refused.status.code, 0) // the client's mistake
  for (const body of bodies) t.false(body.includes(question) || body.includes(answer.slice(0, 12)))
})

test('where no collector listens the log says so, and requests are answered', async (t) => {
  const child = start(['serve', '--port', '0'], { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' })
  const end = ended(child)
  const [first] = (await once(child.stdout, 'data')) as [Buffer]
  const { url } = JSON.parse(String(first).split('\n')[0] ?? '') as { readonly url: string }
  t.is((await fetch(`${url}/v1/models`)).status, 200)
  child.kill('SIGTERM')
  const { code, stdout, stderr } = await end
  t.is(stderr, '')
  t.is(code, 0)
  t.regex(stdout, /"level":"warn","event":"spans"/)
})
