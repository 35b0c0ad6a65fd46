// Answers that are chosen from the likeliest tokens are those that all logits give, to the last bit of their
// log-probabilities.

import test from 'ava'
import { Engine } from '../../lib/engine/engine.js'
import { LLaVA, type Answer, type AnswerOptions, type LogitsProcessor } from '../../lib/index.js'
import { Sampler } from '../../lib/sampling/sampler.js'
import { goldenCase } from '../tiny-model.js'

/** Changes nothing, and is shown all logits before every token. */
const onlooker: LogitsProcessor = { process: () => undefined }

function lasting({ text, tokenIds, finishReason, logprobs }: Answer): object {
  return { text, tokenIds, finishReason, logprobs }
}

const varieties: readonly AnswerOptions[] = [
  {},
  { logprobs: 0 },
  { logprobs: 20, promptLookupTokens: 0 },
  { minTokens: 30, logprobs: 3 },
  { temperature: 0.8, topK: 1, logprobs: 1 },
  { temperature: 1.3, topK: 20, logprobs: 2 },
  { temperature: 1.5, topK: 40, topP: 0.8, minP: 0.02, typicalP: 0.9, logprobs: 2, minTokens: 10 },
]

/** Replaces a method of a class, by what `wrap` makes of it, until `work` is over. */
async function replacing<Owner extends object, Name extends keyof Owner>(
  owner: Owner,
  name: Name,
  wrap: (method: Owner[Name]) => Owner[Name],
  work: () => Promise<unknown>,
): Promise<void> {
  const method = owner[name]
  owner[name] = wrap(method)
  try {
    await work()
  } finally {
    owner[name] = method
  }
}

for (const name of ['hf-f32', 'hf-bf16', 'gguf-pair-q4_0', 'gguf-kquants']) {
  test.serial(
    `${name}: few logits give the answers that all do, whether or not the likeliest settle each token`,
    async (t) => {
      const { model: file, picture } = goldenCase(name)
      await using model = await LLaVA.open(file, { template: 'hf', threads: 2 })
      using encoded = await model.encodeImage(picture)
      const ask = (options: AnswerOptions) => model.ask(encoded, 'What is it? It is what it is.', options)
      let [whole, few, choices] = [0, 0, 0]
      await replacing(
        Engine.prototype,
        'append',
        (append) =>
          function (this: Engine, sequence, segments, out, ...rest) {
            if (out.logits === undefined) few++
            else whole++
            return append.call(this, sequence, segments, out, ...rest)
          },
        async () => {
          for (const variety of varieties) {
            const options = { maxTokens: 40, seed: 3, ...variety }
            ;[whole, few] = [0, 0]
            const all = lasting(await ask({ ...options, logitsProcessor: onlooker }))
            t.is(few, 0)
            whole = 0
            t.deepEqual(lasting(await ask(options)), all)
            t.true(few > 0)
            t.true(whole <= 3, `${whole}`) // the prompt's calls, and a tie of top-k
            await replacing(
              Sampler.prototype,
              'nextOf',
              (nextOf) =>
                function (this: Sampler, best) {
                  return ++choices % 3 === 0 ? undefined : nextOf.call(this, best)
                },
              async () => t.deepEqual(lasting(await ask(options)), all),
            )
            const company = await Promise.all([
              ask({ ...options, logitsProcessor: onlooker }),
              ask(options),
              ask(options),
            ])
            t.deepEqual(company.map(lasting), [all, all, all])
          }
        },
      )
      const several = { maxTokens: 20, seed: 3, temperature: 1.2, topK: 30, logprobs: 1, answers: 3 }
      const [every, some] = [
        await model.ask(encoded, 'What?', { ...several, logitsProcessor: onlooker }),
        await model.ask(encoded, 'What?', several),
      ]
      t.deepEqual(some.map(lasting), every.map(lasting))
      model.clearCaches()
      t.is(model.info().memory.kvCache, 0)
    },
  )
}
