// Who runs, who waits, and who is turned away.

import test from 'ava'
import { Admission } from '../../lib/engine/admission.js'
import { Job } from '../../lib/engine/job.js'
import type { LlavaError } from '../../lib/errors.js'

const newJob = (signal?: AbortSignal) => new Job(signal, { cancel: () => undefined })

/** Enters, and writes down when that is done or why not. */
function visitor(admission: Admission, log: string[]) {
  return (name: string, bytes: number, job = newJob()): Promise<() => void> => {
    const entered = admission.enter(bytes, job)
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
