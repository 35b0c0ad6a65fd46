// Computing ahead changes nothing but the time: by itself on a decoder that only keeps books, and in whole answers on the checkpoints.

import test from 'ava'
import fc from 'fast-check'
import { LLaVA, type Answer, type AnswerOptions, type Message, type OpenOptions } from '../../lib/index.js'
import type { NativeSegment, NativeSequence } from '../../lib/native.js'
import type { LogitNeeds } from '../../lib/answers/next-logits.js'
import { CandidateRows } from '../../lib/engine/candidate-rows.js'
import type { LogitRows } from '../../lib/engine/engine.js'
import { Speculation } from '../../lib/answers/speculation.js'
import { goldenCase } from '../tiny-model.js'

/** Any two texts have different ones. */
function fingerprint(text: readonly number[]): number {
  return text.reduce((sum, id) => (Math.imul(sum, 31) + id + 2) >>> 0, 1) / 2 ** 32
}

const allLogits: LogitNeeds = { all: true, candidates: 0, scored: false }

/**
 * A decoder whose logits [1] after each position are the fingerprint of the text so far, its candidate too; a picture
 * is one position.
 */
function bookkeeper(prompt: readonly number[], most: number, limit: number, needs = allLogits) {
  const held = [...prompt]
  const passes: number[] = []
  const sequence = {
    get length() {
      return held.length
    },
    truncate(length: number) {
      held.length = length
    },
  } as NativeSequence
  const decoder = {
    config: { text: { vocabSize: 1 } },
    candidateRows: (rows: number, count: number, scored: boolean) => new CandidateRows(rows, count, scored),
    append(_: NativeSequence, [segment]: readonly NativeSegment[], { logits, candidates }: LogitRows) {
      const { tokens } = segment as { tokens: Int32Array }
      passes.push(tokens.length)
      for (const [row, id] of tokens.entries()) {
        held.push(id)
        logits?.fill(fingerprint(held), row, row + 1)
        candidates?.logits.fill(fingerprint(held), row, row + 1)
      }
      return Promise.resolve(0)
    },
  } as unknown as ConstructorParameters<typeof Speculation>[0]
  const job = { check: () => undefined } as unknown as ConstructorParameters<typeof Speculation>[3]
  const segments = prompt.map((id): NativeSegment =>
    id < 0 ? ({ image: {}, start: 0, count: 1 } as NativeSegment) : { tokens: Int32Array.of(id) },
  )
  return {
    speculation: new Speculation(decoder, sequence, { prompt: segments, most, limit, needs }, job),
    held,
    passes,
  }
}

const repeating = fc
  .array(
    fc.tuple(fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 6 }), fc.integer({ min: 1, max: 6 })),
    { minLength: 1, maxLength: 8 },
  )
  .map((parts) => parts.flatMap(([ids, times]) => new Array<number[]>(times).fill(ids).flat()))

test('the logits after each token are those of the text up to it, and the sequence is left with what was fed', async (t) => {
  let accepted = 0
  let rejected = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: -1, max: 5 }), { maxLength: 20 }),
      repeating,
      fc.integer({ min: 0, max: 31 }),
      fc.boolean(),
      async (prompt, answer, most, all) => {
        const needs = { all, candidates: all ? 0 : 1, scored: false }
        const { speculation, held, passes } = bookkeeper(prompt, most, answer.length + 1, needs)
        for (const [n, id] of answer.entries()) {
          const next = await speculation.step(id)
          const [logit] = (all ? next.all : next.best?.logits) as Float32Array
          t.is(logit, Math.fround(fingerprint([...prompt, ...answer.slice(0, n + 1)])))
          t.true(held.length <= prompt.length + answer.length)
        }
        speculation.retract()
        t.deepEqual(held, [...prompt, ...answer])
        t.true(passes.every((rows) => rows <= 1 + most))
        t.is(
          speculation.draftTokens,
          passes.reduce((sum, rows) => sum + rows - 1, 0),
        )
        t.is(speculation.acceptedTokens, answer.length - passes.length)
        accepted += speculation.acceptedTokens
        rejected += speculation.draftTokens - speculation.acceptedTokens
      },
    ),
  )
  t.true(accepted > 100)
  t.true(rejected > 100)
})

