// Beginnings of prompts that are kept, on sequences that only keep books: each holds the positions that it should, none is lost or leaked, and the room is kept.

import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import { Job } from '../../lib/engine/job.js'
import { nameRows, positionKeys } from '../../lib/engine/position-keys.js'
import { PrefixTree, type PrefixTreeOptions } from '../../lib/engine/prefix-tree.js'
import { fewRows } from '../../lib/engine/step-plan.js'
import { LlavaError } from '../../lib/errors.js'
import type { NativeImageFeatures, NativeSegment, NativeSequence } from '../../lib/native.js'

/** Sequences of position keys, and how many live. */
class Books {
  readonly texts = new Set<Text>()
  fails = false

  get live(): number {
    return this.texts.size
  }

  createSequence(): Text {
    return new Text(this)
  }

  fork(sequence: NativeSequence): Text {
    if (this.fails) throw new LlavaError('OUT_OF_MEMORY', 'out of memory')
    return new Text(this, [...textOf(sequence).keys])
  }
}

class Text implements NativeSequence {
  #disposed = false

  constructor(
    readonly books: Books,
    readonly keys: number[] = [],
  ) {
    books.texts.add(this)
  }

  get length(): number {
    if (this.#disposed) throw new Error('disposed of')
    return this.keys.length
  }

  truncate(length: number): void {
    if (length > this.length) throw new Error(`cut at ${length} of ${this.length}`)
    this.keys.length = length
  }

  fork(): NativeSequence {
    return this.books.fork(this)
  }

  dispose(): void {
    if (this.#disposed) throw new Error('disposed of twice')
    this.#disposed = true
    this.books.texts.delete(this)
  }
}

function textOf(sequence: NativeSequence): Text {
  if (sequence instanceof Text) return sequence
  throw new Error('a sequence of somebody else')
}

function treeOf(options: Partial<PrefixTreeOptions> = {}) {
  const books = new Books()
  return { books, tree: new PrefixTree(books, { limit: Infinity, bytesOfPage: 1, apart: false, ...options }) }
}

const newJob = () => new Job(undefined, { cancel: () => undefined })
const tokens = (...ids: number[]): NativeSegment => ({ tokens: Int32Array.from(ids) })

/** Pictures of 20 rows. */
const pictures = [1, 2, 3].map((n): NativeImageFeatures => {
  const image = { rows: 20, read: () => new Float32Array(0), dispose: () => undefined }
  nameRows(image, n.toString(16).padStart(2, '0').repeat(32))
  return image
})
const shown = (n: number): NativeSegment => ({ image: pictures[n]!, start: 0, count: 20 })

/** Runs a prompt and its answer, as far as `until`; says what was cached. */
async function run(
  tree: PrefixTree,
  segments: readonly NativeSegment[],
  answer: readonly number[] = [],
  until: 'prompted' | 'failed' | 'answered' = 'answered',
): Promise<{ cached: number; holds: readonly number[] }> {
  const begun = await tree.begin(segments, newJob())
  const sequence = textOf(begun.sequence)
  try {
    const holds = [...sequence.keys]
    if (until === 'failed') return { cached: begun.cached, holds }
    for (const call of begun.calls) sequence.keys.push(...positionKeys(call))
    begun.prompted()
    if (until === 'prompted') return { cached: begun.cached, holds }
    sequence.keys.push(...answer)
    begun.answered([...answer, 999]) // the last token was chosen and not computed
    return { cached: begun.cached, holds }
  } finally {
    begun.end()
    sequence.dispose()
  }
}

const prompts = fc
  .array(
    fc.oneof(
      fc.array(fc.nat(2), { minLength: 1, maxLength: 30 }).map((ids) => tokens(...ids)),
      fc.nat(2).map((n) => shown(n)),
    ),
    { maxLength: 4 },
  )
  .map((segments) => [...segments, tokens(7)])

/** Positions of the longest beginning that was kept; a picture is shared whole or not at all. */
function longest(kept: readonly (readonly number[])[], keys: readonly number[]): number {
  return Math.max(
    0,
    ...kept.map((other) => {
      let shared = 0
      while (shared < keys.length && keys[shared] === other[shared]) shared++
      if (shared < keys.length && keys[shared]! < 0) while (shared > 0 && keys[shared - 1]! < 0) shared--
      return shared
    }),
  )
}

/** Of a prompt's positions, those that are computed as many: up to its last picture, where these are many and few tokens follow; else all. */
function ofMany(keys: readonly number[]): number {
  const behind = keys.findLastIndex((key) => key < 0) + 1
  const follow = keys.length - behind
  return behind > fewRows && follow <= fewRows ? behind : keys.length
}

for (const apart of [false, true]) {
  test(`${apart ? 'few rows and many apart: ' : ''}a prompt goes on from the longest beginning that was kept, which holds its own positions`, async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(prompts, fc.array(fc.nat(2), { maxLength: 5 }), fc.constantFrom('prompted', 'failed', 'answered')),
          {
            maxLength: 25,
          },
        ),
        async (runs) => {
          const { books, tree } = treeOf({ apart })
          const kept: number[][] = []
          for (const [segments, answer, until] of runs) {
            const keys = [...positionKeys(segments)]
            const least = apart ? fewRows + 1 : 1
            const many = apart ? ofMany(keys) : keys.length
            const shared = longest(kept, keys)
            const expected = many < keys.length && shared >= many ? many : Math.max(0, Math.min(shared, many - least))
            const { cached, holds } = await run(tree, segments, answer, until)
            t.is(cached, expected)
            t.deepEqual(holds, keys.slice(0, cached))
            if (until === 'failed' || (apart && keys.length <= fewRows)) continue
            kept.push(until === 'prompted' || apart ? keys.slice(0, many) : [...keys, ...answer])
          }
          t.is(books.live, tree.use.entries)
          tree.clear()
          t.is(books.live, 0)
          t.like(tree.use, { entries: 0, bytes: 0 })
        },
      ),
      { numRuns: 2000 },
    )
  })
}

