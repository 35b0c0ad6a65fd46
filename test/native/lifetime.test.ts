// Handles, threads and processes come and go in any order: nothing crashes, hangs, leaks or is left running.
// Most of it can only be seen from outside, so scenarios.ts runs in processes of their own.

import test from 'ava'
import { native, type NativeCancellation } from '../../lib/native.js'
import { runChild, wellEnded } from './child.js'
import { difference, GoldenModel } from './golden-models.js'

for (const [scenario, said] of [
  ['the end comes by itself after work, without dispose', 'done'],
  ['work that nobody awaits is finished before the end', 'done'],
  ['exit in the middle of a forward', 'exit'],
  ['exit in the middle of an encode', 'exit'],
  ['exit in the middle of a measurement', 'exit'],
  ['exit in the middle of opening', 'exit'],
  ['exit in the middle of an answer', 'exit'],
  ['workers are ended in the middle of their work', 'finished'],
  ['failures and departures of every kind leave no rejection unhandled', 'DISPOSED DISPOSED DISPOSED ABORTED IMAGE_UNREADABLE CONTEXT_OVERFLOW'],
] as const) {
  test(`a process ends well: ${scenario}`, async (t) => {
    t.deepEqual(await runChild(scenario), wellEnded(said))
  })
}

test('a process ends well: the collector runs while everything is in use', async (t) => {
  const said = ['right, 0 bytes of keys and values left', '300 pictures', '0']
  t.deepEqual(await runChild('the collector runs while everything is in use', ['--expose-gc']), wellEnded(said.join('\n')))
})

test('two hundred models opened, asked and disposed of leave no memory behind', async (t) => {
  const { stdout, ...ending } = await runChild('two hundred models are opened, asked and disposed of', ['--expose-gc'])
  t.deepEqual({ ...ending, stdout: '' }, wellEnded(''))
  const { growth, bytes, rounds } = JSON.parse(stdout) as { readonly growth: number; readonly bytes: number; readonly rounds: number }
  // `bytes`: what one model holds. A leak of a tenth of each model would be at the bound.
  t.log(`${(growth / 2 ** 20).toFixed(1)} MB more after ${rounds} rounds of ${(bytes / 2 ** 20).toFixed(1)} MB`)
  t.true(growth <= (rounds * bytes) / 10)
})

// /proc is Linux's; elsewhere the same leaks show in the memory test above
const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('models that were disposed of, or forgotten, leave no thread and no mapping behind', async (t) => {
  const expected = ['{"disposed":0,"disposedMappings":0}', '{"forgotten":0,"forgottenMappings":0}']
  t.deepEqual(await runChild('threads and mappings after models were disposed of or forgotten', ['--expose-gc']), wellEnded(expected.join('\n')))
})

test('tokens do not wait for pictures nor for prompts: steps of few rows run between the products of others, and all have the bits they have alone', async (t) => {
  using golden = await GoldenModel.open('hf-f32', { threads: 2 })
  const { model } = golden
  const few = golden.tokens(1, 20)
  const expected = await golden.run([few])
  const pixels = golden.pixels(1, 400)
  const encode = async (cancellation: NativeCancellation | null = null) => {
    const { images } = await model.encodeImages(pixels, 400, ['projected'], cancellation)
    const values = images.map((image) => image.read('projected'))
    for (const image of images) image.dispose()
    return Float32Array.from(values.flatMap((rows) => [...rows]))
  }
  const prompts = async () => {
    const segments = [golden.tokens(2, golden.config.text.contextLength)]
    const steps = Array.from({ length: 100 }, () => ({ sequence: model.createSequence(), segments, logits: 'last' as const }))
    const logits = new Float32Array(100 * golden.config.text.vocabSize)
    await model.forward(steps, logits, null)
    for (const { sequence } of steps) sequence.dispose()
    return logits
  }
  for (const work of [encode, prompts]) {
    const alone = await work()
    let done = false
    const beside = work().finally(() => (done = true))
    let steps = 0
    while (!done) {
      t.is(difference(await golden.run([few]), expected), undefined)
      steps++
    }
    t.true(steps > 1, `${steps} steps beside ${work.name}`) // one that waited for all of it would be the only one
    t.is(difference(await beside, alone), undefined)
  }

  // what is cancelled or disposed of in the middle ends both
  const cancellation = new (native().Cancellation)()
  const cancelled = encode(cancellation)
  const step = golden.run([few])
  cancellation.cancel()
  t.is(difference(await step, expected), undefined)
  await t.throwsAsync(cancelled, { code: 'ABORTED' })
  const late = [encode(), prompts(), golden.run([few])]
  golden.model.dispose()
  for (const end of await Promise.allSettled(late)) t.is(end.status, 'rejected')
})

test('steps of one sequence are taken in their order, few rows or many', async (t) => {
  using golden = await GoldenModel.open('hf-f32', { threads: 2 })
  const { model } = golden
  const vocabSize = golden.config.text.vocabSize
  const run = async (wait: boolean) => {
    const sequence = model.createSequence()
    const logits: Float32Array[] = []
    const steps: Promise<unknown>[] = []
    for (const [n, rows] of [100, 1, 60, 2, 1].entries()) {
      logits.push(new Float32Array(vocabSize))
      steps.push(model.forward([{ sequence, segments: [golden.tokens(n, rows)], logits: 'last' }], logits.at(-1)!, null))
      if (wait) await steps.at(-1)
    }
    await Promise.all(steps)
    sequence.dispose()
    return logits
  }
  t.deepEqual(await run(false), await run(true))
})

// serial: it reads the clock
test.serial('cancelling in the middle of many pictures stops the call early, and the model goes on as if it had not been', async (t) => {
  using golden = await GoldenModel.open('hf-f32', { threads: 2 })
  const { model } = golden
  const text = golden.tokens(1, 100)
  const expected = await golden.run([text])
  const pixels = golden.pixels(1, 400)
  const { computeMs } = await model.encodeImages(pixels, 400, ['projected'], null)
  const cancellation = new (native().Cancellation)()
  const first = golden.run([golden.tokens(1, 1)])
  const encoding = model.encodeImages(pixels, 400, ['projected'], cancellation)
  await first // the runner is at the pictures
  const start = performance.now()
  cancellation.cancel()
  await t.throwsAsync(encoding, { code: 'ABORTED' })
  const stopping = performance.now() - start
  t.true(stopping < computeMs / 2, `took ${stopping} ms to stop what takes ${computeMs} ms`)
  t.is(difference(await golden.run([text]), expected), undefined)
})
