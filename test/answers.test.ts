// What an answer's options do, on the tiny checkpoints: log-probabilities, penalties, several answers, progress, and what a host hears.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import test from 'ava'
import {
  LLaVA,
  type Answer,
  type AnswerOptions,
  type OpenOptions,
  type Progress,
  type RequestMessage,
} from '../lib/index.js'
import { goldenCase, goldenStages } from './tiny-model.js'

const { model: modelPath, picture } = goldenCase('hf-f32')
const question = 'What is it?'
const vocabSize = 342

async function withModel<T>(
  work: (model: LLaVA) => Promise<T>,
  options: OpenOptions = {},
  file = modelPath,
): Promise<T> {
  await using model = await LLaVA.open(file, { template: 'hf', threads: 2, prefixCacheBytes: 0, ...options })
  return await work(model)
}

/** What does not depend on the clock. */
function lasting({ text, tokenIds, finishReason, usage, logprobs }: Answer): object {
  return { text, tokenIds, finishReason, usage, logprobs }
}

const varied = { temperature: 2, topP: 0.95, seed: 11, maxTokens: 24 } satisfies AnswerOptions

test('log-probabilities are those of the model, one for each token, and greedy tokens are the likeliest', async (t) => {
  await withModel(async (model) => {
    const { tokenIds, logprobs = [] } = await model.ask([], question, { maxTokens: 8, logprobs: 3 })
    t.deepEqual(
      logprobs.map(({ id }) => id),
      tokenIds,
    )
    using context = model.createContext()
    const prompt = [...model.tokenize('USER: What is it? ASSISTANT:')]
    for (const [n, { id, logprob, top }] of logprobs.entries()) {
      const logits = [...(await context.forward([n === 0 ? prompt : [tokenIds[n - 1] as number]]))]
      const most = Math.max(...logits)
      const normaliser = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0))
      t.true(Math.abs(logprob - ((logits[id] as number) - normaliser)) <= 2 ** -20 * Math.abs(normaliser))
      t.is(top.length, 3)
      t.is(top[0]?.id, id)
      t.true(top.every((one, place) => place === 0 || one.logprob <= (top[place - 1]?.logprob ?? Number.NaN)))
    }
  })
})

test('the bytes of the tokens are those of the text, and it all goes through JSON', async (t) => {
  await withModel(async (model) => {
    const { text, logprobs = [], tokenIds } = await model.ask(picture, question, { ...varied, logprobs: 0 })
    t.true(tokenIds.length > 4)
    t.true(logprobs.every(({ top }) => top.length === 0))
    t.is(
      Buffer.from(logprobs.flatMap(({ bytes }) => bytes))
        .toString()
        .replaceAll(/<\/?\w+>/g, '')
        .trim(),
      text,
    )
    t.deepEqual(JSON.parse(JSON.stringify(logprobs)), logprobs)
  })
})

test('alternatives are never rows without a piece', async (t) => {
  await withModel(
    async (model) => {
      const { logprobs = [] } = await model.ask([], question, { ...varied, temperature: 100, logprobs: 20 })
      t.true(logprobs.length > 0)
      for (const { top } of logprobs) t.true(top.length === 20 && top.every(({ id }) => id < vocabSize))
    },
    {},
    goldenCase('hf-f16').model,
  )
})

test('without the option there are no log-probabilities', async (t) => {
  await withModel(async (model) => {
    t.false('logprobs' in (await model.ask([], question, { maxTokens: 2 })))
  })
})

test('a bias by id or by text decides, whatever a vocabulary puts in front of a text', async (t) => {
  const decide = async (model: LLaVA) => {
    const [the] = model.tokenize('the', { addBos: false }) as unknown as [number] // the piece `▁the`
    const forced = async (key: number | string) =>
      (await model.ask([], question, { maxTokens: 2, logitBias: { [key]: 1000 } })).tokenIds
    for (const key of [the, '▁the', ' the']) t.deepEqual(await forced(key), [the, the])
    const [first] = (await model.ask([], question, { maxTokens: 1 })).tokenIds as [number]
    t.not((await model.ask([], question, { maxTokens: 1, logitBias: { [first]: -Infinity } })).tokenIds[0], first)
  }
  await withModel(decide)
  await withModel(decide, {}, goldenCase('gguf-pair-f32').model)
})

