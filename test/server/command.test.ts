// `llava serve` in a process of its own.

import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { ended, llava, start } from '../command.js'
import { aboutDemo, answer, post } from './running.js'

/** Starts it and waits until it listens. */
async function serving(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = start(['serve', '--port', '0', ...args], env)
  const end = ended(child)
  const [first] = (await once(child.stdout, 'data')) as [Buffer]
  const { url, models } = JSON.parse(String(first).split('\n')[0] ?? '') as {
    readonly url: string
    readonly models: readonly string[]
  }
  return { child, end, url, models }
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`at ${signal} it lets the answer under way come to its end, and ends well`, async (t) => {
    const { child, end, url } = await serving(['--name', 'mine'])
    const response = await post(`${url}/v1/chat/completions`, { ...aboutDemo, model: 'mine', stream: true })
    child.kill(signal)
    const events = await response.text()
    t.true(events.endsWith('data: [DONE]\n\n'))
    const { code, stdout, stderr } = await end
    t.is(stderr, '')
    t.is(code, 0)
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly event: string })
    t.deepEqual(lines.map(({ event }) => event).toSorted(), ['closed', 'draining', 'listening', 'request'])
    t.false(stdout.includes(answer.slice(0, 12)))
  })
}

test('it takes keys from a file and from the environment, and prints nothing where clients leave', async (t) => {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-keys-'))
  const file = path.join(directory, 'keys.txt')
  await writeFile(file, '# keys\n\nfrom-file\n')
  const { child, end, url, models } = await serving(['--api-key-file', file], { LLAVA_API_KEY: 'from-environment' })
  t.deepEqual(models, ['default'])
  const status = async (key: string) =>
    (await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status
  t.is(await status('from-file'), 200)
  t.is(await status('from-environment'), 200)
  t.is(await status('# keys'), 401)
  const leave = new AbortController()
  const headers = { authorization: 'Bearer from-file' }
  const asked = { model: 'default', prompt: 'Go on.', format: { type: 'string', minLength: 100_000 } }
  const response = await post(`${url}/api/generate`, asked, { signal: leave.signal, headers })
  leave.abort()
  await t.throwsAsync(response.text(), { any: true })
  child.kill('SIGTERM')
  const { code, stderr } = await end
  t.is(stderr, '')
  t.is(code, 0)
  await rm(directory, { recursive: true })
})

test('further models are served beside the first, each by its own name', async (t) => {
  const pair = fileURLToPath(new URL('../../../test/fixtures/golden/gguf-pair-f16/checkpoint/', import.meta.url))
  const { child, end, url, models } = await serving(['--also', `${pair}model-f16.gguf`])
  t.deepEqual(models, ['default', 'model-f16'])
  t.is((await post(`${url}/v1/chat/completions`, { ...aboutDemo, model: 'model-f16', max_tokens: 1 })).status, 200)
  child.kill('SIGTERM')
  t.is((await end).code, 0)
})

test('wrong flags, keys that cannot be read and addresses that cannot be had are said in a line', async (t) => {
  const fails = async (args: readonly string[], message: RegExp) => {
    const { code, stderr } = await llava(['serve', ...args])
    t.is(code, 2, stderr)
    t.regex(stderr, message)
  }
  await fails(['--api-key-file', '/no/such/file'], /cannot read the keys in \/no\/such\/file/)
  await fails(['--port', '70000'], /--port/)
  await fails(['--also', 'default'], /two models would be called default/)
  await fails(['--host', '192.0.2.1', '--port', '0'], /this machine has no such address/)
})