test('all logits of a position that had candidates are those of the text up to it, and what follows is as ever', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      repeating,
      fc.array(fc.boolean(), { minLength: 1 }),
      fc.boolean(),
      async (answer, asked, scored) => {
        const needs = { all: false, candidates: 1, scored }
        const { speculation, held } = bookkeeper([1, 2], 15, answer.length + 1, needs)
        for (const [n, id] of answer.entries()) {
          const expected = Math.fround(fingerprint([1, 2, ...answer.slice(0, n + 1)]))
          t.is((await speculation.step(id)).best?.logits[0], expected)
          if (asked[n % asked.length] !== true) continue
          const { all, best } = await speculation.whole()
          t.deepEqual([[...(all ?? [])], best?.logits[0]], [[expected], expected])
        }
        speculation.retract()
        t.deepEqual(held, [1, 2, ...answer])
      },
    ),
  )
})

test('no more rows go into a pass than a token and its draft', async (t) => {
  const { speculation, passes } = bookkeeper([1, 2, 3], 15, 200)
  for (let n = 0; n < 60; n++) await speculation.step(1 + (n % 3))
  t.is(Math.max(...passes), 16)
})

/** What has to be the same with drafts and without. */
function lasting({
  text,
  tokenIds,
  finishReason,
  logprobs,
  usage: { promptTokens, imageTokens, cachedTokens, completionTokens },
}: Answer): object {
  return { text, tokenIds, finishReason, logprobs, promptTokens, imageTokens, cachedTokens, completionTokens }
}

const question = 'What is it? It is what it is, and what it is it is.'
const most = 31

async function withModel<T>(
  name: string,
  work: (model: LLaVA, picture: string) => Promise<T>,
  options: OpenOptions = {},
): Promise<T> {
  const { model: file, picture } = goldenCase(name)
  await using model = await LLaVA.open(file, { template: 'hf', threads: 1, prefixCacheBytes: 0, ...options })
  return await work(model, picture)
}

const varieties: readonly AnswerOptions[] = [
  {},
  { minTokens: 30 },
  { temperature: 1.2, topK: 20 },
  { frequencyPenalty: -4 },
  { temperature: 0.7 },
  { temperature: 1.5, topK: 40, topP: 0.9, frequencyPenalty: -2 },
  { temperature: 1, frequencyPenalty: -1, repetitionPenalty: 0.8, minP: 0.01 },
  { temperature: 1, presencePenalty: -6, noRepeatNgramSize: 8 },
  { temperature: 0.5, frequencyPenalty: -3, typicalP: 0.9, minTokens: 20, stop: ['e e', 'tt'] },
  { temperature: 0.8, presencePenalty: -3, logitBias: { 300: 2, ' the': 3 } },
  {
    temperature: 1,
    logitsProcessor: {
      process: (logits, ids) => {
        for (const id of ids.slice(-9, -3)) logits[id] = (logits[id] as number) + 6
      },
    },
  },
]

for (const name of [
  'gguf-pair-q4_0',
  'gguf-pair-q8_0',
  'gguf-kquants',
  'gguf-pair-f16',
  'hf-f32',
  'hf-bf16',
  'hf-gqa-llama3-rope',
  'hf-mistral-window',
]) {
  test(`${name}: answers are the same with drafts and without, to the last bit of their log-probabilities`, async (t) => {
    await withModel(name, async (model, picture) => {
      using encoded = await model.encodeImage(picture)
      const sum = { draftTokens: 0, acceptedTokens: 0 }
      for (const variety of varieties) {
        for (const seed of variety.temperature === undefined ? [1] : [1, 2, 3, 4]) {
          const options = { maxTokens: 90, seed, logprobs: 2, ...variety }
          const plain = await model.ask(encoded, question, { ...options, promptLookupTokens: 0 })
          t.is(plain.usage.draftTokens, 0)
          for (const promptLookupTokens of [3, most]) {
            const drafted = await model.ask(encoded, question, { ...options, promptLookupTokens })
            t.deepEqual(lasting(drafted), lasting(plain))
            sum.draftTokens += drafted.usage.draftTokens
            sum.acceptedTokens += drafted.usage.acceptedTokens
          }
        }
      }
      t.true(sum.acceptedTokens > 0)
      t.true(sum.draftTokens > sum.acceptedTokens)
    })
  })
}

/** Lets an answer be nothing but `script`, over and over. */
function scripted(script: readonly number[]): AnswerOptions {
  return {
    logitsProcessor: {
      process(logits, tokenIds) {
        logits.fill(-Infinity)
        logits[script[tokenIds.length % script.length] as number] = 0
      },
    },
  }
}

