// A conversation as data: saved, taken through JSON, and restored in the same model, another one of the same weights,
// or another process.

import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { decodeImage, LLaVA, type Conversation, type OpenOptions, type SavedConversation } from '../lib/index.js'
import { goldenCase } from './tiny-model.js'

const { model: modelPath, picture } = goldenCase('hf-f32')
const otherPicture = fileURLToPath(new URL('../../models/demo.png', import.meta.url))
const short = { maxTokens: 8 }
const shown = [
  { type: 'image', image: picture },
  { type: 'text', text: 'What is it?' },
] as const

async function withModel<T>(work: (model: LLaVA) => Promise<T>, options: OpenOptions = {}): Promise<T> {
  await using model = await LLaVA.open(modelPath, { template: 'hf', threads: 2, prefixCacheBytes: 0, ...options })
  return await work(model)
}

const throughJson = (saved: SavedConversation) => JSON.parse(JSON.stringify(saved)) as SavedConversation

/** Its next answer, without the times it took. */
async function next(conversation: Conversation) {
  const { tokenIds, text, usage } = await conversation.say('And now?', short).answer
  return { tokenIds, text, usage }
}

test('turns are some KB of JSON, and go on in another model as in the first', async (t) => {
  const [saved, expected] = await withModel(async (model) => {
    using conversation = model.createConversation({ system: 'Be brief.' })
    await conversation.say(shown, short).answer
    await conversation.say('Name a color.', short).answer
    const data = throughJson(await conversation.save())
    return [data, await next(conversation)]
  })
  t.true(JSON.stringify(saved).length < 2048)
  t.deepEqual(
    saved.messages.map(({ role }) => role),
    ['user', 'assistant', 'user', 'assistant'],
  )
  await withModel(async (model) => {
    using conversation = await model.restoreConversation(saved)
    t.is(conversation.length, 2)
    t.deepEqual(throughJson(await conversation.save()), saved)
    const answer = await next(conversation)
    t.deepEqual(
      { ...answer, usage: { ...answer.usage, cachedTokens: 0 } },
      { ...expected, usage: { ...expected.usage, cachedTokens: 0 } },
    )
    t.is(answer.usage.cachedTokens, 0)
    conversation.undo()
    t.is(conversation.length, 2)
  })
})

for (const kvCache of ['f32', 'f16', 'q8_0'] as const) {
  test(`keys and values of ${kvCache} are saved too: what was said before is not computed again, and the bits are the same`, async (t) => {
    const [saved, expected] = await withModel(
      async (model) => {
        using conversation = model.createConversation()
        await conversation.say(shown, short).answer
        await conversation.say('Name a color, and then tell me more of what there is to be seen here.', short).answer
        const data = await conversation.save({ keysAndValues: true })
        return [data, await next(conversation)]
      },
      { kvCache },
    )
    t.true(expected.usage.cachedTokens > 64) // more than a page
    const { keysAndValues, ...turns } = saved
    await withModel(
      async (model) => {
        using conversation = await model.restoreConversation({
          ...throughJson(turns),
          keysAndValues: structuredClone(keysAndValues!),
        })
        using branch = conversation.branch()
        t.deepEqual(await next(conversation), expected)
        t.deepEqual(await next(branch), expected)
      },
      { kvCache },
    )
    const other = kvCache === 'f32' ? 'f16' : 'f32'
    await withModel(
      async (model) => {
        const before = model.info().memory.kvCache
        await t.throwsAsync(model.restoreConversation(saved), { code: 'INVALID_ARGUMENT', message: /another model/ })
        const cut = { ...saved, keysAndValues: keysAndValues!.subarray(0, 30) }
        await t.throwsAsync(model.restoreConversation(cut), { code: 'INVALID_ARGUMENT', message: /no keys and values/ })
        t.is(model.info().memory.kvCache, before)
        using conversation = await model.restoreConversation(turns)
        t.is(conversation.length, 2)
      },
      { kvCache: other },
    )
    await withModel(
      async (model) => {
        const cut = { ...saved, keysAndValues: keysAndValues!.subarray(0, -1) }
        await t.throwsAsync(model.restoreConversation(cut), { code: 'INVALID_ARGUMENT', message: /not whole/ })
        t.is(model.info().memory.kvCache, 0)
      },
      { kvCache },
    )
  })
}

