// How long passes take: what is foretold from those that were seen.

import test from 'ava'
import fc from 'fast-check'
import { Pace } from '../../lib/engine/pace.js'

function paceOf(fixed: number, perRow: number, sizes: readonly number[], noise: (n: number) => number = () => 1): Pace {
  const pace = new Pace()
  for (const [n, rows] of sizes.entries()) pace.observe(rows, (fixed + perRow * rows) * noise(n))
  return pace
}

test('nothing is foretold before a pass was seen', (t) => {
  t.is(new Pace().rowsWithin(100), 0)
})

test('passes of different sizes tell the fixed part from that of a row', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 500 }), fc.double({ min: 0.05, max: 5, noNaN: true }), (fixed, perRow) => {
      const pace = paceOf(fixed, perRow, [512, 126, 40])
      const within = fixed + 100
      t.true(Math.abs(pace.rowsWithin(within) - Math.max(100, 2 * fixed) / perRow) <= 1 + 0.02 * (within / perRow))
    }),
  )
})

test('one size alone counts each row alike, and after others leaves the fixed part as it was', (t) => {
  t.is(paceOf(60, 0.4, [100]).rowsWithin(100), 100)
  const pace = paceOf(60, 0.4, [512, 100])
  for (let n = 0; n < 100; n++) pace.observe(100, 100)
  t.is(pace.rowsWithin(240), 450)
})

test('small slices do not make the next ones smaller: a fixed part is never more than a third of a pass', (t) => {
  const pace = paceOf(70, 0.65, [512, 126])
  let rows = 512
  for (let n = 0; n < 200; n++) {
    rows = pace.rowsWithin(100)
    pace.observe(rows, 70 + 0.65 * rows)
  }
  t.true(Math.abs(rows - 140 / 0.65) < 5, String(rows))
  t.true(Math.abs(paceOf(70, 0.65, [512, 126]).rowsWithin(270) - 200 / 0.65) < 3)
})

test('noise moves it little, and a machine that slows down is followed', (t) => {
  const sizes = Array.from({ length: 64 }, (_, n) => [512, 126, 60, 200][n % 4]!)
  const noisy = paceOf(70, 0.65, sizes, (n) => 1 + 0.2 * Math.sin(n * 12.9898))
  t.true(Math.abs(noisy.rowsWithin(270) / 308 - 1) < 0.3, String(noisy.rowsWithin(270)))
  const slower = paceOf(70, 0.65, sizes, (n) => (n < 32 ? 1 : 2))
  t.true(Math.abs(slower.rowsWithin(540) - 308) < 5)
})