test('drafts that are right save passes, and wrong ones are counted as such', async (t) => {
  await withModel('gguf-pair-q4_0', async (model) => {
    const repeat = await model.ask([], question, { ...scripted([270, 280, 290, 300]), maxTokens: 80 })
    t.true(repeat.usage.acceptedTokens > 40)
    t.true(repeat.usage.draftTokens - repeat.usage.acceptedTokens < 31)
    const fresh = await model.ask([], 'Hi', {
      ...scripted(Array.from({ length: 60 }, (_, n) => 260 + n)),
      maxTokens: 60,
    })
    t.deepEqual([fresh.usage.draftTokens, fresh.usage.acceptedTokens], [0, 0])
    const phrases = [270, 280, 290, 300].flatMap((id) => [270, 280, 290, 300, 310, id, 320, 330])
    const broken = await model.ask([], question, { ...scripted(phrases), maxTokens: 120 })
    t.true(broken.usage.acceptedTokens > 0)
    t.true(broken.usage.draftTokens > broken.usage.acceptedTokens)
  })
})

test('words of the question are drafted', async (t) => {
  await withModel('gguf-pair-q4_0', async (model) => {
    const words = 'the quick brown fox jumps over the lazy dog while a bright orange moon climbs above the old harbour'
    const ids = [...model.tokenize(words, { addBos: false })]
    const { usage, text } = await model.ask([], words, { ...scripted(ids), maxTokens: ids.length })
    t.is(text, words)
    t.true(usage.acceptedTokens > ids.length / 2)
  })
})

test('an answer goes to the end of the context and no further', async (t) => {
  await withModel('gguf-pair-q4_0', async (model) => {
    const options = { ...scripted([270, 280, 290]), maxTokens: 10_000 }
    const { usage, finishReason } = await model.ask([], question, options)
    t.is(finishReason, 'length')
    t.is(usage.promptTokens + usage.completionTokens, model.info().contextLength)
    t.true(usage.acceptedTokens > 100)
    for (const maxTokens of [1, 2, 3, 29, 30, 31, 32, 33])
      t.is((await model.ask([], question, { ...options, maxTokens })).usage.completionTokens, maxTokens)
  })
})

test('aborting and leaving take effect at the same token as without drafts', async (t) => {
  await withModel('gguf-pair-q4_0', async (model) => {
    for (const promptLookupTokens of [0, most]) {
      const controller = new AbortController()
      let written = 0
      const aborted = model.ask([], question, {
        ...scripted([270, 280, 290]),
        promptLookupTokens,
        maxTokens: 120,
        signal: controller.signal,
        onProgress: ({ stage, done }) => {
          if (stage === 'generate') written = done
          if (written === 50) controller.abort()
        },
      })
      await t.throwsAsync(aborted, { code: 'ABORTED' })
      t.is(written, 50)

      const stream = model.chat([{ role: 'user', content: question }], {
        ...scripted([270, 280, 290]),
        promptLookupTokens,
        maxTokens: 120,
      })
      let tokens = 0
      stream.on('token', () => {
        if (++tokens === 50) stream.cancel()
      })
      const { tokenIds, finishReason } = await stream.answer
      t.is(finishReason, 'cancelled')
      t.is(tokenIds.length, 50)
      t.is(model.info().memory.kvCache, 0)
    }
  })
})

test('a model disposed of in the middle of a draft fails the answer as without', async (t) => {
  const { model: file } = goldenCase('gguf-pair-q4_0')
  const model = await LLaVA.open(file, { template: 'hf', threads: 1, prefixCacheBytes: 0 })
  const onProgress: AnswerOptions['onProgress'] = ({ stage, done }) => {
    if (stage === 'generate' && done === 50) model.dispose()
  }
  await t.throwsAsync(model.ask([], question, { ...scripted([270, 280, 290]), maxTokens: 120, onProgress }), {
    code: 'DISPOSED',
  })
})

test('the stream tells every token and text in order', async (t) => {
  await withModel('gguf-pair-q4_0', async (model) => {
    const heard = async (promptLookupTokens: number) => {
      const events: unknown[] = []
      const stream = model.chat([{ role: 'user', content: question }], {
        maxTokens: 80,
        frequencyPenalty: -4,
        promptLookupTokens,
      })
      stream.on('token', ({ id }) => events.push(id)).on('text', (text) => events.push(text))
      const { usage } = await stream.answer
      return { events, accepted: usage.acceptedTokens }
    }
    const drafted = await heard(most)
    t.true(drafted.accepted > 0)
    t.deepEqual(drafted.events, (await heard(0)).events)
  })
})

