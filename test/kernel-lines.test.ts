// What `npm run bench -- kernels` plans, and what its lines hold. No time is judged.

import test from 'ava'
import { planKernels, runKernelBench, type KernelLine } from '../bench/index.js'
import { tableHead, tableRow } from '../bench/kernel-table.js'
import { measuredOps, native } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'

async function linesOf(options: Parameters<typeof runKernelBench>[0]): Promise<KernelLine[]> {
  const lines: KernelLine[] = []
  for await (const line of runKernelBench(options)) lines.push(line)
  return lines
}

test('a line holds the call, the verdict, the hash and the time against its roof', async (t) => {
  const [line, ...others] = await linesOf({
    ops: ['rms_norm'],
    shapes: ['7b.hidden'],
    rows: [2],
    repeat: 2,
    against: 'scalar',
  })
  t.deepEqual(others, [])
  const { op, shape, dtype, rows, columns, ok, time, against } = line!
  t.deepEqual(
    { op, shape, dtype, rows, columns, ok },
    { op: 'rms_norm', shape: '7b.hidden', dtype: 'F32', rows: 2, columns: 4096, ok: true },
  )
  t.deepEqual(Object.keys(time!), [
    'nanoseconds',
    'spread',
    'roof',
    'achieved',
    'peak',
    'unit',
    'mix',
    'ratio',
    'intensity',
  ])
  t.is(time!.roof, 'bandwidth')
  t.is(typeof line!.steady, 'boolean')
  t.is(time!.ratio, time!.achieved / time!.peak)
  t.true(against!.ok)
  t.is(against!.name, 'scalar')
  t.is(against!.speedup, against!.time!.nanoseconds / time!.nanoseconds)
  t.deepEqual(JSON.parse(JSON.stringify(line)), line)
  t.true(tableHead(line!).startsWith(line!.device))
  t.true(tableRow(line!).includes(`ok ${line!.hash}`))
})

test('a wrong result has no time', async (t) => {
  const addon = { OpBench: wrongBench(native().OpBench) } as unknown as ReturnType<typeof native>
  const [line] = await linesOf({
    ops: ['rms_norm'],
    shapes: ['7b.hidden'],
    rows: [1],
    repeat: 1,
    addon,
    against: { name: 'the right one', addon: native() },
  })
  t.false(line!.ok)
  t.is(line!.time, null)
  t.true(line!.against!.time!.nanoseconds > 0)
  t.is(line!.against!.speedup, null)
  t.true(tableRow(line!).includes('WRONG'))
})

/** A bench whose ops leave out their last value. */
function wrongBench(OpBench: ReturnType<typeof native>['OpBench']): ReturnType<typeof native>['OpBench'] {
  return class extends OpBench {
    override async output(): Promise<Float32Array> {
      const output = await super.output()
      output[output.length - 1] = 0
      return output
    }
  }
}

test('a plan has what was asked for and nothing else', (t) => {
  const asked = planKernels({
    ops: ['linear'],
    dtypes: ['Q4_0', 'F16'],
    rows: [8, 64],
    shapes: ['13b.down', 'vision.fc1'],
  })
  t.is(asked.length, 2 * 2 * 2)
  t.deepEqual([...new Set(asked.map(({ shape }) => shape))], ['13b.down', 'vision.fc1'])
  t.deepEqual(asked[0]!.request, {
    op: 'linear',
    columns: 5120,
    depth: 13824,
    outputs: 1,
    residual: true,
    dtype: 'F16',
    rows: 8,
  })
  t.is(planKernels({ shapes: ['gate_up'], dtypes: ['F32'], rows: [1] }).length, 2)
})

test('a plan of nothing, or of a shape that is not there, is refused', (t) => {
  t.throws(() => planKernels({ shapes: ['7b.gate'] }), { message: /no shape is named 7b\.gate; there are 7b\.qkv, / })
  t.throws(() => planKernels({ ops: ['rms_norm'], dtypes: ['Q4_0'] }), { message: /nothing to measure/ })
})

test('a full plan has every op, every type, and the real shapes of both decoders and the tower', (t) => {
  const all = planKernels({ all: true })
  t.deepEqual([...new Set(all.map(({ request }) => request.op))].sort(), [...measuredOps].sort())
  t.deepEqual(
    new Set(all.filter(({ request }) => request.op === 'linear').map(({ request }) => request.dtype)),
    new Set(dtypes),
  )
  const has = (rows: number, columns: number, depth: number) =>
    all.some(({ request }) => request.rows === rows && request.columns === columns && request.depth === depth)
  for (const rows of [1, 8, 64, 512]) {
    for (const [columns, depth] of [
      [4096, 4096],
      [11008, 4096],
      [4096, 11008],
      [32000, 4096],
      [5120, 5120],
      [13824, 5120],
      [5120, 13824],
      [32000, 5120],
    ] as const)
      t.true(has(rows, columns, depth))
  }
  for (const [columns, depth] of [
    [1024, 1024],
    [4096, 1024],
    [1024, 4096],
  ] as const)
    t.true(has(577, columns, depth))
  t.true(has(576, 4096, 1024) && has(576, 4096, 4096))
})
