// Callers come and go: questions, several answers, conversations that branch, are undone, saved and restored, encoded pictures, aborts at any token, caches too small for all of
// it, or emptied. Whatever happens, an answer is the one that the question has alone, and in the end every byte of keys and values has been given back.
// CHURN_STEPS=100000 goes on for longer.

import { createHash } from 'node:crypto'
import test from 'ava'
import {
  LLaVA,
  type Answer,
  type AnswerOptions,
  type Conversation,
  type EncodedImage,
  type LlavaError,
  type SavedPicture,
} from '../lib/index.js'
import { goldenCase } from './tiny-model.js'

const steps = Number(process.env['CHURN_STEPS'] ?? 300)

/** A number in [0, 1) after another, the same for a seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

for (const [name, prefixPages] of [
  ['hf-f32', 12],
  ['gguf-pair-q4_0', 40],
] as const) {
  test(`${name}: whoever comes and goes, answers are those of questions alone, and all memory comes back`, async (t) => {
    const { model: file, picture } = goldenCase(name)
    const opened = await LLaVA.open(file, { template: 'hf', threads: 2 })
    const bytesOfPage = opened.info().memory.kvCacheFull / (opened.info().contextLength / 64)
    opened.dispose()
    await using model = await LLaVA.open(file, {
      template: 'hf',
      threads: 2,
      kvCacheBytes: 40 * bytesOfPage,
      prefixCacheBytes: prefixPages * bytesOfPage,
      pictureCacheBytes: 16 * 32 * 4 * 2, // two pictures
    })
    await using lonely = await LLaVA.open(file, { template: 'hf', threads: 2, prefixCacheBytes: 0 })
    const random = randomOf(7)
    const below = (n: number) => Math.floor(random() * n)
    const pixels = (n: number) => ({ width: 8, height: 8, data: new Uint8Array(192).fill(20 * n) })
    const pictures = [[], [picture], [pixels(1)], [pixels(2)], [pixels(3), picture]]
    const known = new Map<string, Promise<Answer>>()
    const question = () => Array.from({ length: 1 + below(12) }, () => `w${below(4)}`).join(' ')
    const ask = async (): Promise<void> => {
      const [which, text] = [below(pictures.length), question()]
      const options: AnswerOptions = { maxTokens: 1 + below(6), temperature: 1.5, seed: below(3) }
      const key = JSON.stringify([which, text, options])
      const signal = below(4) === 0 ? AbortSignal.timeout(below(30)) : undefined
      const alone = known.get(key) ?? lonely.ask(pictures[which]!, text, options)
      known.set(key, alone)
      const count = below(3)
      try {
        const given = signal === undefined ? options : { ...options, signal }
        const answer =
          count === 0
            ? (await model.ask(pictures[which]!, text, { ...given, answers: 2 }))[0]!
            : await model.ask(pictures[which]!, text, given)
        t.deepEqual(answer.tokenIds, (await alone).tokenIds, key)
      } catch (error) {
        t.is((error as LlavaError).code, 'ABORTED')
      }
    }
    const conversations: Conversation[] = []
    const digests = await Promise.all(
      [0, 1, 2].map(async (n) =>
        createHash('sha256')
          .update(await model.pixelValues(pixels(n)))
          .digest('hex'),
      ),
    )
    const converse = async (): Promise<void> => {
      const conversation =
        below(3) === 0 || conversations.length === 0
          ? model.createConversation()
          : conversations.splice(below(conversations.length), 1)[0]!
      try {
        if (conversation.length > 2) conversation.undo()
        const content = [
          { type: 'image' as const, image: pixels(below(3)) },
          { type: 'text' as const, text: question() },
        ]
        const stream = conversation.say(below(2) === 0 ? question() : content, { maxTokens: 1 + below(4) })
        if (below(4) === 0)
          setTimeout(() => {
            stream.cancel()
          }, below(20))
        await stream.answer
        if (below(4) === 0) conversations.push(conversation.branch())
        if (below(4) === 0) {
          const saved = await conversation.save({ keysAndValues: below(2) === 0 })
          const picture = ({ digest }: SavedPicture) => pixels(digests.indexOf(digest))
          const restored = await model.restoreConversation(saved, { picture })
          t.deepEqual(await restored.save(saved.keysAndValues && { keysAndValues: true }), saved)
          conversations.push(restored)
        }
      } catch (error) {
        t.is((error as LlavaError).code, 'CONTEXT_OVERFLOW')
      }
      if (below(3) === 0 || conversations.length > 6) conversation.dispose()
      else conversations.push(conversation)
    }
    const encoded: EncodedImage[] = []
    const encode = async (): Promise<void> => {
      encoded.push(await model.encodeImage(pixels(below(4))))
      if (encoded.length > 3) encoded.splice(below(3), 1)[0]!.dispose()
    }
    const underWay = new Set<Promise<void>>()
    for (let step = 0; step < steps; step++) {
      const kind = below(20)
      if (kind === 0) model.clearCaches()
      const work = kind < 12 ? ask() : kind < 18 ? converse() : encode()
      const settled = work.finally(() => underWay.delete(settled))
      underWay.add(settled)
      if (underWay.size > 8) await Promise.race(underWay)
      const { prefixes, pictures: kept } = model.info().caches
      t.true(prefixes.bytes <= prefixes.limit && kept.bytes <= kept.limit)
    }
    await Promise.all(underWay)
    await Promise.all(known.values()) // also of questions whose answers were aborted
    t.true(model.info().caches.prefixes.hits > 0 && model.info().caches.pictures.hits > 0)
    for (const one of [...conversations, ...encoded]) one.dispose()
    model.clearCaches()
    t.is(model.info().memory.kvCache, 0)
    t.like(model.info().load, { running: 0, waiting: 0 })
  })
}
