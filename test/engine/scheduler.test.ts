// Calls that share passes, on a decoder that only keeps books: each gets what it would get alone, whatever the others do.

import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import { CandidateRows } from '../../lib/engine/candidate-rows.js'
import { Job } from '../../lib/engine/job.js'
import type { Advance } from '../../lib/engine/pass-line.js'
import { Scheduler } from '../../lib/engine/scheduler.js'
import { fewRows, mostRows, promptsAbreast } from '../../lib/engine/step-plan.js'
import { LlavaError } from '../../lib/errors.js'
import type { NativeModel, NativeSequence, NativeStep } from '../../lib/native.js'

/** Of logits and hidden states; values are the text's fingerprint, and that plus one half. */
const widths = { vocabSize: 2, candidateIds: 9, hiddenSize: 3 }

class Text implements NativeSequence {
  constructor(readonly ids: number[] = []) {}
  get length() {
    return this.ids.length
  }
  truncate(length: number) {
    this.ids.length = length
  }
  fork() {
    return new Text([...this.ids])
  }
  dispose() {
    this.ids.length = 0
  }
}

/** Any two texts have different ones. */
function fingerprint(text: readonly number[]): number {
  return text.reduce((sum, id) => (Math.imul(sum, 31) + id + 2) >>> 0, 1) / 2 ** 32
}

interface Decoder {
  readonly scheduler: Scheduler
  /** Rows of each call of each pass. */
  readonly passes: number[][]
  /** Passes under way at once, at most. */
  readonly most: number
}

/** `fails` says of a pass, or of one step of it, whether it does. */
function bookkeeper(
  options: {
    readonly apart?: boolean
    readonly failsWhole?: (pass: number, steps: readonly NativeStep[]) => boolean
    readonly failsAlone?: (step: NativeStep) => boolean
    readonly turnMs?: number
  } = {},
): Decoder {
  const passes: number[][] = []
  let [underWay, most] = [0, 0]
  const forward: NativeModel['forward'] = async (steps, logits, hidden, candidates) => {
    const pass = passes.push(steps.map(({ segments }) => idsOf(segments).length)) - 1
    most = Math.max(most, ++underWay)
    await turn()
    underWay--
    if (options.failsWhole?.(pass, steps) === true) throw new LlavaError('OUT_OF_MEMORY', 'the pass')
    let [at, ranked] = [0, 0]
    const failures = steps.map((step) => {
      const cancelled = (step.cancellation as Flag).cancelled
      const failed = cancelled || options.failsAlone?.(step) === true
      const text = step.sequence
      if (!(text instanceof Text)) throw new Error('a text of somebody else')
      for (const [row, id] of idsOf(step.segments).entries()) {
        if (!failed) text.ids.push(id)
        if (step.logits === 'none' || (step.logits === 'last' && row + 1 < idsOf(step.segments).length)) continue
        const value = failed ? Number.NaN : fingerprint(text.ids)
        if (step.form !== 'whole' && candidates) {
          const { count, ids, logits: best, logSumExp } = candidates
          for (let n = 0; n < count; n++) {
            ids[ranked * count + n] = n
            best[ranked * count + n] = value - n
          }
          if (logSumExp !== null) logSumExp[ranked] = value + 1
          ranked++
        }
        if (step.form === 'candidates') continue
        logits?.fill(value, at * widths.vocabSize, (at + 1) * widths.vocabSize)
        hidden?.fill(value + 0.5, at * widths.hiddenSize, (at + 1) * widths.hiddenSize)
        at++
      }
      return failed ? new LlavaError(cancelled ? 'ABORTED' : 'OUT_OF_MEMORY', 'the step') : null
    })
    return { failures, computeMs: 1, turnMs: options.turnMs ?? 0 }
  }
  return {
    scheduler: new Scheduler({ forward }, { ...widths, apart: options.apart ?? false }),
    passes,
    get most() {
      return most
    },
  }
}

class Flag {
  cancelled = false
  cancel() {
    this.cancelled = true
  }
}

function newJob(signal?: AbortSignal): Job {
  return new Job(signal, new Flag())
}

function idsOf(segments: NativeStep['segments']): number[] {
  return segments.flatMap((segment) => ('tokens' in segment ? [...segment.tokens] : []))
}

type Asked = Partial<Omit<Advance, 'segments' | 'out'>> & {
  /** Without it: candidates alone. */ readonly whole?: boolean
}

/** Appends ids to a text; resolves to the output. */
async function advance({ scheduler }: Decoder, ids: readonly number[], asked: Asked = {}): Promise<number[]> {
  const { sequence = new Text(), output = 'logits', wanted = 'last', job = newJob(), onProgress, candidates } = asked
  const width = output === 'logits' ? widths.vocabSize : widths.hiddenSize
  const out = asked.whole === false ? null : new Float32Array((wanted === 'all' ? ids.length : 1) * width)
  const segments = [{ tokens: Int32Array.from(ids) }]
  await scheduler.advance({ sequence, segments, output, wanted, out, candidates, job, onProgress })
  return [...(out ?? [])]
}