test('penalties and n-grams hold in an answer', async (t) => {
  await withModel(async (model) => {
    const options: AnswerOptions = { maxTokens: 40, minTokens: 40 }
    const once = (await model.ask(picture, question, { ...options, noRepeatNgramSize: 1 })).tokenIds
    t.is(new Set(once).size, 40)
    t.deepEqual((await model.ask(picture, question, { ...options, presencePenalty: 1e6 })).tokenIds, once)
    const pairs = (ids: readonly number[]) => ids.slice(1).map((id, n) => `${ids[n] as number} ${id}`)
    const twice = pairs((await model.ask(picture, question, { ...options, noRepeatNgramSize: 2 })).tokenIds)
    t.is(new Set(twice).size, 39)
  })
})

test('minTokens keeps an answer from ending', async (t) => {
  await withModel(async (model) => {
    const ends = { logitBias: { '</s>': 1000 }, maxTokens: 12 }
    t.is((await model.ask([], question, ends)).tokenIds.length, 0)
    const { tokenIds, finishReason } = await model.ask([], question, { ...ends, minTokens: 5 })
    t.is(tokenIds.length, 5)
    t.is(finishReason, 'stop')
  })
})

test('a logits processor writes the answer, and its error is the answer’s', async (t) => {
  await withModel(async (model) => {
    const wanted = [300, 301, 300]
    const answer = await model.ask(picture, question, {
      maxTokens: 3,
      logitsProcessor: {
        process(logits, tokenIds) {
          logits.fill(-Infinity)
          logits[wanted[tokenIds.length] as number] = 0
        },
      },
    })
    t.deepEqual(answer.tokenIds, wanted)
    const failure = new RangeError('mine')
    const failing = {
      process() {
        throw failure
      },
    }
    t.is(await t.throwsAsync(model.ask([], question, { logitsProcessor: failing })), failure)
    t.is((await model.ask([], question, { maxTokens: 2 })).tokenIds.length, 2)
  })
})

test('a processor of one’s own ends an answer by the tokens that info names', async (t) => {
  await withModel(async (model) => {
    const { eosIds } = model.info()
    let asked = 0
    const logitsProcessor = {
      process(logits: Float32Array) {
        if (++asked <= 3) for (const id of eosIds) logits[id] = -Infinity
        else for (const id of eosIds) logits[id] = 1e9
      },
    }
    const { finishReason, tokenIds } = await model.ask([], question, { ...varied, logitsProcessor })
    t.is(finishReason, 'stop')
    t.true(eosIds.includes(tokenIds.at(-1)!) || tokenIds.length === 3)
  })
})

test('several answers are those of single questions with the same seed, the first that of ask', async (t) => {
  await withModel(async (model) => {
    const one = await model.ask(picture, question, varied)
    const many = await model.ask(picture, question, { ...varied, answers: 4 })
    t.deepEqual(many.map(lasting)[0], lasting(one))
    t.is(new Set(many.map(({ tokenIds }) => tokenIds.join())).size, 4)
    t.deepEqual(
      (await model.ask(picture, question, { ...varied, answers: 2 })).map(lasting),
      many.slice(0, 2).map(lasting),
    )
    t.true(many.every(({ usage }) => usage.promptTokens === one.usage.promptTokens && usage.imageTokens === 16))
  })
})

test('several greedy answers are the same', async (t) => {
  await withModel(async (model) => {
    const one = lasting(await model.ask(picture, question, { maxTokens: 10, logprobs: 2 }))
    for (const answer of await model.ask(picture, question, { answers: 3, maxTokens: 10, logprobs: 2 }))
      t.deepEqual(lasting(answer), one)
  })
})

test('answers of different length each end by themselves, and the others go on with their own logits', async (t) => {
  await withModel(async (model) => {
    const answers = await model.ask([], question, {
      answers: 6,
      temperature: 2,
      seed: 5,
      maxTokens: 60,
      stop: ['e', 'a'],
      logprobs: 0,
    })
    t.true(new Set(answers.map(({ tokenIds }) => tokenIds.length)).size > 1)
    const prompt = [...model.tokenize('USER: What is it? ASSISTANT:')]
    for (const { text, finishReason, tokenIds, logprobs = [] } of answers) {
      t.true(finishReason !== 'stop_string' || !/[ae]/.test(text))
      const last = await model.forward([[...prompt, ...tokenIds.slice(0, -1)]])
      const normaliser = Math.log(last.reduce((sum, logit) => sum + Math.exp(logit), 0))
      // prefill and decoding sum in different orders: both within 1e-4 of the exact logits
      const scale = last.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0)
      t.true(
        Math.abs((last[tokenIds.at(-1) as number] as number) - normaliser - (logprobs.at(-1)?.logprob ?? Number.NaN)) <=
          4e-4 * scale,
      )
    }
  })
})

