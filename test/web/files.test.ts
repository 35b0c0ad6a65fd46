// The page as files: what they weigh, and the headers that they come with.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gunzipSync } from 'node:zlib'
import test from 'ava'
import { running } from '../server/running.js'
import { closeBrowser, visit } from './browser.js'

test.after.always(closeBrowser)

const built = fileURLToPath(new URL('../../../dist/web', import.meta.url))
const files = readdirSync(built, { recursive: true, encoding: 'utf8' }).filter((name) =>
  statSync(path.join(built, name)).isFile(),
)

test('what a browser loads is 400 KB at most', (t) => {
  const names = new Set(files.map((name) => name.replace(/\.gz$/, '')))
  names.delete('licenses.md') // nothing of the page asks for it
  const bytes = [...names].map((name) =>
    Math.min(
      ...[name, `${name}.gz`].filter((one) => files.includes(one)).map((one) => statSync(path.join(built, one)).size),
    ),
  )
  const total = bytes.reduce((sum, one) => sum + one, 0)
  t.log(`${(total / 1000).toFixed(0)} KB`)
  t.true(total <= 400_000, String(total))
  t.true(brotliCompressSync(readFileSync(path.join(built, 'index.html'))).length < 1000)
})

test('texts come compressed to those who can read that, and are the same', async (t) => {
  const packed = files.filter((name) => name.endsWith('.gz'))
  t.true(packed.some((name) => name.endsWith('.js.gz')))
  for (const name of packed)
    t.deepEqual(
      gunzipSync(readFileSync(path.join(built, name))),
      readFileSync(path.join(built, name.replace(/\.gz$/, ''))),
    )
  await using here = await running()
  const script = files.find((name) => name.endsWith('.js')) ?? ''
  const response = await fetch(`${here.url}/${script}`)
  t.is(response.headers.get('content-encoding'), 'gzip')
  t.regex(response.headers.get('vary') ?? '', /accept-encoding/i)
})

test('the page is asked about again each time, and its parts never', async (t) => {
  await using here = await running()
  const page = await fetch(here.url)
  t.is(page.headers.get('cache-control'), 'no-cache')
  const etag = page.headers.get('etag') ?? ''
  t.not(etag, '')
  t.is((await fetch(here.url, { headers: { 'if-none-match': etag } })).status, 304)
  for (const name of files.filter((one) => one.startsWith('assets') && !one.endsWith('.gz')))
    t.is((await fetch(`${here.url}/${name}`)).headers.get('cache-control'), 'public, max-age=31536000, immutable', name)
})

test('the page may run its own scripts and no others, nor be framed', async (t) => {
  await using here = await running({ apiKeys: ['key'] })
  const { headers, status } = await fetch(here.url) // without a key: it is where keys are entered
  t.is(status, 200)
  const policy = headers.get('content-security-policy') ?? ''
  t.regex(policy, /default-src 'self'/)
  t.regex(policy, /frame-ancestors 'none'/)
  t.notRegex(policy, /unsafe|script-src|style-src/)
  t.is(headers.get('x-content-type-options'), 'nosniff')
  await using visitor = await visit(here.url)
  await visitor.page.evaluate(`new Promise((resolve) => {
    addEventListener('securitypolicyviolation', resolve, { once: true })
    const script = document.createElement('script')
    script.textContent = 'document.title = "run"'
    document.body.append(script)
  })`)
  t.not(await visitor.page.title(), 'run')
})

test('a server without the page serves the APIs alone', async (t) => {
  await using here = await running({ files: false })
  t.is((await fetch(here.url)).status, 404)
  t.is((await fetch(`${here.url}/v1/models`)).status, 200)
})
