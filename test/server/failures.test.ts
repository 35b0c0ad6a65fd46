// What goes wrong around a server: clients that leave, lie, stall or come in crowds, and pictures that never end.

import { once } from 'node:events'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import OpenAI from 'openai'
import { LLaVA } from '../../lib/index.js'
import { serve } from '../../lib/server/index.js'
import { aboutDemo, answer, demo, demoUrl, endless, eventually, post, question, running } from './running.js'
import type { Running } from './running.js'

const completions = '/v1/chat/completions'

/** Nothing is under way, no keys and values are held, and no answer came to its end. */
async function idle(t: ExecutionContext, { model, log, url }: Running, requests: number): Promise<void> {
  await eventually(() => {
    const { load, memory } = model.info()
    return load.running === 0 && load.waiting === 0 && memory.kvCache === 0
  })
  await eventually(() => log.filter(({ event }) => event === 'request').length === requests)
  t.notRegex(await (await fetch(`${url}/metrics`)).text(), /llava_completion_tokens_total \d/)
}

/** Such as remember nothing, so that what is held is held by answers. */
const forgetful = { prefixCacheBytes: 0, pictureCacheBytes: 0 }

async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as { readonly error: { readonly code: string } }).error.code
}

for (const [route, body] of [
  [completions, { ...endless, stream: true }],
  ['/v1/responses', { model: 'default', input: 'Go on.', text: { format: longText() }, stream: true }],
  ['/api/chat', { model: 'default', messages: endless.messages, format: { type: 'string', minLength: 100_000 } }],
] as const) {
  test(`a client that leaves ${route} in mid-stream frees what its answer held`, async (t) => {
    await using here = await running({}, forgetful)
    const leave = new AbortController()
    const { body: stream } = await post(here.url + route, body, { signal: leave.signal })
    const reader = (stream as ReadableStream<Uint8Array>).getReader()
    t.false((await reader.read()).done)
    t.is(here.model.info().load.running, 1)
    t.true(here.model.info().memory.kvCache > 0)
    leave.abort()
    await t.throwsAsync(reader.read(), { any: true, name: 'AbortError' })
    await idle(t, here, 1)
    t.true(here.log[1]?.['left'])
  })
}

function longText(): object {
  return { type: 'json_schema', name: 'long', schema: { type: 'string', minLength: 100_000 } }
}

test('a client that leaves before its answer begins frees it too', async (t) => {
  await using here = await running({}, forgetful)
  const leave = new AbortController()
  const asking = post(here.url + completions, endless, { signal: leave.signal })
  await eventually(() => here.model.info().load.running === 1)
  leave.abort()
  await t.throwsAsync(asking, { any: true, name: 'AbortError' })
  await idle(t, here, 1)
  t.like(here.log[1], { status: 499, left: true })
})

/** What a server says to bytes, until it closes the connection. */
async function said(url: string, bytes: string): Promise<string> {
  const socket = net.connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(bytes)
  return text(socket)
}

test('a body that is cut is no request, and holds no place', async (t) => {
  await using here = await running({ limits: { requests: 1 } })
  const socket = net.connect(Number(new URL(here.url).port), '127.0.0.1')
  socket.write(`POST ${completions} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"model":`)
  await eventually(() => inFlight(here) === 1)
  t.is((await post(here.url + completions, aboutDemo)).status, 429)
  socket.destroy()
  await eventually(() => inFlight(here) === 0)
  t.is((await post(here.url + completions, aboutDemo)).status, 200)
})

function inFlight({ server }: Running): number {
  return server.load.requests
}

test('headers and bodies that take too long end their connection', async (t) => {
  await using here = await running({ limits: { headersMs: 200, receiveMs: 400 } })
  t.regex(await said(here.url, `POST ${completions} HTTP/1.1\r\nHost: local`), /^HTTP\/1.1 408 /)
  const begun = `POST ${completions} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{`
  t.regex(await said(here.url, begun), /^HTTP\/1.1 408 /)
  await eventually(() => inFlight(here) === 0)
})

test('a body that is too large is refused, whether its length is announced or not', async (t) => {
  await using here = await running({ limits: { bodyBytes: 1000 } })
  const announced = await post(here.url + completions, { ...aboutDemo })
  t.is(announced.status, 413)
  t.is(await codeOf(announced), 'request_too_large')
  const chunk = `3e8\r\n${'x'.repeat(1000)}\r\n`
  const head = `POST ${completions} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n`
  t.regex(await said(here.url, head + chunk + chunk), /^HTTP\/1.1 413 /)
  await eventually(() => inFlight(here) === 0)
})

