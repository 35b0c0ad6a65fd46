// Callers come and go: questions, several answers, conversations that branch, are undone, saved and restored, encoded
// pictures, aborts at any token, caches too small for all of
// it, or emptied. Whatever happens, an answer is the one that the question has alone, and in the end every byte of keys
// and values has been given back.

import { deepStrictEqual as deepEqual, equal, ok } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import {
  LLaVA,
  type Answer,
  type AnswerOptions,
  type Conversation,
  type EncodedImage,
  type LlavaError,
  type SavedPicture,
  type TemplateName,
} from '../lib/index.js'

export interface ChurnOptions {
  /** A model that answers in milliseconds. */
  readonly model: string | undefined
  readonly picture: string
  readonly template?: TemplateName
  readonly steps: number
  readonly seed: number
  /** Of what is kept of prompts. */
  readonly prefixPages: number
  /** Hears of each step. */
  readonly onStep?: (step: number) => void
}

/** Answers of questions alone that are remembered. */
const mostKnown = 20_000

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

function expectCode(error: unknown, code: string): void {
  if ((error as Partial<LlavaError>).code !== code) throw error
}

/** Throws where something is not as it should be. */
export async function churn({
  model: file,
  picture,
  template,
  steps,
  seed,
  prefixPages,
  onStep,
}: ChurnOptions): Promise<void> {
  const opened = await LLaVA.open(file, { ...(template && { template }), threads: 2 })
  const bytesOfPage = opened.info().memory.kvCacheFull / (opened.info().contextLength / 64)
  const bytesOfPicture = (await opened.encodeImage(picture)).projected().byteLength
  opened.dispose()
  await using model = await LLaVA.open(file, {
    ...(template && { template }),
    threads: 2,
    kvCacheBytes: 40 * bytesOfPage,
    prefixCacheBytes: prefixPages * bytesOfPage,
    pictureCacheBytes: 2 * bytesOfPicture,
  })
  await using lonely = await LLaVA.open(file, { ...(template && { template }), threads: 2, prefixCacheBytes: 0 })
  const random = randomOf(seed)
  const below = (n: number) => Math.floor(random() * n)
  const pixels = (n: number) => ({ width: 8, height: 8, data: new Uint8Array(192).fill(20 * n) })
  const pictures = [[], [picture], [pixels(1)], [pixels(2)], [pixels(3), picture]]
  const known = new LRUCache<string, Promise<Answer>>({ max: mostKnown })
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
      deepEqual(answer.tokenIds, (await alone).tokenIds, key)
    } catch (error) {
      expectCode(error, 'ABORTED')
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
        deepEqual(await restored.save(saved.keysAndValues && { keysAndValues: true }), saved)
        conversations.push(restored)
      }
    } catch (error) {
      expectCode(error, 'CONTEXT_OVERFLOW')
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
    ok(prefixes.bytes <= prefixes.limit && kept.bytes <= kept.limit)
    onStep?.(step + 1)
  }
  await Promise.all(underWay)
  await Promise.all(known.values()) // also of questions whose answers were aborted
  ok(model.info().caches.prefixes.hits > 0 && model.info().caches.pictures.hits > 0)
  for (const one of [...conversations, ...encoded]) one.dispose()
  model.clearCaches()
  equal(model.info().memory.kvCache, 0)
  const { running, waiting } = model.info().load
  deepEqual({ running, waiting }, { running: 0, waiting: 0 })
}