/** What a call gets alone. */
function expected(before: readonly number[], ids: readonly number[], { output, wanted }: Asked): number[] {
  const isHidden = output === 'hidden'
  const after = wanted === 'all' ? ids.map((_, n) => n + 1) : [ids.length]
  return after.flatMap((count) => {
    const value = fingerprint([...before, ...ids.slice(0, count)])
    const width = isHidden ? widths.hiddenSize : widths.vocabSize
    return new Array<number>(width).fill(Math.fround(isHidden ? value + 0.5 : value))
  })
}

/** Why a call failed; `undefined` where it did not. */
function reasonOf(result: PromiseSettledResult<unknown>): unknown {
  return result.status === 'rejected' ? result.reason : undefined
}

const ids = (count: number, first = 0) => Array.from({ length: count }, (_, n) => first + n)

test('calls of one breath share a pass; one that comes while it runs is part of the next, with those who ask again', async (t) => {
  const decoder = bookkeeper()
  const texts = [new Text(), new Text(), new Text()]
  const write = async (sequence: Text, tokens: number) => {
    for (let n = 0; n < tokens; n++) await advance(decoder, [n], { sequence })
  }
  const first = texts.slice(0, 2).map((text) => write(text, 3))
  await turn()
  await Promise.all([...first, write(texts[2]!, 3)])
  t.deepEqual(decoder.passes, [[1, 1], [1, 1, 1], [1, 1, 1], [1]])
  t.deepEqual(
    texts.map((text) => text.ids),
    [
      [0, 1, 2],
      [0, 1, 2],
      [0, 1, 2],
    ],
  )
})

test('prompts fill passes together, in equal parts; those that do not fit go on in the next', async (t) => {
  const decoder = bookkeeper()
  await Promise.all([300, 300, 100].map((count) => advance(decoder, ids(count), { output: 'hidden' })))
  t.deepEqual(decoder.passes, [
    [206, 206, 100],
    [94, 94],
  ])
})

test('few rows and many have passes of their own, which go on side by side', async (t) => {
  const decoder = bookkeeper()
  const sequence = new Text()
  const prompt = advance(decoder, ids(3 * mostRows))
  for (let n = 0; n < 4; n++) await advance(decoder, [n], { sequence })
  await prompt
  const kindOf = (pass: readonly number[]) => (pass.every((rows) => rows > fewRows) ? 'many' : 'few')
  t.true(decoder.passes.every((pass) => pass.every((rows) => rows > fewRows === pass[0]! > fewRows)))
  const kinds = decoder.passes.map(kindOf)
  t.true(kinds.lastIndexOf('few') < kinds.lastIndexOf('many'), kinds.join())
  t.is(decoder.most, 2)
})

test('who asks while other work has its turn is in the next pass, which begins when the turn or that work ends', async (t) => {
  const short = bookkeeper({ turnMs: 20 })
  await advance(short, [1])
  await advance(short, [2])
  t.deepEqual(short.passes, [[1], [1]])

  const long = bookkeeper({ turnMs: 60_000 })
  await advance(long, [1])
  const waiting = [advance(long, [2])]
  await turn()
  waiting.push(advance(long, [3]))
  await turn()
  t.deepEqual(long.passes, [[1]])
  await advance(long, ids(100))
  await Promise.all(waiting)
  t.deepEqual(long.passes, [[1], [100], [1, 1]])
  const cancelled = new AbortController()
  const late = advance(long, [3], { job: newJob(cancelled.signal) })
  await turn()
  cancelled.abort()
  await t.throwsAsync(late, { code: 'ABORTED' })
  long.scheduler.endTurn()
  await advance(long, [4])
  t.deepEqual(long.passes.at(-1), [1])
})

test('as many tokens share a pass as have the same bits in it', async (t) => {
  for (const apart of [false, true]) {
    const decoder = bookkeeper({ apart })
    await Promise.all(ids(40).map((n) => advance(decoder, [n])))
    t.deepEqual(
      decoder.passes.map((pass) => pass.length),
      apart ? [fewRows, 40 - fewRows] : [40],
    )
  }
})

test('many rows of output have their passes to themselves', async (t) => {
  const decoder = bookkeeper()
  const all = { wanted: 'all' } as const
  await Promise.all([advance(decoder, ids(50), all), advance(decoder, ids(50)), advance(decoder, ids(50), all)])
  t.deepEqual(decoder.passes, [[50], [50], [50]])
})

test('a call that is cancelled while it waits is over at once, and one under way with its pass; nobody else notices', async (t) => {
  const decoder = bookkeeper()
  const controllers = [new AbortController(), new AbortController()]
  const [running, waiting] = [new Text([7]), new Text([8])]
  const first = advance(decoder, ids(600, 1), { sequence: running, job: newJob(controllers[0]!.signal) })
  const abreast = Array.from({ length: promptsAbreast - 1 }, () => advance(decoder, ids(600)))
  const second = advance(decoder, ids(600, 1), { sequence: waiting, job: newJob(controllers[1]!.signal) })
  const third = advance(decoder, ids(3))
  const ends: string[] = []
  const watch = (name: string, call: Promise<unknown>) =>
    call.catch((error: unknown) => ends.push(`${name} ${(error as LlavaError).code}`))
  const watched = [watch('first', first), watch('second', second)]
  await Promise.resolve()
  controllers[1]!.abort()
  await Promise.resolve()
  await Promise.resolve()
  t.deepEqual(ends, ['second ABORTED'])
  controllers[0]!.abort()
  await Promise.all([...watched, ...abreast, third])
  t.deepEqual(ends, ['second ABORTED', 'first ABORTED'])
  t.deepEqual([running.ids, waiting.ids], [[7], [8]])
  t.deepEqual(await third, expected([], ids(3), {}))
})

