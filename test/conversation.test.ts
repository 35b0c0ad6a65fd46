// A conversation answers as a chat with the same messages does, and computes only what is new.

import { fileURLToPath } from 'node:url'
import test from 'ava'
import {
  LLaVA,
  type Answer,
  type AnswerOptions,
  type Conversation,
  type EncodedImage,
  type Message,
  type OpenOptions,
  type SayOptions,
} from '../lib/index.js'
import { goldenCase } from './tiny-model.js'

const { model: modelPath, picture } = goldenCase('hf-f32')
const rowsPerImage = 16
const packaged = fileURLToPath(new URL('../../models/default.gguf', import.meta.url))

/** The short template leaves room in the tiny model's context of 256. */
async function withModel<T>(
  work: (model: LLaVA) => Promise<T>,
  options: OpenOptions = {},
  file = modelPath,
): Promise<T> {
  await using model = await LLaVA.open(file, { template: 'hf', threads: 2, prefixCacheBytes: 0, ...options })
  return await work(model)
}

const short: SayOptions = { maxTokens: 8 }
const shown = [
  { type: 'image', image: picture },
  { type: 'text', text: 'What is it?' },
] as const

/** Positions of the prompt that were computed. */
function computed({ usage }: Answer): number {
  return usage.promptTokens - usage.cachedTokens
}

/** What a chat answers when it is given all messages but the last. */
async function afresh(model: LLaVA, messages: readonly Message[], options: AnswerOptions = short): Promise<Answer> {
  return model.chat(messages.slice(0, -1), options).answer
}

for (const [name, file, options] of [
  ['a float32 checkpoint', modelPath, {}],
  ['a float16 checkpoint', goldenCase('hf-f16').model, {}],
  // exact: a turn of few rows is multiplied otherwise than a chat of many where there are tiles
  ['a quantised GGUF pair', goldenCase('gguf-pair-q4_0').model, { arithmetic: 'exact' }],
  ['the model that comes with the package', packaged, { template: 'vicuna_v1' }],
] as const) {
  test(`with ${name}, every turn gives the tokens that a chat with the same messages gives, and computes fewer rows`, async (t) => {
    await withModel(
      async (model) => {
        using conversation = model.createConversation()
        for (const content of [shown, 'And now?', 'Name a color.'] as const) {
          const answer = await conversation.say(content, short).answer
          const alone = await afresh(model, conversation.messages)
          t.deepEqual(answer.tokenIds, alone.tokenIds)
          t.is(answer.text, alone.text)
          t.is(answer.usage.promptTokens, alone.usage.promptTokens)
          t.is(alone.usage.cachedTokens, 0)
          if (content === shown) t.is(answer.usage.cachedTokens, 0)
          else t.true(answer.usage.cachedTokens > rowsPerImage)
        }
        t.is(conversation.length, 3)
      },
      options,
      file,
    )
  })
}

test('a turn computes what follows the common beginning, and no more', async (t) => {
  await withModel(async (model) => {
    using conversation = model.createConversation()
    const first = await conversation.say(shown, { maxTokens: 1 }).answer
    const second = await conversation.say('And now?', short).answer
    // the picture and the prompt before it are there; at least the answer's first token was not fed yet
    t.true(second.usage.cachedTokens <= first.usage.promptTokens)
    t.true(second.usage.cachedTokens >= first.usage.promptTokens - 1)
  })
})

test('messages are what was said, ready for a chat', async (t) => {
  await withModel(async (model) => {
    using conversation = model.createConversation({ system: 'Be kind.' })
    const { text } = await conversation.say(shown, short).answer
    t.deepEqual(
      conversation.messages.map(({ role }) => role),
      ['user', 'assistant'],
    )
    t.is(conversation.messages[1]?.content, text)
  })
})

test('a conversation begins with messages from elsewhere, the system message among them', async (t) => {
  await withModel(async (model) => {
    const messages: readonly Message[] = [
      { role: 'system', content: 'Be kind.' },
      { role: 'user', content: shown },
      { role: 'assistant', content: 'red' },
    ]
    using conversation = model.createConversation({ messages })
    t.is(conversation.length, 1)
    const answer = await conversation.say('And now?', short).answer
    const expected = await model.chat([...messages, { role: 'user', content: 'And now?' }], short).answer
    t.deepEqual(answer.tokenIds, expected.tokenIds)
    t.is(conversation.length, 2)
    t.true((await conversation.say('Why?', short).answer).usage.cachedTokens > rowsPerImage)
  })
})