test('the least recently used leave, leaves before what they grow from, and the room is kept', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.nat(12), fc.array(prompts, { maxLength: 25 }), async (limit, runs) => {
      const { books, tree } = treeOf({ limit })
      for (const segments of runs) {
        const keys = [...positionKeys(segments)]
        const { cached, holds } = await run(tree, segments)
        t.deepEqual(holds, keys.slice(0, cached))
        t.true(tree.use.bytes <= limit)
        t.is(books.live, tree.use.entries)
      }
    }),
  )
  const { tree } = treeOf({ limit: 4 })
  const question = (n: number) => [tokens(...new Array<number>(64).fill(n), 8)] // two pages each
  await run(tree, question(1))
  await run(tree, question(2))
  t.is((await run(tree, question(1))).cached, 64)
  await run(tree, question(3))
  t.is((await run(tree, question(1))).cached, 64)
  t.is((await run(tree, question(2))).cached, 0)
})

test('a beginning that two prompts share is a node of its own, and holds no more than itself', async (t) => {
  const { tree, books } = treeOf()
  const question = (n: number) => [tokens(...new Array<number>(64).fill(5), ...new Array<number>(64).fill(n), 7)]
  for (const n of [1, 2]) await run(tree, question(n))
  t.deepEqual([...books.texts].map(({ length }) => length).sort(), [129, 129, 64])
  t.is(tree.use.bytes, 1 + 2 + 2)
})

test('a prompt that parts from another before its end does not go on in what follows that one', async (t) => {
  const { tree } = treeOf()
  await run(tree, [tokens(5, 7)], [2]) // 2 after 5 7
  for (const cached of [1, 3]) t.is((await run(tree, [tokens(5, 2, 0, 7)], [], 'prompted')).cached, cached)
})

