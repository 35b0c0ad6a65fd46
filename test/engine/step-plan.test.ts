// What a pass holds, whoever waits.

import test from 'ava'
import fc from 'fast-check'
import { fewRows, mostRows, planPass, type Waiting } from '../../lib/engine/step-plan.js'

/** A run, of which some rows may be done: of many rows, none of both parts is few where the two are kept apart. */
const call = fc.integer({ min: 1, max: mostRows }).chain((run) => {
  const fresh = fc.constant({ run, left: run })
  if (run <= fewRows || run < 2 * (fewRows + 1)) return fresh
  const begun = fc.integer({ min: fewRows + 1, max: run - fewRows - 1 }).map((left) => ({ run, left }))
  return fc.oneof(fresh, begun)
})
const waiting = fc.array(call, { minLength: 1, maxLength: 40 })
const beside = fc.integer({ min: 1, max: mostRows })
const isFew = ({ run }: Waiting) => run <= fewRows
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

test('a pass is never empty, has no call twice, and gives none more rows than it asked for', (t) => {
  fc.assert(
    fc.property(waiting, beside, fc.boolean(), fc.boolean(), (calls, rows, apart, manyNext) => {
      const shares = planPass(calls, { most: mostRows, beside: rows, answering: false, apart, manyNext })
      t.true(shares.length > 0)
      t.deepEqual(
        shares.map(({ index }) => index),
        [...new Set(shares.map(({ index }) => index))].sort((a, b) => a - b),
      )
      for (const share of shares) t.true(share.rows > 0 && share.rows <= calls[share.index]!.left)
    }),
  )
})

test('answers go whole, with no more of the prompts beside them than was allowed; prompts by themselves fill the pass', (t) => {
  fc.assert(
    fc.property(waiting, beside, fc.boolean(), (calls, most, answering) => {
      const shares = planPass(calls, { most: mostRows, beside: most, answering, apart: false, manyNext: false })
      const few = shares.filter(({ index }) => isFew(calls[index]!))
      const many = shares.filter(({ index }) => !isFew(calls[index]!))
      const rows = sum(shares.map((share) => share.rows))
      t.true(rows <= mostRows)
      t.true(few.every(({ index, rows }) => rows === calls[index]!.left))
      if (few.length > 0 || answering) t.true(sum(many.map(({ rows }) => rows)) <= most)
      else t.is(rows, Math.min(mostRows, sum(calls.map(({ left }) => left))))
      if (sum(calls.filter(isFew).map(({ left }) => left)) <= mostRows) t.is(few.length, calls.filter(isFew).length)
    }),
  )
})

test('kept apart, a pass holds few rows or many, and what it leaves of a long run is many too', (t) => {
  fc.assert(
    fc.property(waiting, beside, fc.boolean(), (calls, most, manyNext) => {
      const shares = planPass(calls, { most: mostRows, beside: most, answering: false, apart: true, manyNext })
      const few = shares.filter(({ index }) => isFew(calls[index]!))
      const waitingFew = calls.filter(isFew).length
      t.is(few.length > 0, waitingFew > 0 && (!manyNext || waitingFew === calls.length))
      if (few.length > 0) {
        t.is(few.length, shares.length)
        t.true(sum(few.map(({ rows }) => rows)) <= fewRows)
      } else {
        for (const { index, rows } of shares) {
          const left = calls[index]!.left - rows
          t.true(rows > fewRows && (left === 0 || left > fewRows))
        }
        t.true(sum(shares.map(({ rows }) => rows)) < mostRows + 2 * (fewRows + 1))
      }
    }),
  )
})
