import { setImmediate } from 'node:timers/promises'
import test from 'ava'
import { Lockstep } from '../lib/lockstep.js'

/** A lockstep whose native calls are written down. */
function watched(count: number, failure?: Error) {
  const calls: (readonly [readonly number[], readonly number[]])[] = []
  const lockstep = new Lockstep(count, async (rows, ids) => {
    calls.push([rows, ids])
    await setImmediate()
    if (failure !== undefined) throw failure
  })
  return { lockstep, calls }
}

test('the call waits for all, and each learns its place', async (t) => {
  const { lockstep, calls } = watched(3)
  const steps = [lockstep.step(2, 22), lockstep.step(0, 20)]
  await setImmediate()
  t.deepEqual(calls, [])
  steps.push(lockstep.step(1, 21))
  t.deepEqual(await Promise.all(steps), [2, 0, 1])
  t.deepEqual(calls, [
    [
      [0, 1, 2],
      [20, 21, 22],
    ],
  ])
})

test('one that has left is not waited for', async (t) => {
  const { lockstep, calls } = watched(3)
  const step = lockstep.step(2, 7)
  lockstep.leave()
  lockstep.leave()
  t.is(await step, 0)
  t.deepEqual(calls, [[[2], [7]]])
  lockstep.leave()
  t.is(calls.length, 1)
})

test('a failed call fails all that asked, and later ones', async (t) => {
  const failure = new Error('no')
  const { lockstep } = watched(2, failure)
  const steps = [lockstep.step(0, 1), lockstep.step(1, 1)]
  for (const step of steps) t.is(await t.throwsAsync(step), failure)
  t.is(await t.throwsAsync(lockstep.step(0, 1)), failure)
})

test('one that fails takes those along that wait for it', async (t) => {
  const { lockstep, calls } = watched(2)
  const failure = new Error('no')
  const step = lockstep.step(0, 1)
  lockstep.fail(failure)
  lockstep.leave()
  t.is(await t.throwsAsync(step), failure)
  t.deepEqual(calls, [])
})