/** A picture, and three turns about it. */
async function threeTurns(model: LLaVA): Promise<Conversation> {
  const conversation = model.createConversation()
  for (const content of [shown, 'And now?', 'Name a color.'] as const) await conversation.say(content, short).answer
  return conversation
}

test('retry computes one position, and with the same options gives the same answer', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    const before = conversation.messages
    const again = await conversation.retry(short).answer
    t.is(computed(again), 1)
    t.deepEqual(conversation.messages, before)
    const other = await conversation.retry({ ...short, temperature: 50, seed: 4 }).answer
    t.is(computed(other), 1)
    t.is(conversation.messages.at(-1)?.content, other.text)
    t.is(conversation.length, 3)
  })
})

test('an edited turn computes what follows it, and forgets the turns after it', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    const second = conversation.messages.slice(0, 2)
    const answer = await conversation.edit(1, 'And then?', short).answer
    t.is(conversation.length, 2)
    t.deepEqual(conversation.messages.slice(0, 2), second)
    t.deepEqual(answer.tokenIds, (await afresh(model, conversation.messages)).tokenIds)
    t.true(answer.usage.cachedTokens > rowsPerImage)
    // "USER: And then? ASSISTANT:", of which the first word may be shared
    const own = model.tokenize('USER: And then? ASSISTANT:', { addBos: false }).length
    t.true(computed(answer) <= own + 8) // and what the first answer was fed as and is written as may differ in
  })
})

test('the first turn with another question keeps its picture', async (t) => {
  await withModel(async (model) => {
    using image = await model.encodeImage(picture)
    using conversation = model.createConversation()
    await conversation.say(
      [
        { type: 'image', image },
        { type: 'text', text: 'What is it?' },
      ],
      short,
    ).answer
    const answer = await conversation.edit(
      0,
      [
        { type: 'image', image },
        { type: 'text', text: 'Which color?' },
      ],
      short,
    ).answer
    t.true(answer.usage.cachedTokens > rowsPerImage)
    using black = await model.encodeImage({ width: 8, height: 8, data: new Uint8Array(192) })
    const other = await conversation.edit(
      0,
      [
        { type: 'image', image: black },
        { type: 'text', text: 'Which color?' },
      ],
      short,
    ).answer
    t.true(other.usage.cachedTokens < rowsPerImage)
    t.deepEqual(other.tokenIds, (await afresh(model, conversation.messages)).tokenIds)
  })
})

test('the template and the system text of a conversation are those of its prompts', async (t) => {
  await withModel(async (model) => {
    const prompt = { template: 'llava_v1', system: 'Be kind.' } as const
    using conversation = model.createConversation(prompt)
    const answer = await conversation.say('What is it?', short).answer
    const expected = await model.ask([], 'What is it?', { ...short, ...prompt })
    t.deepEqual([answer.tokenIds, answer.usage.promptTokens], [expected.tokenIds, expected.usage.promptTokens])
    t.not(answer.usage.promptTokens, (await model.ask([], 'What is it?', short)).usage.promptTokens)
  })
})

test('a prompt that ends in a picture computes its last row again, and no other', async (t) => {
  await withModel(async (model) => {
    using conversation = model.createConversation({ template: 'plain' })
    const first = await conversation.say([{ type: 'image', image: picture }], short).answer
    const again = await conversation.retry(short).answer
    t.is(computed(again), 1)
    t.deepEqual(again.tokenIds, first.tokenIds)
  })
})

