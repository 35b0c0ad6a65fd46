// Who runs, who waits, and who is turned away.

import test from 'ava'
import { Admission, type Place } from '../../lib/engine/admission.js'
import { Job } from '../../lib/engine/job.js'
import type { LlavaError } from '../../lib/errors.js'

const newJob = (signal?: AbortSignal) => new Job(signal, { cancel: () => undefined })

/** Enters, and writes down when that is done or why not. */
function visitor(admission: Admission, log: string[]) {
  return (name: string, bytes: number, job = newJob(), place: Place = {}): Promise<() => void> => {
    const entered = admission.enter(bytes, job, place)
    entered.then(
      () => log.push(name),
      (error: unknown) => log.push(`${name} ${(error as LlavaError).code}`),
    )
    return entered
  }
}

test('as many run as there is room for; the others come in the order of asking, none past another', async (t) => {
  const admission = new Admission({ kvCacheBytes: 100, maxWaiting: 10 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const [a, b] = await Promise.all([enter('a', 60), enter('b', 40)])
  const c = enter('c', 50)
  const d = enter('d', 10)
  await Promise.resolve()
  t.deepEqual([log, admission.running, admission.waiting], [['a', 'b'], 2, 2])
  b() // room for d, but c was here before
  b() // twice is once
  await Promise.resolve()
  t.deepEqual([log, admission.running, admission.waiting], [['a', 'b'], 1, 2])
  a()
  ;(await c)()
  ;(await d)()
  t.deepEqual([log, admission.running, admission.waiting], [['a', 'b', 'c', 'd'], 0, 0])
})

test('higher priorities come first, whenever they came', async (t) => {
  const admission = new Admission({ kvCacheBytes: 10, maxWaiting: 10 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const first = await enter('first', 10)
  const waiting = [
    enter('low', 10, newJob(), { priority: -1 }),
    enter('usual', 10),
    enter('high', 10, newJob(), { priority: 5 }),
  ]
  first()
  for (const next of waiting.toReversed()) (await next)()
  t.deepEqual(log, ['first', 'high', 'usual', 'low'])
})

test('with one priority whoever’s client has the least in use comes first', async (t) => {
  const admission = new Admission({ kvCacheBytes: 30, maxWaiting: 10 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const of = (client: string) => [newJob(), { client }] as const
  const [a1, a2, b1] = await Promise.all([
    enter('a1', 10, ...of('a')),
    enter('a2', 10, ...of('a')),
    enter('b1', 10, ...of('b')),
  ])
  const waiting = [
    enter('a3', 10, ...of('a')),
    enter('b2', 10, ...of('b')),
    enter('c1', 10, ...of('c')),
    enter('c2', 10, ...of('c')),
  ]
  a1() // c has nothing
  await waiting[2]
  b1() // nor has b now
  await waiting[1]
  a2() // a has nothing either, and came first
  await waiting[0]
  ;(await waiting[2]!)()
  await waiting[3]
  t.deepEqual(log, ['a1', 'a2', 'b1', 'c1', 'b2', 'a3', 'c2'])
})

test('one runs however large it is, by itself', async (t) => {
  const admission = new Admission({ kvCacheBytes: 100, maxWaiting: 10 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const small = await enter('small', 1)
  const large = enter('large', 1000)
  await Promise.resolve()
  t.deepEqual(log, ['small'])
  small()
  const later = enter('later', 1)
  ;(await large)()
  ;(await later)()
  t.deepEqual(log, ['small', 'large', 'later'])
})

test('a full line turns away at once; a place is free again when somebody leaves it', async (t) => {
  const admission = new Admission({ kvCacheBytes: 10, maxWaiting: 1 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const a = await enter('a', 10)
  const stop = new AbortController()
  const b = enter('b', 10, newJob(stop.signal))
  await t.throwsAsync(enter('c', 10), { code: 'OVERLOADED', message: /1 texts run and 1 wait/ })
  stop.abort()
  await t.throwsAsync(b, { code: 'ABORTED' })
  const d = enter('d', 10)
  a()
  ;(await d)()
  t.deepEqual(log, ['a', 'c OVERLOADED', 'b ABORTED', 'd'])

  const none = new Admission({ kvCacheBytes: 10, maxWaiting: 0 })
  const leave = await none.enter(4, newJob())
  const beside = await none.enter(6, newJob()) // there is room: nobody waits
  await t.throwsAsync(none.enter(1, newJob()), { code: 'OVERLOADED' })
  leave()
  beside()
})

test('one that gives up lets a smaller one behind it in', async (t) => {
  const admission = new Admission({ kvCacheBytes: 10, maxWaiting: 5 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const a = await enter('a', 6)
  const stop = new AbortController()
  enter('large', 8, newJob(stop.signal)).catch(() => undefined)
  const small = enter('small', 4)
  await Promise.resolve()
  t.deepEqual(log, ['a'])
  stop.abort()
  await small
  t.deepEqual(log, ['a', 'large ABORTED', 'small'])
  a()
})

test('who has waited for as long as it would is told so, and those behind it go on', async (t) => {
  const admission = new Admission({ kvCacheBytes: 100, maxWaiting: 10 })
  const log: string[] = []
  const enter = visitor(admission, log)
  const a = await enter('a', 60)
  const large = enter('large', 100, newJob(), { maxWaitMs: 5 })
  const small = enter('small', 40)
  const error = await t.throwsAsync(large, { code: 'OVERLOADED' })
  t.regex(error.message, /maxWaitMs/)
  ;(await small)()
  a()
  ;(await enter('in time', 100, newJob(), { maxWaitMs: 60_000 }))() // leaves no timer that keeps the process
  t.deepEqual([log, admission.running, admission.waiting], [['a', 'large OVERLOADED', 'small', 'in time'], 0, 0])
})
