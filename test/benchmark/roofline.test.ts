// Which roof binds, and what share of it was reached; the work of each op by hand.

import test from 'ava'
import { place, workOf, type Roofs } from '../../bench/index.js'
import { PeakGauge } from '../../bench/peaks.js'

const roofs: Roofs = {
  compute: { value: 1000, unit: 'GOP/s', mix: 'multiply' },
  reads: { value: 20, unit: 'GB/s', mix: 'reads' },
  updates: { value: 40, unit: 'GB/s', mix: 'reads and writes' },
}

test('work above the ridge is bound by arithmetic, below it by reads', (t) => {
  const above = place({ operations: 51_000, read: 1000, written: 0 }, 102, roofs)
  t.deepEqual(above, {
    roof: 'compute',
    achieved: 500,
    peak: 1000,
    unit: 'GOP/s',
    mix: 'multiply',
    ratio: 0.5,
    intensity: 51,
  })
  const below = place({ operations: 49_000, read: 1000, written: 0 }, 100, roofs)
  t.deepEqual(below, {
    roof: 'bandwidth',
    achieved: 10,
    peak: 20,
    unit: 'GB/s',
    mix: 'reads',
    ratio: 0.5,
    intensity: 49,
  })
})

test('as many writes as reads are bound by the traffic of both, where its peak is known', (t) => {
  const work = { operations: 0, read: 1000, written: 1500 }
  const { achieved, peak, mix } = place(work, 100, roofs)
  t.deepEqual({ achieved, peak, mix }, { achieved: 25, peak: 40, mix: 'reads and writes' })
  const { compute, reads } = roofs
  t.is(place(work, 100, { compute, reads }).achieved, 10)
})

test('a call that takes just as long as its roof allows has a ratio of 1', (t) => {
  t.is(place({ operations: 1_000_000, read: 1000, written: 1000 }, 1000, roofs).ratio, 1)
  t.is(place({ operations: 1000, read: 2000, written: 0 }, 100, roofs).ratio, 1)
})

for (const [name, request, work] of [
  [
    'linear',
    { op: 'linear', dtype: 'Q4_0', rows: 3, columns: 64, depth: 32, outputs: 2 },
    { operations: 2 * 3 * 64 * 32 * 2, read: 3 * 32 * 4 + 2 * 64 * 18, written: 2 * 3 * 64 * 4 },
  ],
  [
    'linear with bias and residual',
    { op: 'linear', dtype: 'F16', rows: 1, columns: 8, depth: 4, outputs: 1, bias: true, residual: true },
    { operations: 64, read: 16 + 64 + 32 + 32, written: 32 },
  ],
  [
    'causal attention',
    { op: 'attention', dtype: 'F16', rows: 2, heads: 3, headDim: 16, keys: 10 },
    { operations: 4 * 3 * 16 * (9 + 10), read: 3 * 16 * (2 * 10 * 2 + 2 * 4), written: 3 * 16 * 2 * 4 },
  ],
  [
    'attention of a picture',
    { op: 'attention', dtype: 'F32', rows: 2, heads: 1, headDim: 16, keys: 2, causal: false },
    { operations: 4 * 16 * 4, read: 16 * (2 * 2 * 4 + 2 * 4), written: 16 * 2 * 4 },
  ],
  ['silu_mul', { op: 'silu_mul', dtype: 'F32', rows: 2, columns: 10 }, { operations: 100, read: 160, written: 80 }],
  [
    'patch_embed',
    { op: 'patch_embed', dtype: 'F32', rows: 5, columns: 8, imageSize: 28, patchSize: 14 },
    { operations: 2 * 4 * 588 * 8, read: 4 * (3 * 784 + 588 * 8 + 5 * 8), written: 4 * 5 * 8 },
  ],
] as const) {
  test(`the work of ${name} is counted from its shapes`, (t) => {
    t.deepEqual(workOf(request), work)
  })
}

test('peaks are measured once while the machine keeps its speed, and anew when it has moved', async (t) => {
  const measured: string[] = []
  const measurePeak = (kind: string) => {
    measured.push(kind)
    return Promise.resolve({ value: measured.length, unit: 'G/s', mix: kind })
  }
  const gauge = new PeakGauge({ measurePeak } as unknown as ConstructorParameters<typeof PeakGauge>[0])
  const first = await gauge.roofs({ kind: 'fma', products: 1 }, 100)
  t.deepEqual(await gauge.roofs({ kind: 'fma', products: 1 }, 105), first)
  t.deepEqual(measured, ['fma', 'read', 'update'])
  t.notDeepEqual(await gauge.roofs({ kind: 'fma', products: 1 }, 120), first)
  t.deepEqual(measured.slice(3), ['fma', 'read', 'update'])
})