test('a picture without a place is saved by its digest: remembered, or given by the caller', async (t) => {
  const pixels = await decodeImage(picture)
  const [saved, expected] = await withModel(async (model) => {
    using conversation = model.createConversation()
    await conversation.say([{ type: 'image', image: pixels }, ...shown.slice(1)], short).answer
    const data = throughJson(await conversation.save())
    using again = await model.restoreConversation(data) // remembered
    t.deepEqual(throughJson(await again.save()), data)
    return [data, await next(conversation)]
  })
  await withModel(async (model) => {
    const error = await t.throwsAsync(model.restoreConversation(saved), { code: 'INVALID_ARGUMENT' })
    t.regex(error.message, /`picture`/)
    const asked: unknown[] = []
    using conversation = await model.restoreConversation(saved, {
      picture(one) {
        asked.push(one)
        return pixels
      },
    })
    t.deepEqual(asked, [(saved.messages[0]!.content as unknown[])[0]])
    t.deepEqual((await next(conversation)).tokenIds, expected.tokenIds)
    model.clearCaches()
    await t.throwsAsync(model.restoreConversation(saved, { picture: () => otherPicture }), {
      code: 'INVALID_ARGUMENT',
      message: /changed/,
    })
  })
})

test('a picture that has changed or gone is an error that names it; a model that sees otherwise takes it as it is', async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-saved-'))
  const file = path.join(folder, 'picture.png')
  try {
    await copyFile(picture, file)
    const saved = await withModel(async (model) => {
      using conversation = model.createConversation()
      await conversation.say([{ type: 'image', image: file }, ...shown.slice(1)], short).answer
      return throughJson(await conversation.save())
    })
    await copyFile(otherPicture, file)
    await withModel(async (model) => {
      const error = await t.throwsAsync(model.restoreConversation(saved), { code: 'INVALID_ARGUMENT' })
      t.true(error.message.includes(file))
      await rm(file)
      await t.throwsAsync(model.restoreConversation(saved), { code: 'IMAGE_UNREADABLE' })
    })
    await copyFile(picture, file)
    await withModel(
      async (model) => {
        using conversation = await model.restoreConversation(saved)
        t.is(conversation.length, 1)
      },
      { imageAspectRatio: 'stretch' },
    )
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a conversation is BUSY while it is saved, which an abort stops, and dispose waits for', async (t) => {
  await withModel(async (model) => {
    using conversation = model.createConversation({
      messages: [
        { role: 'user', content: shown },
        { role: 'assistant', content: 'A cat.' },
      ],
    })
    const saving = conversation.save() // encodes the picture, which nobody has asked about yet
    await t.throwsAsync(conversation.save(), { code: 'BUSY' })
    t.throws(() => conversation.say('Well?'), { code: 'BUSY' })
    t.is((await saving).messages.length, 2)
    await t.throwsAsync(conversation.save({ signal: AbortSignal.abort() }), { code: 'ABORTED' })
    const last = conversation.save({ keysAndValues: true })
    conversation.dispose()
    t.is((await last).keysAndValues, undefined) // nothing was computed
    await t.throwsAsync(conversation.save(), { code: 'DISPOSED' })
  })
})

for (const [what, saved] of [
  ['nothing', null],
  ['a list', []],
  ['another format', { format: 'llava-chat', messages: [], preprocessing: '' }],
  ['no messages', { format: 'llava-conversation', preprocessing: '' }],
  ['a message that is none', { format: 'llava-conversation', preprocessing: '', messages: [null] }],
  [
    'content that is none',
    { format: 'llava-conversation', preprocessing: '', messages: [{ role: 'user', content: 5 }] },
  ],
  [
    'a part that is none',
    { format: 'llava-conversation', preprocessing: '', messages: [{ role: 'user', content: [null] }] },
  ],
  [
    'a picture without a digest',
    { format: 'llava-conversation', preprocessing: '', messages: [{ role: 'user', content: [{ type: 'image' }] }] },
  ],
  ['half a turn', { format: 'llava-conversation', preprocessing: '', messages: [{ role: 'user', content: 'a' }] }],
  [
    'keys and values as JSON',
    { format: 'llava-conversation', preprocessing: '', messages: [], keysAndValues: { 0: 1 } },
  ],
] as const) {
  test(`${what} is no saved conversation`, async (t) => {
    await withModel(async (model) => {
      await t.throwsAsync(model.restoreConversation(saved as unknown as SavedConversation), {
        code: 'INVALID_ARGUMENT',
      })
    })
  })
}
