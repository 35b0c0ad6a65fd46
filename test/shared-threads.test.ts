// Models of one process share their compute threads: each gives what it gives alone, whoever else computes, comes or
// goes.

import { readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CLIP, LLaVA, type ClipInput } from '../lib/index.js'

const checkpoint = fileURLToPath(new URL('../../test/fixtures/clip/checkpoint', import.meta.url))
const picture = path.join(checkpoint, '../../pictures/rgb.png')
const inputs: readonly ClipInput[] = [picture, { text: 'a red square' }, { text: 'a cat' }]
const question = { images: [picture], prompt: 'What is this?' } as const
const greedy = { temperature: 0, maxTokens: 12 } as const

/** Where the operating system says so. */
const osThreads = process.platform === 'linux' ? (): number => readdirSync('/proc/self/task').length : undefined

const ask = async (llava: LLaVA) => (await llava.ask(question.images, question.prompt, greedy)).text

test.serial('two models at work at the same time give what each gives alone', async (t) => {
  await using llava = await LLaVA.open(undefined, { threads: 3, prefixCacheBytes: 0, pictureCacheBytes: 0 })
  await using clip = await CLIP.open(undefined, { threads: 3 })
  const [answer, vectors] = [await ask(llava), await clip.embed(inputs)]
  const rounds = Array.from({ length: 6 })
  const [answers, lists] = await Promise.all([
    Promise.all(rounds.map(() => ask(llava))),
    Promise.all(rounds.map(() => clip.embed(inputs))),
  ])
  for (const each of answers) t.is(each, answer)
  for (const each of lists) t.deepEqual(each, vectors)
})

test.serial('one may go while the other is at work, and come back', async (t) => {
  await using llava = await LLaVA.open(undefined, { threads: 3, prefixCacheBytes: 0, pictureCacheBytes: 0 })
  const answer = await ask(llava)
  for (let round = 0; round < 5; round++) {
    const answers = Promise.all([ask(llava), ask(llava)])
    const clip = await CLIP.open(checkpoint, { threads: 3 })
    const vectors = clip.embed(Array.from({ length: 20 }, () => inputs).flat()).catch((error: unknown) => error)
    await clip.embed({ text: 'a' })
    clip.dispose()
    await vectors
    t.deepEqual(await answers, [answer, answer])
  }
})

;(osThreads === undefined ? test.skip : test.serial)('a second model brings no compute threads', async (t) => {
  const count = osThreads ?? (() => 0)
  const threads = 7
  await using first = await CLIP.open(checkpoint, { threads })
  await first.embed(inputs) // libuv's threads are there as well
  const before = count()
  await using second = await CLIP.open(undefined, { threads })
  await second.embed(inputs)
  t.is(count() - before, 1, 'the thread that runs its jobs')
  await using other = await CLIP.open(checkpoint, { threads: 4 })
  await other.embed(inputs)
  t.is(count() - before, 1 + 1 + 3, 'another number of threads is a team of its own')
})