test('requests beyond the limit, and bodies beyond the memory for them, get 429 and when to come again', async (t) => {
  await using here = await running({ limits: { requests: 1 } })
  const leave = new AbortController()
  const first = await post(here.url + completions, { ...endless, stream: true }, { signal: leave.signal })
  const second = await post(here.url + completions, aboutDemo)
  t.is(second.status, 429)
  t.is(second.headers.get('retry-after'), '1')
  t.is(await codeOf(second), 'rate_limit_exceeded')
  const client = new OpenAI({ baseURL: `${here.url}/v1`, apiKey: 'none', maxRetries: 0 })
  await t.throwsAsync(client.chat.completions.create(aboutDemo), { instanceOf: OpenAI.RateLimitError })
  t.is((await fetch(`${here.url}/readyz`)).status, 200)
  leave.abort()
  await t.throwsAsync(first.text(), { any: true })
  await eventually(() => inFlight(here) === 0)
  t.is((await post(here.url + completions, aboutDemo)).status, 200)

  await using narrow = await running({ limits: { allBodiesBytes: 1000 } })
  t.is((await post(narrow.url + completions, aboutDemo)).status, 429)
  t.is((await post(narrow.url + completions, { ...endless, max_completion_tokens: 1 })).status, 200)
})

test('answers that find no memory in time get 429', async (t) => {
  await using here = await running({ limits: { waitMs: 50 } }, { ...forgetful, kvCacheBytes: 1 })
  const leave = new AbortController()
  const first = await post(here.url + completions, { ...endless, stream: true }, { signal: leave.signal })
  const second = await post(here.url + completions, aboutDemo)
  t.is(second.status, 429)
  t.is(second.headers.get('retry-after'), '1')
  leave.abort()
  await t.throwsAsync(first.text(), { any: true })
})

test('an answer that takes longer than the deadline is stopped and says so', async (t) => {
  await using here = await running({ limits: { deadlineMs: 300 } }, forgetful)
  const whole = await post(here.url + completions, endless)
  t.is(whole.status, 504)
  t.is(await codeOf(whole), 'deadline_exceeded')
  await idle(t, here, 1)
})

