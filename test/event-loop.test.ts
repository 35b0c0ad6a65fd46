// The host's process: it ends by itself, and the library works in its worker threads.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { goldenCase } from './tiny-model.js'

const { model, picture } = goldenCase('hf-f32')
const library = new URL('../lib/index.js', import.meta.url).href

/** Runs a script with the library in a process of its own, which nobody ends. */
async function runs(
  script: string,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const head = `import { LLaVA } from ${JSON.stringify(library)}
    const picture = ${JSON.stringify(picture)}
    const model = await LLaVA.open(${JSON.stringify(model)}, { template: 'hf', threads: 2 })\n`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', head + script])
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ])
  return { code, stdout, stderr }
}

for (const [what, script] of [
  ['a model that is open', ''],
  ['an answer', `await model.ask(picture, 'What is it?', { maxTokens: 4 })`],
  ['an answer that nobody waits for', `void model.ask(picture, 'What is it?', { maxTokens: 4 })`],
  ['a stream that was never looked at', `model.chat([{ role: 'user', content: 'What is it?' }])`],
  [
    'a stream that was left',
    `for await (const text of model.chat([{ role: 'user', content: 'What is it?' }], { temperature: 100, seed: 3 })) break`,
  ],
  [
    'a conversation',
    `const conversation = model.createConversation(); await conversation.say('What is it?', { maxTokens: 4 }).answer; conversation.branch()`,
  ],
  ['an embedding', `await model.embed(picture, { kind: 'projected' })`],
  ['an encoded picture and a context', `await model.encodeImage(picture); model.createContext()`],
  [
    'a signal that has not aborted',
    `await model.ask([], 'What is it?', { maxTokens: 4, signal: new AbortController().signal })`,
  ],
  ['a download that failed', `await model.ask('http://127.0.0.1:9/a.png', 'What is it?').catch(() => undefined)`],
  [
    'a picture from a stream',
    `const { createReadStream } = await import('node:fs'); await model.ask(createReadStream(picture), 'What is it?', { maxTokens: 4 })`,
  ],
] as const) {
  test(`a process ends by itself after ${what}`, async (t) => {
    const { code, stdout, stderr } = await runs(script)
    t.is(stderr, '')
    t.is(stdout, '')
    t.is(code, 0)
  })
}

test('a worker thread has pictures, conversations and embeddings, and ends by itself', async (t) => {
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.library).then(async ({ LLaVA }) => {
      const model = await LLaVA.open(workerData.model, { template: 'hf', threads: 2 })
      const large = { width: 3000, height: 2000, data: new Uint8Array(18e6).fill(50) }
      const conversation = model.createConversation()
      const content = [{ type: 'image', image: large }, { type: 'text', text: 'What is it?' }]
      const first = await conversation.say(content, { maxTokens: 4 }).answer
      const second = await conversation.say('And now?', { maxTokens: 4 }).answer
      const { shape } = await model.embed(workerData.picture, { kind: 'projected' })
      parentPort.postMessage([first.usage.imageTokens, second.usage.cachedTokens > 16, shape])
    })`
  const worker = new Worker(script, { eval: true, workerData: { library, model, picture } })
  const ended = once(worker, 'exit')
  const [message] = (await once(worker, 'message')) as [unknown]
  t.deepEqual(message, [16, true, [16, 32]])
  t.deepEqual(await ended, [0])
})
