// Work in slices: the same result, with turns of the event loop in between.

import test from 'ava'
import { finishInSlices, inShortSlices } from '../lib/slices.js'

function* spin(milliseconds: number): Generator<undefined, string> {
  const end = performance.now() + milliseconds
  while (performance.now() < end) yield
  return 'done'
}

/** Each of a millisecond at least. */
function* steps(count: number): Generator<undefined, string> {
  for (let n = 0; n < count; n++) {
    const end = performance.now() + 1
    while (performance.now() < end);
    yield
  }
  return 'done'
}

test.serial('work that takes long lets others have their turn many times', async (t) => {
  let turns = 0
  let over = false
  const turn = () => {
    turns++
    if (!over) setImmediate(turn)
  }
  setImmediate(turn)
  t.is(await finishInSlices(steps(200)), 'done')
  over = true
  // slices of 4 ms and steps of one: a busy machine has longer steps, so no fewer slices
  t.true(turns >= 10, `${turns} turns`)
})

test.serial('works side by side take their slices in different turns of the event loop', async (t) => {
  let turns = 0
  let over = false
  const turn = () => {
    turns++
    if (!over) setImmediate(turn)
  }
  setImmediate(turn)
  let slices = 0
  const check = () => {
    slices++
  }
  await Promise.all([1, 2, 3, 4].map(() => finishInSlices(spin(100), check)))
  over = true
  t.true(slices > 4)
  t.true(turns >= slices, `${turns} turns, ${slices} slices`)
})

test.serial('work that is short is done at once', async (t) => {
  let turned = false
  setImmediate(() => {
    turned = true
  })
  await finishInSlices(spin(0))
  t.false(turned)
})

test.serial('a check that throws between slices stops the work', async (t) => {
  const started = performance.now()
  const check = () => {
    throw new Error('enough')
  }
  await t.throwsAsync(finishInSlices(spin(60_000), check), { message: 'enough' })
  t.true(performance.now() - started < 30_000)
})

test.serial('many short pieces that are asked for at once are done in their order, with turns between', async (t) => {
  let turns = 0
  let over = false
  const turn = () => {
    turns++
    if (!over) setImmediate(turn)
  }
  setImmediate(turn)
  const done: number[] = []
  const pieces = Array.from({ length: 200 }, (_, n) =>
    inShortSlices(() => {
      const end = performance.now() + 1
      while (performance.now() < end);
      done.push(n)
      return n
    }),
  )
  t.true(done.length < 100, `${done.length} in the same breath`)
  t.deepEqual(await Promise.all(pieces), done)
  over = true
  t.true(turns >= 10, `${turns} turns`)
  await t.throwsAsync(
    inShortSlices(() => {
      throw new Error('enough')
    }),
    { message: 'enough' },
  )
})
