// Handles, threads and processes come and go in any order: nothing crashes, hangs, leaks or is left running.
// Most of it can only be seen from outside, so scenarios.ts runs in processes of their own.

import test from 'ava'
import { native } from '../../lib/native.js'
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

test('tokens do not wait for pictures: steps run between the layers of a tower, and both have the bits they have alone', async (t) => {
  using golden = await GoldenModel.open('hf-f32', { threads: 2 })
  const { model } = golden
  const text = golden.tokens(1, 50)
  const expected = await golden.run([text])
  const pixels = golden.pixels(1, 400)
  const read = ({ images }: Awaited<ReturnType<typeof model.encodeImages>>) =>
    images.map((image) => {
      const values = image.read('projected')
      image.dispose()
      return values
    })
  const alone = read(await model.encodeImages(pixels, 400, ['projected'], null))
  let encoded = false
  const encoding = model.encodeImages(pixels, 400, ['projected'], null).finally(() => (encoded = true))
  let steps = 0
  while (!encoded) {
    t.is(difference(await golden.run([text]), expected), undefined)
    steps++
  }
  t.true(steps > 1, `${steps} steps beside 400 pictures`) // one that waited for all of them would be the only one
  t.deepEqual(read(await encoding), alone)

  // what is cancelled or disposed of in the middle ends both
  const cancellation = new (native().Cancellation)()
  const cancelled = model.encodeImages(pixels, 400, ['projected'], cancellation)
  const step = golden.run([text])
  cancellation.cancel()
  t.is(difference(await step, expected), undefined)
  await t.throwsAsync(cancelled, { code: 'ABORTED' })
  const late = [model.encodeImages(pixels, 400, ['projected'], null), golden.run([text])]
  golden.model.dispose()
  for (const end of await Promise.allSettled(late)) t.is(end.status, 'rejected')
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