/** A server of pictures: /endless never ends, /silent says nothing, /demo.png is one. */
async function pictures(): Promise<{ readonly url: string; readonly open: () => number } & AsyncDisposable> {
  let open = 0
  const server = http.createServer((request, response) => {
    open++
    response.once('close', () => open--)
    if (request.url === '/silent') return
    response.writeHead(200, { 'content-type': 'image/png' })
    response.write('\x89PNG')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    open: () => open,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function aboutPicture(url: string): object {
  return { model: 'default', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] }
}

test('a picture that never ends is given up, and its connection with it', async (t) => {
  await using elsewhere = await pictures()
  await using here = await running({}, { allowPrivateNetwork: true, timeoutMs: 200 })
  for (const name of ['endless', 'silent']) {
    const response = await post(here.url + completions, aboutPicture(`${elsewhere.url}/${name}`))
    t.is(response.status, 400)
    t.is(await codeOf(response), 'invalid_image')
  }
  await eventually(() => elsewhere.open() === 0)
})

test('a client that leaves while its picture is fetched ends that too', async (t) => {
  await using elsewhere = await pictures()
  await using here = await running({}, { allowPrivateNetwork: true })
  const leave = new AbortController()
  const asking = post(here.url + completions, aboutPicture(`${elsewhere.url}/silent`), { signal: leave.signal })
  await eventually(() => elsewhere.open() === 1)
  leave.abort()
  await t.throwsAsync(asking, { any: true })
  await eventually(() => elsewhere.open() === 0)
})

test('pictures at private addresses are not fetched, and the refusal tells nothing of the network', async (t) => {
  await using elsewhere = await pictures()
  await using here = await running()
  for (const url of [
    `${elsewhere.url}/demo.png`,
    'http://127.0.0.1:1/x',
    'http://169.254.169.254/latest',
    'http://[::1]/',
  ]) {
    const response = await post(here.url + completions, aboutPicture(url))
    const { error } = (await response.json()) as { readonly error: { readonly message: string } }
    t.is(response.status, 400)
    t.is(error.message, `cannot read ${url}`)
  }
  t.is(elsewhere.open(), 0)
})

test('a server for others fetches no pictures at all unless that is asked for', async (t) => {
  const model = await LLaVA.open()
  await using server = await serve({ models: { default: model }, host: '0.0.0.0', port: 0 })
  const url = `http://127.0.0.1:${new URL(server.url).port}`
  const response = await post(url + completions, aboutPicture('https://example.com/cat.jpg'))
  t.is(response.status, 400)
  t.is(await codeOf(response), 'unsupported_value')
  t.is((await post(url + completions, aboutDemo)).status, 200)
  await server.close()
  model.dispose()
})

test('a model whose file is removed goes on answering', async (t) => {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-server-'))
  const file = path.join(directory, 'model.gguf')
  await copyFile(fileURLToPath(new URL('../../../models/default.gguf', import.meta.url)), file)
  const model = await LLaVA.open(file)
  await rm(directory, { recursive: true })
  await using server = await serve({ models: { gone: model }, port: 0 })
  const response = await post(server.url + completions, { ...aboutDemo, model: 'gone' })
  t.is(await contentOf(response), answer)
  await server.close()
  model.dispose()
})

async function contentOf(response: Response): Promise<string | undefined> {
  const { choices } = (await response.json()) as OpenAI.ChatCompletion
  return choices[0]?.message.content ?? undefined
}

test('a model that is disposed of under its server is 503', async (t) => {
  await using here = await running()
  here.model.dispose()
  const response = await post(here.url + completions, aboutDemo)
  t.is(response.status, 503)
  t.is(await codeOf(response), 'shutting_down')
})

test('a server that ends takes no more, and lets answers under way come to their end', async (t) => {
  await using here = await running()
  const asking = post(here.url + completions, aboutDemo)
  await eventually(() => inFlight(here) === 1)
  const closed = here.server.close()
  t.is(await contentOf(await asking), answer)
  await closed
  await t.throwsAsync(fetch(`${here.url}/healthz`))
})

test('a server that is told to hurry stops what runs, and closes kept connections', async (t) => {
  await using here = await running()
  const socket = net.connect(Number(new URL(here.url).port), '127.0.0.1')
  const heard = text(socket) // until the server closes the connection
  const body = JSON.stringify(endless)
  socket.write(`POST ${completions} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  await eventually(() => here.model.info().load.running === 1)
  await here.server.close(AbortSignal.abort())
  t.regex(await heard, /^HTTP\/1.1 503 [^]*shutting_down/)
})

test('what still runs after the time to drain is stopped, and says so', async (t) => {
  await using here = await running({ limits: { drainMs: 0 } })
  const response = await post(here.url + completions, { ...endless, stream: true })
  const reading = response.text()
  await here.server.close()
  const events = (await reading).trimEnd().split('\n\n')
  t.like(JSON.parse(events.at(-1)?.slice('data: '.length) ?? ''), { error: { code: 'shutting_down' } })
})

test('an address that is taken is a mistake in words', async (t) => {
  await using here = await running()
  const port = Number(new URL(here.url).port)
  await t.throwsAsync(serve({ models: { default: here.model }, port }), {
    code: 'INVALID_ARGUMENT',
    message: /another program listens there/,
  })
  for (const wrong of [
    { models: {} },
    { models: { a: 1 } },
    { port: 70_000 },
    { limits: { request: 1 } },
    { keys: [] },
  ])
    await t.throwsAsync(serve({ models: { default: here.model }, ...wrong } as never), { code: 'INVALID_ARGUMENT' })
})

test('the log tells of requests without anything of what was asked or answered', async (t) => {
  await using here = await running()
  await post(here.url + completions, aboutDemo, { headers: { 'x-request-id': 'mine-1' } })
  await post(here.url + completions, { ...aboutDemo, temperature: 'a secret' })
  await post(`${here.url}/v1/secret`, aboutDemo)
  await eventually(() => here.log.length === 4)
  t.like(here.log[1], { event: 'request', id: 'mine-1', method: 'POST', route: completions, status: 200 })
  t.true(typeof here.log[1]?.['firstTokenMs'] === 'number')
  t.like(here.log[2], { status: 400, error: 'invalid_value' })
  t.like(here.log[3], { status: 404, route: 'other' })
  const all = JSON.stringify(here.log)
  for (const secret of [question, answer, demoUrl.slice(0, 40), 'rocket', 'secret', demo]) t.false(all.includes(secret))
})