test('an error in one of several answers is that of all', async (t) => {
  await withModel(async (model) => {
    const failure = new Error('mine')
    let asked = 0
    const logitsProcessor = {
      process() {
        if (++asked === 5) throw failure
      },
    }
    t.is(await t.throwsAsync(model.ask([], question, { answers: 3, maxTokens: 20, logitsProcessor })), failure)
    t.is(asked, 5) // nothing more is chosen for any of them
    t.is(model.info().memory.kvCache, 0)
  })
})

test('aborting several answers rejects them', async (t) => {
  await withModel(async (model) => {
    const controller = new AbortController()
    const asked = model.ask(picture, question, {
      answers: 3,
      ...varied,
      maxTokens: 200,
      signal: controller.signal,
      onProgress: ({ stage, done }) => {
        if (stage === 'generate' && done > 6) controller.abort()
      },
    })
    await t.throwsAsync(asked, { code: 'ABORTED' })
    t.is(model.info().memory.kvCache, 0)
  })
})

test('many questions are answered as each is alone, in order; what is wrong with one is its own result', async (t) => {
  await withModel(async (model) => {
    const inputs = [
      { images: picture, question },
      { question: 'Name a color.' },
      { images: 'no/such/picture.png', question },
      { question: 7 as unknown as string },
      { images: [picture, picture], question: 'And these?' },
    ]
    const results: unknown[] = []
    for await (const { index, answer, error } of model.askMany(inputs, varied))
      results.push([index, error === undefined ? lasting(answer) : error.code])
    const alone = async (n: number) => lasting(await model.ask(inputs[n]!.images ?? [], inputs[n]!.question, varied))
    t.deepEqual(results, [
      [0, await alone(0)],
      [1, await alone(1)],
      [2, 'IMAGE_UNREADABLE'],
      [3, 'INVALID_ARGUMENT'],
      [4, await alone(4)],
    ])
  })
})

test('whoever leaves many questions stops them, and a signal ends them with ABORTED', async (t) => {
  await withModel(async (model) => {
    function* endless() {
      for (let n = 0; ; n++) yield { question: `What is ${n}?` }
    }
    let seen = 0
    for await (const { answer } of model.askMany(endless(), { maxTokens: 3, ordered: false })) {
      t.true(answer !== undefined)
      if (++seen === 5) break
    }
    t.is(model.info().load.running, 0)
    const controller = new AbortController()
    const asking = model.askMany(endless(), { maxTokens: 200, signal: controller.signal })
    const first = asking.next()
    controller.abort()
    await t.throwsAsync(first, { code: 'ABORTED' })
    t.throws(() => model.askMany('no list' as never), { code: 'INVALID_ARGUMENT' })
    t.throws(() => model.askMany([], { answers: 2 } as never), { code: 'INVALID_ARGUMENT', message: /answers/ })
  })
})

test('the same seed gives the same text on any number of threads, alone or beside others', async (t) => {
  const options = { ...varied, repetitionPenalty: 1.2, typicalP: 0.9, minP: 0.001 }
  const alone = await withModel((model) => model.ask(picture, question, options), { threads: 1 })
  t.true(alone.tokenIds.length > 10)
  for (const threads of [2, 3]) {
    await withModel(
      async (model) => {
        const others = [
          model.ask([], 'Name a color.', varied),
          model.ask(picture, question, { answers: 3, ...varied, seed: 1 }),
        ]
        t.deepEqual(lasting(await model.ask(picture, question, options)), lasting(alone))
        await Promise.all(others)
      },
      { threads },
    )
  }
})

test('progress goes through the stages to what was counted', async (t) => {
  await withModel(async (model) => {
    const heard: Progress[] = []
    using encoded = await model.encodeImage(picture)
    const { usage } = await model.ask([picture, encoded], question, {
      maxTokens: 5,
      minTokens: 5,
      onProgress: (progress) => heard.push(progress),
    })
    const of = (stage: Progress['stage']) =>
      heard.filter((one) => one.stage === stage).map(({ done, total }) => [done, total])
    t.deepEqual([...new Set(heard.map(({ stage }) => stage))], ['image', 'prompt', 'generate'])
    t.deepEqual(of('image'), [
      [1, 2],
      [2, 2],
    ])
    // float weights: the words behind the last picture are a call of their own
    const words = model.tokenize(`${question} ASSISTANT:`, { addBos: false }).length
    const behind = of('prompt')[1]?.[0] ?? 0
    t.deepEqual(of('prompt'), [
      [0, usage.promptTokens],
      [behind, usage.promptTokens],
      [usage.promptTokens, usage.promptTokens],
    ])
    t.true(usage.promptTokens - behind >= words && usage.promptTokens - behind <= 32)
    t.deepEqual(of('generate'), [
      [0, 5],
      [1, 5],
      [2, 5],
      [3, 5],
      [4, 5],
      [5, 5],
    ])
  })
})

