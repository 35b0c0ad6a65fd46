// Who may ask, from which pages, and what those see who watch a server.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { aboutDemo, post, running } from './running.js'

const completions = '/v1/chat/completions'

test('where there are keys, every request must bring one, but for those who ask after its health', async (t) => {
  const hash = `sha256:${createHash('sha256').update('second key').digest('hex')}`
  await using here = await running({ apiKeys: ['first-key', hash] })
  const status = async (route: string, authorization?: string) => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    return (await fetch(here.url + route, { headers })).status
  }
  for (const route of ['/v1/models', '/api/tags', '/metrics', '/openapi.json']) {
    t.is(await status(route), 401, route)
    t.is(await status(route, 'Bearer first-key'), 200, route)
  }
  for (const wrong of [
    'Bearer',
    'Bearer ',
    'Bearer first-key2',
    'Bearer FIRST-KEY',
    'Basic first-key',
    hash,
    `Bearer ${hash}`,
  ])
    t.is(await status('/v1/models', wrong), 401, wrong)
  t.is(await status('/v1/models', 'bearer second key'), 200)
  for (const route of ['/healthz', '/readyz']) t.is(await status(route), 200, route)
  const refused = await post(here.url + completions, aboutDemo)
  t.is(refused.status, 401)
  t.is(refused.headers.get('www-authenticate'), 'Bearer')
  t.is((await post(here.url + completions, aboutDemo, { headers: { authorization: 'Bearer first-key' } })).status, 200)
  t.false(JSON.stringify(here.log).includes('first-key'))
  t.is(new Set(here.log.map(({ client }) => client)).size, 3) // nobody, and two keys
})

/** As a browser asks: fetch gives no Host and no Origin of one's own. */
async function asked(url: string, headers: Readonly<Record<string, string>>, method = 'GET') {
  const request = http.request(url, { headers, method }).end()
  const response = await new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve))
  await text(response)
  return { status: response.statusCode, headers: response.headers }
}

test('pages of others may not ask, nor names that others let lead here', async (t) => {
  await using here = await running()
  const { host } = new URL(here.url)
  const status = async (headers: Readonly<Record<string, string>>) =>
    (await asked(`${here.url}/v1/models`, headers)).status
  t.is(await status({}), 200)
  t.is(await status({ origin: `http://${host}` }), 200)
  t.is(await status({ host: 'localhost' }), 200)
  for (const origin of ['https://example.com', 'http://localhost.example.com', 'null', 'http://127.0.0.1:1'])
    t.is(await status({ origin }), 403, origin)
  for (const name of ['example.com', '127.0.0.1.example.com', 'localhost.example.com:80', '10.0.0.1'])
    t.is(await status({ host: name }), 403, name)
  t.is((await asked(`${here.url}/v1/models`, {})).headers['access-control-allow-origin'], undefined)
})

test('pages that are allowed may ask, and no others', async (t) => {
  const origin = 'https://example.com'
  await using here = await running({ origins: [origin], apiKeys: ['key'] })
  const preflight = {
    origin,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization',
  }
  const before = await asked(here.url + completions, preflight, 'OPTIONS')
  t.is(before.status, 204)
  t.is(before.headers['access-control-allow-origin'], origin)
  t.is(before.headers['access-control-allow-headers'], 'authorization')
  const answered = await asked(`${here.url}/v1/models`, { origin, authorization: 'Bearer key' })
  t.is(answered.status, 200)
  t.is(answered.headers['access-control-allow-origin'], origin)
  t.is((await asked(here.url + completions, { ...preflight, origin: 'https://example.org' }, 'OPTIONS')).status, 403)
  await using open = await running({ origins: ['*'] })
  t.is((await asked(`${open.url}/v1/models`, { origin })).headers['access-control-allow-origin'], '*')
})

test('metrics count requests, tokens, waits and what the caches were good for', async (t) => {
  await using here = await running()
  await post(here.url + completions, aboutDemo)
  await post(here.url + completions, { ...aboutDemo, stream: true }).then((response) => response.text())
  await post(here.url + completions, { ...aboutDemo, n: 'x' })
  const response = await fetch(`${here.url}/metrics`)
  t.regex(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
  const lines = (await response.text()).trimEnd().split('\n')
  const value = (name: string) =>
    Number(
      lines
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')
        .at(-1),
    )
  const labels = `route="${completions}"`
  t.is(value(`llava_requests_total{${labels},status="200"}`), 2)
  t.is(value(`llava_requests_total{${labels},status="400"}`), 1)
  t.is(value(`llava_request_seconds_count{${labels}}`), 3)
  t.is(value(`llava_request_seconds_bucket{${labels},le="+Inf"}`), 3)
  t.is(value(`llava_time_to_first_token_seconds_count{${labels}}`), 2)
  const { usage } = await here.model.ask([], 'Is there a cat?')
  t.true(usage.completionTokens > 0)
  t.true(value('llava_prompt_tokens_total') > 2 * (here.model.info().vision?.rowsPerImage ?? NaN))
  t.true(value('llava_cached_prompt_tokens_total') > 0)
  t.is(value('llava_completion_tokens_total'), 24)
  t.is(value('llava_cache_hits_total{model="default",cache="prefixes"}'), 1)
  const [passes, texts] = [
    value('llava_passes_total{model="default",of="tokens"}'),
    value('llava_pass_texts_total{model="default",of="tokens"}'),
  ]
  t.true(passes > 0 && texts >= passes, `${texts} texts in ${passes} passes`)
  t.true(value('llava_pass_rows_total{model="default",of="prompts"}') > (here.model.info().vision?.rowsPerImage ?? NaN))
  t.is(value('llava_requests_in_flight'), 0)
  t.true(value('process_resident_memory_bytes') > 1e6)
  // each sample is one of a metric whose type stands before it, and buckets grow
  for (const line of lines)
    t.regex(line, /^(?:# (?:HELP|TYPE) \w+ .+|\w+(?:\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? [\d.e+-]+)$/)
  const buckets = lines.filter((line) => line.startsWith(`llava_request_seconds_bucket{${labels}`))
  const counts = buckets.map((line) => Number(line.split(' ').at(-1)))
  t.deepEqual(
    counts,
    counts.toSorted((a, b) => a - b),
  )
})

test('files of a directory are served beside the API, and none outside of it', async (t) => {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-files-'))
  await writeFile(path.join(directory, 'index.html'), '<p>hello')
  await using here = await running({ files: directory, apiKeys: ['key'] })
  const page = await fetch(here.url)
  t.is(await page.text(), '<p>hello')
  t.regex(page.headers.get('content-type') ?? '', /^text\/html/)
  for (const outside of ['/../package.json', '/%2e%2e/package.json', '/..%2fpackage.json', '/nothing.html'])
    t.is((await asked(here.url + outside, {})).status, 404, outside)
  t.is((await fetch(`${here.url}/v1/models`)).status, 401)
  await rm(directory, { recursive: true })
})