test('a conversation keeps the same past with drafts and without: turns, retry, undo, a turn that was left, a branch', async (t) => {
  await withModel('gguf-pair-q4_0', async (model, picture) => {
    const told = async (promptLookupTokens: number): Promise<object[]> => {
      using conversation = model.createConversation()
      const answers: object[] = []
      const options = { maxTokens: 25, promptLookupTokens, frequencyPenalty: -3, logprobs: 1 }
      const say = async (content: Message['content']) =>
        answers.push(lasting(await conversation.say(content, options).answer))
      await say([
        { type: 'image', image: picture },
        { type: 'text', text: 'What is it?' },
      ])
      await say('What is it now?')
      answers.push(lasting(await conversation.retry({ ...options, temperature: 1, seed: 4 }).answer))
      conversation.undo()
      for await (const text of conversation.say('And what is it now?', options)) if (text !== '') break
      await say('And what is it then?')
      using branch = conversation.branch(1)
      answers.push(lasting(await branch.say('And what is it then?', options).answer))
      return answers
    }
    t.deepEqual(await told(most), await told(0))
  })
})

test('a draft that a stop string cut off is not taken for what was said', async (t) => {
  const check = async (model: LLaVA) => {
    const said = `${'the dog and '.repeat(9)}the dog`
    const script = model.tokenize(`${said} USER`, { addBos: false }) // the next prompt goes on with ` USER` too, where ` and` was drafted
    using conversation = model.createConversation()
    const { text, usage, finishReason } = await conversation.say('Hi', { ...scripted([...script]), stop: 'USER' })
      .answer
    t.deepEqual([text, finishReason], [said, 'stop_string'])
    t.true(usage.draftTokens > usage.acceptedTokens)
    const options = { maxTokens: 10, logprobs: 1 }
    const second = await conversation.say('So?', options).answer
    t.true(second.usage.cachedTokens >= usage.promptTokens + script.length - 1)
    const messages: Message[] = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: said },
      { role: 'user', content: 'So?' },
    ]
    const whole = await model.chat(messages, options).answer
    t.deepEqual([second.tokenIds, second.logprobs], [whole.tokenIds, whole.logprobs])
  }
  // exact: a turn of few rows is multiplied otherwise than a chat of many where there are tiles
  await withModel('gguf-pair-q4_0', check, { arithmetic: 'exact' })
})

test('several answers take no drafts', async (t) => {
  await withModel('gguf-pair-q4_0', async (model) => {
    for (const { usage } of await model.ask([], question, { answers: 2, ...scripted([270, 280]), maxTokens: 40 })) {
      t.deepEqual([usage.draftTokens, usage.acceptedTokens], [0, 0])
    }
  })
})

test('float weights and exact arithmetic take as many tokens ahead as int8 arithmetic', async (t) => {
  const accepted = async (name: string, options: OpenOptions = {}) => {
    return await withModel(
      name,
      async (model) => (await model.ask([], question, { ...scripted([270, 280]), maxTokens: 61 })).usage.acceptedTokens,
      options,
    )
  }
  for (const name of ['hf-f32', 'hf-bf16', 'gguf-pair-q4_0']) t.true((await accepted(name)) > 40)
  t.true((await accepted('gguf-pair-q4_0', { arithmetic: 'exact' })) > 40)
})

test('the model that comes with the package answers the same with drafts and without', async (t) => {
  await using model = await LLaVA.open(undefined, { threads: 1, prefixCacheBytes: 0 })
  let accepted = 0
  for (const options of [
    {},
    { frequencyPenalty: -2 },
    { temperature: 1, seed: 1 },
    { temperature: 1, frequencyPenalty: -2, seed: 2 },
  ]) {
    for (const text of ['What is in this picture?', 'What is on the left?', 'Describe the picture.']) {
      const asked = { maxTokens: 60, minTokens: 40, logprobs: 3, ...options }
      const drafted = await model.ask('models/demo.png', text, { ...asked, promptLookupTokens: most })
      t.deepEqual(
        lasting(drafted),
        lasting(await model.ask('models/demo.png', text, { ...asked, promptLookupTokens: 0 })),
      )
      accepted += drafted.usage.acceptedTokens
    }
  }
  t.true(accepted > 0)
})

for (const promptLookupTokens of [-1, 32, 1.5, true]) {
  test(`drafts of ${JSON.stringify(promptLookupTokens)} tokens are INVALID_ARGUMENT in words`, async (t) => {
    await withModel('gguf-pair-q4_0', async (model) => {
      const wrong = model.ask([], question, { promptLookupTokens } as unknown as AnswerOptions)
      await t.throwsAsync(wrong, {
        code: 'INVALID_ARGUMENT',
        message: /`promptLookupTokens` to be a whole number in \[0, 31\]/,
      })
    })
  })
}