test('of prompts that begin alike and come at once the first is computed, and the others wait for it', async (t) => {
  const { tree, books } = treeOf()
  const system = new Array<number>(70).fill(5)
  const question = (n: number) => [tokens(...system), shown(0), tokens(n, n)]
  const first = await tree.begin(question(1), newJob())
  const begun: number[] = []
  const others = [2, 3].map(async (n) => {
    const other = await tree.begin(question(n), newJob())
    begun.push(other.cached)
    other.end()
    other.sequence.dispose()
  })
  const stopped = new Job(undefined, { cancel: () => undefined })
  const leaves = t.throwsAsync(tree.begin(question(4), stopped), { message: 'over' })
  const unlike = await tree.begin([tokens(6), shown(0), tokens(2)], newJob())
  t.is(unlike.cached, 0)
  stopped.stop(() => new Error('over'))
  await leaves
  await turn()
  t.deepEqual(begun, [])
  const sequence = textOf(first.sequence)
  for (const call of first.calls) sequence.keys.push(...positionKeys(call))
  first.prompted()
  await Promise.all(others)
  t.deepEqual(begun, [90, 90])
  for (const one of [first, unlike]) {
    one.end()
    one.sequence.dispose()
  }
  t.is(books.live, tree.use.entries)
})

test('where the first one fails, one of the others is computed in its place', async (t) => {
  const { tree } = treeOf()
  const question = (n: number) => [tokens(...new Array<number>(70).fill(5), n)]
  const first = await tree.begin(question(1), newJob())
  const others = Promise.all([2, 3].map((n) => run(tree, question(n))))
  first.end()
  t.deepEqual(
    (await others).map(({ cached }) => cached),
    [0, 70],
  )
})

test('where memory runs out nothing is kept, and nothing is lost', async (t) => {
  const { tree, books } = treeOf()
  await run(tree, [tokens(1, 2, 3)])
  const begun = await tree.begin([tokens(1, 2, 4)], newJob())
  const sequence = textOf(begun.sequence)
  for (const call of begun.calls) sequence.keys.push(...positionKeys(call))
  books.fails = true
  begun.prompted()
  begun.answered([5])
  begun.end()
  sequence.dispose()
  t.is(books.live, tree.use.entries)
  books.fails = false
  t.is((await run(tree, [tokens(1, 2, 3, 4)])).cached, 3)
})

test('a tree without room keeps nothing and lets nobody wait', async (t) => {
  const { tree, books } = treeOf({ limit: 0 })
  const question = [tokens(...new Array<number>(70).fill(5))]
  const first = await tree.begin(question, newJob())
  t.is((await run(tree, question)).cached, 0)
  first.end()
  first.sequence.dispose()
  t.deepEqual([books.live, tree.use.entries], [0, 0])
})

test('few rows and many apart: a few words about a picture that is known are a call of few rows, and what is known is never few', async (t) => {
  const { tree } = treeOf({ apart: true })
  const about = (...ids: number[]) => [tokens(1, 2, 3), shown(0), shown(1), tokens(...ids)] // 43 positions up to the words
  const callsOf = async (segments: readonly NativeSegment[]) => {
    const begun = await tree.begin(segments, newJob())
    try {
      for (const call of begun.calls) textOf(begun.sequence).keys.push(...positionKeys(call))
      begun.prompted()
      return [begun.cached, begun.calls.map((call) => positionKeys(call).length)]
    } finally {
      begun.end()
      begun.sequence.dispose()
    }
  }
  t.deepEqual(await callsOf(about(5, 6)), [0, [43, 2]])
  t.deepEqual(await callsOf(about(5, 6)), [43, [2]])
  t.deepEqual(await callsOf(about(7)), [43, [1]])
  const words = Array.from({ length: fewRows + 1 }, (_, n) => n)
  t.deepEqual(await callsOf(about(...words.slice(1))), [43, [fewRows]])
  t.deepEqual(await callsOf(about(...words)), [43, [fewRows + 1]])
  t.deepEqual(await callsOf(about(...words, 8)), [44, [fewRows + 1]]) // of 76 known positions as many as leave many
})