test('of an answer that was cut, all tokens but the last were computed', async (t) => {
  await withModel(
    async (model) => {
      let exact = 0
      for (const question of ['What is red?', 'What is it?', 'Where is the square?', 'Name a color.']) {
        for (let maxTokens = 2; maxTokens <= 4; maxTokens++) {
          using conversation = model.createConversation()
          const first = await conversation.say(question, { maxTokens }).answer
          if (first.finishReason !== 'length') continue
          const second = await conversation.say('and', { maxTokens }).answer
          const there = first.usage.promptTokens + maxTokens - 1
          t.true(second.usage.cachedTokens <= there)
          if (second.usage.cachedTokens === there) exact++
          t.deepEqual(second.tokenIds, (await afresh(model, conversation.messages, { maxTokens })).tokenIds)
        }
      }
      t.true(exact > 0) // an answer in words becomes the same tokens again
    },
    {},
    packaged,
  )
})

test('a picture of turns that are gone is disposed of, one that is still asked about is not', async (t) => {
  await withModel(async (model) => {
    using conversation = model.createConversation()
    await conversation.say(shown, short).answer
    await conversation.say(shown, short).answer
    const images = conversation.messages.flatMap(({ content }) =>
      typeof content === 'string' ? [] : content.flatMap((part) => (part.type === 'image' ? [part.image] : [])),
    )
    const [kept, gone] = images as EncodedImage[]
    conversation.undo()
    t.is(kept?.projected().length, 16 * 32)
    t.throws(() => gone?.projected(), { code: 'DISPOSED' })
  })
})

test('asking again after leaving computes nothing that was there when it was left', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    for await (const piece of conversation.say('Why?', long)) if (piece !== '') break
    t.is(computed(await conversation.say('Why?', short).answer), 1)
  })
})

test('undo forgets the last turn and nothing else', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    const before = conversation.messages
    conversation.undo()
    t.deepEqual(conversation.messages, before.slice(0, 4))
    const answer = await conversation.say('Name a color.', short).answer
    t.is(computed(answer), 1)
    t.deepEqual(conversation.messages, before)
  })
})

test('a branch goes its own way from any turn, with all that is shared computed, and outlives its origin', async (t) => {
  await withModel(async (model) => {
    const conversation = await threeTurns(model)
    using whole = conversation.branch()
    using early = conversation.branch(1)
    using empty = conversation.branch(0)
    t.deepEqual([whole.length, early.length, empty.length], [3, 1, 0])
    const kept = conversation.messages
    const onward = await early.say('And then?', short).answer
    t.true(onward.usage.cachedTokens > rowsPerImage)
    t.deepEqual(onward.tokenIds, (await afresh(model, early.messages)).tokenIds)
    t.deepEqual(conversation.messages, kept)
    conversation.dispose()
    const last = await whole.say('Why?', short).answer
    t.deepEqual(last.tokenIds, (await afresh(model, whole.messages)).tokenIds)
    t.true(last.usage.cachedTokens > rowsPerImage)
    t.deepEqual((await empty.say('Why?', short).answer).tokenIds, (await model.ask([], 'Why?', short)).tokenIds)
  })
})

test('branches answer at the same time', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    using other = conversation.branch()
    const answers = await Promise.all([
      conversation.say('Why?', short).answer,
      other.say('Name a color.', short).answer,
    ])
    for (const [index, one] of [conversation, other].entries()) {
      t.deepEqual(answers[index]?.tokenIds, (await afresh(model, one.messages)).tokenIds)
    }
  })
})

test('a second call while an answer is written is BUSY', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    const early = conversation.say('Name a color.', short)
    const stream = conversation.say('Why?', short)
    const running = stream.answer
    t.throws(() => conversation.say('Why?'), { code: 'BUSY' })
    t.throws(() => conversation.retry(), { code: 'BUSY' })
    t.throws(() => conversation.edit(0, 'Why?'), { code: 'BUSY' })
    t.throws(() => conversation.branch(), { code: 'BUSY' })
    t.throws(
      () => {
        conversation.undo()
      },
      { code: 'BUSY' },
    )
    await t.throwsAsync(early.answer, { code: 'BUSY' })
    await running
    t.is(conversation.length, 4)
  })
})

test('a stream first looked at when the conversation has gone on is BUSY, and changes nothing', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    const stale = conversation.say('Name a color.', short)
    await conversation.say('Why?', short).answer
    await t.throwsAsync(stale.answer, { code: 'BUSY' })
    t.is(conversation.length, 4)
  })
})

const long: SayOptions = { maxTokens: 100, temperature: 100, seed: 3 }

