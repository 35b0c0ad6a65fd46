// The kernel bench: what it says of a right and of a wrong result, that its hashes do not depend on threads, and what it refuses. No time is judged.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { measuredOps, native, type Isa, type NativeOpBench, type OpRequest } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'

/** One small call of each op; `cold: false` keeps its operands in one set. */
const small: Readonly<Record<OpRequest['op'], Omit<OpRequest, 'op' | 'dtype'>>> = {
  linear: { rows: 5, columns: 70, depth: 256, outputs: 2, bias: true, activation: 'quick_gelu', residual: true },
  attention: { rows: 3, heads: 2, headDim: 32, keys: 70 },
  kv_append: { rows: 3, heads: 2, headDim: 32 },
  rms_norm: { rows: 3, columns: 100 },
  layer_norm: { rows: 3, columns: 100 },
  activate: { rows: 3, columns: 100 },
  silu_mul: { rows: 3, columns: 100 },
  rope: { rows: 3, columns: 128, headDim: 32 },
  quantise: { rows: 3, columns: 128 },
  patch_embed: { rows: 10, columns: 48, imageSize: 42, patchSize: 14 },
  embed_rows: { rows: 3, columns: 256, depth: 50 },
  copy_rows: { rows: 3, columns: 100 },
  add_rows: { rows: 3, columns: 100 },
  mean_rows: { rows: 5, columns: 100 },
  rope_angles: { rows: 3, columns: 64 },
}

function smallCall(op: OpRequest['op'], dtype: OpRequest['dtype'] = 'F32'): OpRequest {
  return { op, dtype, ...small[op], cold: false }
}

async function withBench<T>(
  isa: Isa | 'auto',
  threads: number,
  work: (bench: NativeOpBench) => Promise<T>,
): Promise<T> {
  const bench = new (native().OpBench)({ isa, threads })
  try {
    return await work(bench)
  } finally {
    bench.dispose()
  }
}

async function outputOf(bench: NativeOpBench, request: OpRequest): Promise<Float32Array> {
  await bench.prepare(request)
  return await bench.output()
}

for (const isa of native().cpuInfo().isas) {
  for (const op of measuredOps) {
    test(`${op} on ${isa} is right, and wrong with a value of its first row off by a little`, async (t) => {
      await withBench(isa, 2, async (bench) => {
        const output = await outputOf(bench, smallCall(op))
        const verdict = await bench.judge(output)
        t.true(verdict.ok, `${verdict.error} ulp, bound ${verdict.bound}`)
        const largest = output.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        const changed = Float32Array.from(output, (value, n) => (n === 0 ? value + largest * 1e-4 : value))
        t.false((await bench.judge(changed)).ok)
        t.not((await bench.judge(changed)).hash, verdict.hash)
      })
    })
  }

  for (const dtype of dtypes) {
    test(`linear of ${dtype} on ${isa} is right in both arithmetics, for one row and for many`, async (t) => {
      await withBench(isa, 2, async (bench) => {
        for (const rows of [1, 2, 13]) {
          for (const exact of [false, true]) {
            const output = await outputOf(bench, { ...smallCall('linear', dtype), rows, exact })
            const { ok, error, bound } = await bench.judge(output)
            t.true(ok, `${rows} rows, ${exact ? 'exact' : 'fast'}: ${error} ulp, bound ${bound}`)
          }
        }
      })
    })
  }
}

test('an output with a value that is no number is wrong, wherever it stands', async (t) => {
  await withBench('auto', 1, async (bench) => {
    const output = await outputOf(bench, { op: 'rms_norm', dtype: 'F32', rows: 64, columns: 40, cold: false })
    for (let n = 0; n < output.length; n += 97) {
      const changed = Float32Array.from(output)
      changed[n] = Number.NaN
      t.false((await bench.judge(changed)).ok)
    }
  })
})

test('hashes are the same in a second run, after timing, and on another number of threads; another seed has another', async (t) => {
  const hashOf = async (threads: number, request: OpRequest, timed: boolean) =>
    await withBench('auto', threads, async (bench) => {
      await bench.prepare(request)
      if (timed) t.true((await bench.sample(3)) > 0)
      return (await bench.judge(await bench.output())).hash
    })
  for (const op of measuredOps) {
    const request = smallCall(op)
    const hash = await hashOf(1, request, false)
    t.regex(hash, /^[0-9a-f]{16}$/)
    t.is(await hashOf(1, request, true), hash, op)
    t.is(await hashOf(3, request, false), hash, op)
    t.not(await hashOf(1, { ...request, seed: 2 }, false), hash, op)
  }
})

test('operands are in as many sets as leave the caches between two uses', async (t) => {
  await withBench('auto', 1, async (bench) => {
    const { sets } = await bench.prepare({
      op: 'linear',
      dtype: 'Q4_0',
      rows: 1,
      columns: 1024,
      depth: 1024,
      outputs: 1,
    })
    t.is(sets, Math.ceil(2 ** 28 / ((1024 * 1024 * 18) / 32)))
    t.is((await bench.prepare({ ...smallCall('linear') })).sets, 1)
  })
})

test('what cannot be run is refused: sizes, ops, a call before anything is prepared, a bench disposed of', async (t) => {
  await withBench('auto', 1, async (bench) => {
    await t.throwsAsync(bench.output(), { code: 'INVALID_ARGUMENT' })
    await t.throwsAsync(bench.prepare({ ...smallCall('linear', 'Q4_0'), depth: 33 }), { code: 'INVALID_ARGUMENT' })
    await t.throwsAsync(bench.prepare({ ...smallCall('attention'), keys: 2 }), { code: 'INVALID_ARGUMENT' })
    await t.throwsAsync(bench.prepare({ ...smallCall('attention'), heads: 1025 }), { code: 'INVALID_ARGUMENT' })
    await t.throwsAsync(bench.prepare({ ...smallCall('rope'), headDim: 31 }), { code: 'INVALID_ARGUMENT' })
    await t.throwsAsync(bench.prepare({ ...smallCall('linear'), op: 'softmax' as 'linear' }), {
      code: 'INVALID_ARGUMENT',
    })
    t.throws(() => bench.prepare({ ...smallCall('linear'), rows: -1 }), { code: 'INVALID_ARGUMENT' })
    t.throws(() => bench.sample(0), { code: 'INVALID_ARGUMENT' })
    const output = await outputOf(bench, smallCall('linear'))
    await t.throwsAsync(bench.judge(output.subarray(0, 3)), { code: 'INVALID_ARGUMENT' })
    bench.dispose()
    t.throws(() => bench.output(), { code: 'DISPOSED' })
  })
})

test('a bench that is disposed of, or whose worker ends, stops in the middle of its calls', async (t) => {
  const bench = new (native().OpBench)({ isa: 'scalar', threads: 1 })
  await bench.prepare(smallCall('linear'))
  const sampled = bench.sample(1e9)
  setTimeout(() => {
    bench.dispose()
  }, 100)
  await t.throwsAsync(sampled, { code: 'ABORTED' })
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.library).then(async ({ native }) => {
      const bench = new (native().OpBench)({ isa: 'scalar', threads: 2 })
      await bench.prepare(workerData.request)
      parentPort.postMessage('sampling')
      await bench.sample(1e9)
    })`
  const worker = new Worker(code, {
    eval: true,
    workerData: { library: new URL('../lib/native.js', import.meta.url).href, request: smallCall('linear') },
  })
  t.is((await once(worker, 'message'))[0], 'sampling')
  t.is(await worker.terminate(), 1)
})
