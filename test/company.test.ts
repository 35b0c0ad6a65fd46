// What an answer is in company: the same as alone, to the last bit, whoever else asks the model at the same time.

import test from 'ava'
import { LLaVA, type Answer, type AnswerOptions, type LlavaError, type OpenOptions } from '../lib/index.js'
import { goldenCase } from './tiny-model.js'

/** What depends neither on the clock nor on what was kept of other prompts; log-probabilities show the bits of the logits. */
function lasting({ text, tokenIds, finishReason, usage: { cachedTokens, ...usage }, logprobs }: Answer): object {
  if (cachedTokens >= usage.promptTokens) throw new Error('of a prompt one token at least is computed')
  return { text, tokenIds, finishReason, usage, logprobs }
}

/** Few rows and many: questions of 20 to 250 tokens, some with a picture, some greedy, answers of different lengths. */
function questions(picture: string): readonly (readonly [readonly string[], string, AnswerOptions])[] {
  const lengths = [1, 4, 15, 20, 40, 3, 70, 9, 30, 50, 2, 25]
  return lengths.map((words, n) => [
    n % 3 === 0 ? [picture] : [],
    Array.from({ length: words }, (_, word) => `w${(n * 7 + word) % 10}`).join(' '),
    {
      maxTokens: 6 + (n % 5) * 4,
      logprobs: 2,
      ...(n % 2 === 0 ? {} : { temperature: 1.5, seed: n }),
      ...(n % 4 === 0 ? { promptLookupTokens: 0 } : {}),
    },
  ])
}

for (const [name, options] of [
  ['hf-f32', {}],
  ['hf-f32', { arithmetic: 'exact' }],
  ['hf-bf16', {}],
  ['gguf-pair-f16', {}],
  ['gguf-pair-q4_0', {}],
  ['gguf-kquants', { kvCache: 'q8_0' }],
] as const satisfies readonly (readonly [string, OpenOptions])[]) {
  const how = Object.values(options).join(', ')
  test(`${[name, how].filter(Boolean).join(', ')}: twelve questions at once have the answers that each has alone`, async (t) => {
    const { model: file, picture } = goldenCase(name)
    await using model = await LLaVA.open(file, { template: 'hf', threads: 2, ...options })
    const alone: Answer[] = []
    for (const [pictures, question, answerOptions] of questions(picture)) {
      model.clearCaches()
      alone.push(await model.ask(pictures, question, answerOptions))
    }
    // from then on also on top of what was kept of others
    const again: Answer[] = []
    for (const [pictures, question, answerOptions] of questions(picture).toReversed())
      again.unshift(await model.ask(pictures, question, answerOptions))
    t.deepEqual(again.map(lasting), alone.map(lasting))
    t.true(again.some(({ usage }) => usage.cachedTokens > 0))
    const together = await Promise.all(
      questions(picture).map(([pictures, question, answerOptions]) => model.ask(pictures, question, answerOptions)),
    )
    t.deepEqual(together.map(lasting), alone.map(lasting))
    model.clearCaches()
    t.is(model.info().memory.kvCache, 0)
  })
}

for (const name of ['hf-bf16', 'hf-f32', 'gguf-kquants']) {
  test(`${name}: the first of 33 answers, and of 64, is the one of a single question`, async (t) => {
    await using model = await LLaVA.open(goldenCase(name).model, { template: 'hf', threads: 2 })
    const options = { maxTokens: 8, temperature: 1.5, seed: 5, logprobs: 1 }
    const alone = await model.ask([], 'What is it?', options)
    for (const count of [33, 64]) {
      const [first] = await model.ask([], 'What is it?', { ...options, answers: count })
      t.deepEqual(
        { tokenIds: first?.tokenIds, logprobs: first?.logprobs },
        { tokenIds: alone.tokenIds, logprobs: alone.logprobs },
      )
    }
  })
}

test('of a thousand questions at once none is lost, and their keys and values stay within the room', async (t) => {
  const { model: file } = goldenCase('gguf-pair-q4_0')
  const kvCacheBytes = 2 ** 21
  await using model = await LLaVA.open(file, { template: 'hf', threads: 2, kvCacheBytes, prefixCacheBytes: 0 })
  const options = { maxTokens: 4 }
  const alone = await model.ask([], 'What is it?', options)
  let most = 0
  let running = 0
  const watch = setInterval(() => {
    const { memory, load } = model.info()
    most = Math.max(most, memory.kvCache)
    running = Math.max(running, load.running)
  }, 1)
  const answers = await Promise.all(Array.from({ length: 1000 }, () => model.ask([], 'What is it?', options)))
  clearInterval(watch)
  t.true(answers.every(({ text }) => text === alone.text))
  t.true(running > 1 && most > 0 && most <= kvCacheBytes, `${running} ran, ${most} bytes`)
  const { passes, ...load } = model.info().load
  t.deepEqual(load, { running: 0, waiting: 0, kvCacheBytes })
  t.true(
    passes.tokens.texts > 10 * passes.tokens.passes,
    `${passes.tokens.texts} texts in ${passes.tokens.passes} passes`,
  )
  t.is(model.info().memory.kvCache, 0)
})

test('where the line is full, whoever comes is told so at once, and those who wait are not lost', async (t) => {
  const { model: file } = goldenCase('hf-f32')
  await using model = await LLaVA.open(file, { template: 'hf', threads: 2, kvCacheBytes: 1, maxWaiting: 3 })
  const ends = await Promise.allSettled(
    Array.from({ length: 10 }, () => model.ask([], 'What is it?', { maxTokens: 4 })),
  )
  const codes = ends.map((end) => (end.status === 'fulfilled' ? 'ok' : (end.reason as LlavaError).code))
  t.deepEqual(codes, [...new Array<string>(4).fill('ok'), ...new Array<string>(6).fill('OVERLOADED')])
})