for (const [how, stop] of [
  [
    'an abort',
    async (conversation: Conversation, turn: 'say' | 'edit') => {
      const controller = new AbortController()
      const options = { ...long, signal: controller.signal }
      const stream = turn === 'say' ? conversation.say('Why?', options) : conversation.edit(0, shown, options)
      for await (const piece of stream) if (piece !== '') controller.abort()
    },
  ],
  [
    'leaving',
    async (conversation: Conversation, turn: 'say' | 'edit') => {
      const stream = turn === 'say' ? conversation.say('Why?', long) : conversation.edit(0, shown, long)
      for await (const piece of stream) if (piece !== '') break
    },
  ],
] as const) {
  for (const turn of ['say', 'edit'] as const) {
    test(`${how} in the middle of a ${turn} leaves the conversation at its last complete turn, with its past computed`, async (t) => {
      await withModel(async (model) => {
        using conversation = await threeTurns(model)
        const before = conversation.messages
        await stop(conversation, turn).catch((error: unknown) => {
          t.is((error as { code: string }).code, 'ABORTED')
        })
        t.deepEqual(conversation.messages, before)
        const answer = await conversation.say('Why?', short).answer
        t.deepEqual(answer.tokenIds, (await afresh(model, conversation.messages)).tokenIds)
        using control = await threeTurns(model)
        const expected = computed(await control.say('Why?', short).answer)
        t.true(computed(answer) <= expected)
      })
    })
  }
}

test('a turn that fails changes nothing, and the next one is taken', async (t) => {
  await withModel(async (model) => {
    using conversation = await threeTurns(model)
    const before = conversation.messages
    await t.throwsAsync(conversation.say([{ type: 'image', image: 'no/such/picture.png' }], short).answer, {
      code: 'IMAGE_UNREADABLE',
    })
    await t.throwsAsync(conversation.say('red '.repeat(300), short).answer, { code: 'CONTEXT_OVERFLOW' })
    t.deepEqual(conversation.messages, before)
    t.is((await conversation.say('Why?', short).answer).usage.imageTokens, rowsPerImage)
  })
})

test('an encoded picture that its owner disposes of stays in the conversation', async (t) => {
  await withModel(async (model) => {
    using conversation = model.createConversation()
    const image = await model.encodeImage(picture)
    await conversation.say(
      [
        { type: 'image', image },
        { type: 'text', text: 'What is it?' },
      ],
      short,
    ).answer
    image.dispose()
    const { tokenIds } = await conversation.edit(0, conversation.messages[0]?.content ?? '', short).answer
    using control = await model.encodeImage(picture)
    t.deepEqual(tokenIds, (await model.ask(control, 'What is it?', short)).tokenIds)
  })
})

test('pictures and keys that nobody needs any more are given back', async (t) => {
  await withModel(async (model) => {
    const held = () => model.info().memory.kvCache
    const before = held()
    const conversation = await threeTurns(model)
    const branch = conversation.branch()
    t.true(held() > before)
    conversation.dispose()
    conversation.dispose()
    t.true(held() > before)
    branch.dispose()
    t.is(held(), before)
    t.throws(() => conversation.messages, { code: 'DISPOSED' })
    t.throws(() => conversation.say('Why?'), { code: 'DISPOSED' })
  })
})

test('a conversation disposed of while it answers finishes the answer, then frees its memory', async (t) => {
  await withModel(async (model) => {
    const before = model.info().memory.kvCache
    const conversation = await threeTurns(model)
    const answering = conversation.say('Why?', short).answer
    const disposing = conversation[Symbol.asyncDispose]()
    t.true((await answering).tokenIds.length > 0)
    await disposing
    t.is(model.info().memory.kvCache, before)
  })
})

test('a conversation of a model that was disposed of is DISPOSED', async (t) => {
  const model = await LLaVA.open(modelPath, { template: 'hf', prefixCacheBytes: 0 })
  const conversation = await threeTurns(model)
  const writing = conversation.say('Why?', long).answer
  model.dispose()
  await t.throwsAsync(writing, { code: 'DISPOSED' })
  t.throws(() => conversation.say('Why?'), { code: 'DISPOSED' })
  conversation.dispose()
})
