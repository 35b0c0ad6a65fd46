// What a pass holds, whoever waits.

import test from 'ava'
import fc from 'fast-check'
import { fewRows, mostRows, promptsAbreast, sharesOfFew, sharesOfMany, type Share } from '../../lib/engine/step-plan.js'

const few = fc.array(
  fc.integer({ min: 1, max: fewRows }).map((rows) => ({ rows, done: 0 })),
  { minLength: 1, maxLength: 60 },
)
const many = fc.array(fc.integer({ min: fewRows + 1, max: 3 * mostRows }), { minLength: 1, maxLength: 12 })
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

/** The places of those that have one, each once, in order. */
function placesOf(shares: readonly Share[]): number[] {
  return [...new Set(shares.map(({ index }) => index))].sort((a, b) => a - b)
}

test('calls of few rows go whole, the first in any case, and nobody is left out that has room', (t) => {
  fc.assert(
    fc.property(few, fc.integer({ min: fewRows, max: mostRows }), (calls, room) => {
      const shares = sharesOfFew(calls, room)
      t.deepEqual(
        shares.map(({ index }) => index),
        placesOf(shares),
      )
      t.is(shares[0]?.index, 0)
      for (const { index, rows } of shares) t.is(rows, calls[index]!.rows)
      const left = room - sum(shares.map(({ rows }) => rows))
      t.true(left >= 0)
      for (const [index, { rows }] of calls.entries())
        t.true(rows > left || shares.some((share) => share.index === index))
    }),
  )
})

test('calls of many rows fill passes in their order, and no slice of one is few, whoever else asks', (t) => {
  fc.assert(
    fc.property(many, (sizes) => {
      const calls = sizes.map((rows) => ({ rows, done: 0 }))
      while (calls.some(({ rows, done }) => done < rows)) {
        const waiting = calls.filter(({ rows, done }) => done < rows)
        const shares = sharesOfMany(waiting, mostRows)
        t.deepEqual(
          shares.map(({ index }) => index),
          shares.map((_, n) => n),
        )
        for (const { index, rows } of shares) {
          t.true(rows > fewRows)
          waiting[index]!.done += rows
          const { rows: all, done } = waiting[index]!
          t.true(done === all || all - done > fewRows)
        }
        const total = sum(shares.map(({ rows }) => rows))
        t.true(total < mostRows + 2 * (fewRows + 1))
        if (shares.length < waiting.length) t.true(total >= mostRows - fewRows)
      }
    }),
  )
})

test('prompts that were asked together end in the same pass, as many as are read side by side', (t) => {
  const calls = Array.from({ length: 2 * promptsAbreast }, () => ({ rows: 640, done: 0 }))
  const ends: number[] = []
  for (let pass = 0; ends.length < calls.length; pass++) {
    const waiting = calls.filter(({ rows, done }) => done < rows)
    for (const { index, rows } of sharesOfMany(waiting, mostRows)) {
      const call = waiting[index]!
      call.done += rows
      if (call.done === call.rows) ends.push(pass)
    }
  }
  t.deepEqual(ends, [4, 4, 4, 4, 9, 9, 9, 9])
})

test('a short prompt does not wait for the long ones before it, and these share what it leaves', (t) => {
  const waiting = [2000, 2000, 80].map((rows) => ({ rows, done: 0 }))
  t.deepEqual(sharesOfMany(waiting, mostRows), [
    { index: 0, rows: 216 },
    { index: 1, rows: 216 },
    { index: 2, rows: 80 },
  ])
})