test('a prompt of several chunks tells each of them', async (t) => {
  await using model = await LLaVA.open(undefined, { threads: 2 })
  const heard: number[] = []
  const options: AnswerOptions = {
    maxTokens: 1,
    onProgress: ({ stage, done }) => stage === 'prompt' && heard.push(done),
  }
  const words = 'red '.repeat(560 - model.tokenize('red').length)
  if (model.info().contextLength < 1024)
    t.fail('the model that comes with the package has become too short for this test')
  const { usage } = await model.ask([], words, { ...options, template: 'hf' })
  t.true(usage.promptTokens > 512)
  t.deepEqual(heard, [0, 512, usage.promptTokens])
})

test('what a progress callback throws fails the call', async (t) => {
  const failure = new Error('mine')
  for (const stage of ['image', 'prompt', 'generate']) {
    await withModel(async (model) => {
      const onProgress = (progress: Progress) => {
        if (progress.stage === stage) throw failure
      }
      t.is(await t.throwsAsync(model.ask(picture, question, { onProgress })), failure)
    })
  }
})

test('a chat tells its tokens with their log-probabilities', async (t) => {
  await withModel(async (model) => {
    const told: number[] = []
    const stream = model.chat([{ role: 'user', content: question }], { maxTokens: 6, logprobs: 1 })
    stream.on('token', ({ id, logprobs }) => told.push(id, logprobs?.id ?? Number.NaN))
    const { tokenIds } = await stream.answer
    t.deepEqual(
      told,
      tokenIds.flatMap((id) => [id, id]),
    )
  })
})

test.serial('a host hears when a request begins and how it ends', async (t) => {
  const messages: RequestMessage[] = []
  const listener = (message: unknown) => messages.push(message as RequestMessage)
  subscribe('llava-native:request', listener)
  try {
    await withModel(
      async (model) => {
        const mine = (path: string) => messages.splice(0).filter((message) => message.model === path)
        const { path } = model.info()
        const [a, b] = await model.ask(picture, question, { answers: 2, maxTokens: 3, minTokens: 3 })
        const [start, end] = mine(path)
        const subject = { call: 'ask()', model: path, images: 1, answers: 2, maxTokens: 3 }
        t.deepEqual(start, { event: 'start', id: start?.id ?? Number.NaN, ...subject })
        const { timings, usage } = a as Answer
        t.deepEqual(end, {
          event: 'end',
          id: start?.id ?? Number.NaN,
          ...subject,
          usage: { ...usage, completionTokens: usage.completionTokens + (b as Answer).usage.completionTokens },
          timings,
          finishReasons: ['length', 'length'],
        })

        const error = await t.throwsAsync(model.ask('no/such/picture.png', question), { code: 'IMAGE_UNREADABLE' })
        const [, failed] = mine(path)
        if (failed?.event !== 'end') t.fail('no end')
        else t.is(failed.error, error)

        await model.chat([{ role: 'user', content: question }], { maxTokens: 1 }).answer
        t.deepEqual(
          mine(path).map(({ event, call }) => [event, call]),
          [
            ['start', 'chat()'],
            ['end', 'chat()'],
          ],
        )
      },
      {},
      goldenCase('hf-bf16').model,
    )
  } finally {
    unsubscribe('llava-native:request', listener)
  }
})

test('the goldens’ greedy tokens come from one of several answers as from one alone', async (t) => {
  for (const name of ['gguf-pair-q4_0', 'hf-gqa-llama3-rope']) {
    const { model, picture: image } = goldenCase(name)
    t.true(goldenStages(name).size > 0)
    await withModel(
      async (opened) => {
        const alone = lasting(await opened.ask(image, question, { maxTokens: 16 }))
        for (const answer of await opened.ask(image, question, { answers: 3, maxTokens: 16 }))
          t.deepEqual(lasting(answer), alone)
      },
      {},
      model,
    )
  }
})