test('a step that fails takes back what earlier passes gave it; a pass that fails is run again for each alone', async (t) => {
  const broken = new Text([7])
  const alone = bookkeeper({ failsAlone: ({ sequence }) => sequence === broken && sequence.length > 1 })
  const [failure, answer] = await Promise.allSettled([
    advance(alone, ids(mostRows + 10), { sequence: broken }),
    advance(alone, ids(5)),
  ])
  t.is((reasonOf(failure) as LlavaError).message, 'the step')
  t.deepEqual(broken.ids, [7])
  t.is(answer.status, 'fulfilled')

  const whole = bookkeeper({ failsWhole: (_, steps) => steps.some(({ sequence }) => sequence === broken) })
  const [blamed, ...others] = await Promise.allSettled([
    advance(whole, ids(5), { sequence: broken }),
    advance(whole, ids(6)),
    advance(whole, ids(7)),
  ])
  t.is((reasonOf(blamed) as LlavaError).message, 'the pass')
  t.deepEqual(
    others.map(({ status }) => status),
    ['fulfilled', 'fulfilled'],
  )
  t.deepEqual(whole.passes, [[5, 6, 7], [5], [6], [7]])
})

test('a listener of progress that throws fails its call alone', async (t) => {
  const decoder = bookkeeper()
  const text = new Text()
  const failure = new Error('mine')
  const onProgress = (rows: number) => {
    if (rows === mostRows) throw failure
  }
  const [call, other] = await Promise.allSettled([
    advance(decoder, ids(600), { sequence: text, onProgress }),
    advance(decoder, ids(600)),
  ])
  t.is(reasonOf(call), failure)
  t.is(text.length, 0)
  t.is(other.status, 'fulfilled')
})

test('no rows need no pass, and a job that has stopped none either', async (t) => {
  const decoder = bookkeeper()
  t.deepEqual(await advance(decoder, []), [0, 0])
  await t.throwsAsync(advance(decoder, [1], { job: newJob(AbortSignal.abort()) }), { code: 'ABORTED' })
  t.deepEqual(decoder.passes, [])
})

const asked = fc.record({
  before: fc.array(fc.nat(9), { maxLength: 4 }),
  count: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 1200 })),
  output: fc.constantFrom('logits' as const, 'hidden' as const),
  wanted: fc.constantFrom('last' as const, 'all' as const),
  form: fc.constantFrom('whole' as const, 'candidates' as const, 'both' as const),
  most: fc.integer({ min: 1, max: 5 }),
  delay: fc.nat(6),
  abortAfter: fc.option(fc.nat(6)),
})

for (const apart of [false, true]) {
  test(`each call gets what it gets alone, and a cancelled one leaves nothing behind${apart ? ', few and many apart' : ''}`, async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.array(asked, { minLength: 1, maxLength: 12 }), async (calls) => {
        const decoder = bookkeeper({ apart })
        await Promise.all(
          calls.map(async ({ before, count, output, wanted, form: any, most, delay, abortAfter }) => {
            for (let n = 0; n < delay; n++) await turn()
            const sequence = new Text([...before])
            const form = output === 'hidden' ? 'whole' : any
            const rows = wanted === 'all' ? count : 1
            const candidates = form === 'whole' ? undefined : new CandidateRows(rows, most, most % 2 === 0)
            const controller = new AbortController()
            if (abortAfter !== null)
              void (async () => {
                for (let n = 0; n < abortAfter; n++) await turn()
                controller.abort()
              })()
            try {
              const given = await advance(decoder, ids(count, 1), {
                sequence,
                output,
                wanted,
                candidates,
                whole: form !== 'candidates',
                job: newJob(controller.signal),
              })
              const alone = expected(before, ids(count, 1), { output, wanted })
              t.deepEqual(given, form === 'candidates' ? [] : alone)
              for (let row = 0; candidates !== undefined && row < rows; row++) {
                const value = fingerprint([...before, ...ids(wanted === 'all' ? row + 1 : count, 1)])
                t.deepEqual(candidates.row(row), {
                  ids: Int32Array.from({ length: most }, (_, n) => n),
                  logits: Float32Array.from({ length: most }, (_, n) => value - n),
                  logSumExp: most % 2 === 0 ? value + 1 : Number.NaN,
                })
              }
              t.deepEqual(sequence.ids, [...before, ...ids(count, 1)])
            } catch (error) {
              t.is((error as LlavaError).code, 'ABORTED')
              t.deepEqual(sequence.ids, before)
            }
          }),
        )
      }),
      { numRuns: 60 },
    )
  })
}
