// Encoded pictures and the pages of sequences, out of a model's memory and into it again: the same bits, and nothing is
// taken that does not fit.

import test from 'ava'
import { imageResults, type KvDtype, type NativeSequence } from '../../lib/native.js'
import { difference, GoldenModel } from './golden-models.js'

test('a picture that is restored reads and computes as the one that was encoded, in another model too', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  using other = await GoldenModel.open('hf-f32', { threads: 2 })
  const [image] = await golden.encode(golden.pixels(1))
  const values = imageResults.map((result) => image!.read(result))
  const restored = await other.model.restoreImage(imageResults, values)
  t.is(restored.rows, image!.rows)
  for (const [n, result] of imageResults.entries()) t.is(difference(restored.read(result), values[n]!), undefined)
  const expected = await golden.run([{ image: image!, start: 0, count: image!.rows }])
  const only = await other.model.restoreImage(['projected'], [image!.read('projected')])
  for (const one of [restored, only])
    t.is(difference(await other.run([{ image: one, start: 0, count: one.rows }]), expected), undefined)
  t.throws(() => only.read('image_features'), { code: 'INVALID_ARGUMENT' })
  for (const one of [image!, restored, only]) one.dispose()
})

test('values that are no result of a picture are refused', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { model } = golden
  const [image] = await golden.encode(golden.pixels(1))
  const projected = image!.read('projected')
  const requests: readonly (readonly [unknown, unknown])[] = [
    [['projected'], [projected.subarray(1)]],
    [['projected'], [new Float32Array(0)]],
    [['projected'], []],
    [['projected', 'image_features'], [projected]],
    [['features'], [projected]],
    [['projected'], [new Float64Array(projected.length)]],
    [['projected'], projected],
    ['projected', [projected]],
  ]
  for (const [results, values] of requests)
    t.throws(() => void model.restoreImage(results as never, values as never), { code: 'INVALID_ARGUMENT' })
  model.dispose()
  t.throws(() => void model.restoreImage(['projected'], [projected]), { code: 'DISPOSED' })
})

/** Its pages, in pieces of `step` bytes. */
async function pagesOf({ model }: GoldenModel, sequence: NativeSequence, total: number, step: number): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < total; at += step) pieces.push(await model.readSequence(sequence, at, Math.min(step, total - at)))
  return pieces
}

const positionsOfPage = 64

for (const kvCache of ['f32', 'f16', 'q8_0'] satisfies KvDtype[]) {
  test(`a sequence of ${kvCache} that is written from its pages goes on with the same bits, in another model too`, async (t) => {
    using golden = await GoldenModel.open('hf-f32', { kvCache })
    using other = await GoldenModel.open('hf-f32', { kvCache, threads: 2 })
    const { contextLength } = golden.config.text
    const pageBytes = golden.model.info().memory.kvCacheFull / Math.ceil(contextLength / positionsOfPage)
    for (const [length, step] of [
      [1, 1 << 20],
      [64, 1000],
      [100, 4096],
      [200, 12_345],
    ] as const) {
      const sequence = golden.model.createSequence()
      await golden.append(sequence, [golden.tokens(length, length)])
      const total = Math.ceil(length / positionsOfPage) * pageBytes
      const pieces = await pagesOf(golden, sequence, total, step)
      const restored = other.model.createSequence()
      let at = 0
      for (const piece of pieces) {
        t.is(restored.length, 0)
        await other.model.writeSequence(restored, length, at, piece)
        at += piece.length
      }
      t.is(restored.length, length)
      const fork = restored.fork()
      const next = [golden.tokens(7, 20)]
      const expected = await golden.append(sequence, next)
      t.is(difference(await other.append(restored, next), expected), undefined)
      t.is(difference(await other.append(fork, next), expected), undefined)
      for (const one of [sequence, restored, fork]) one.dispose()
    }
    t.is(golden.model.info().memory.kvCache, 0)
    t.is(other.model.info().memory.kvCache, 0)
  })
}

test('what is read of a sequence stays as it is while the sequence goes on', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { model } = golden
  const sequence = model.createSequence()
  await golden.append(sequence, [golden.tokens(1, 40)])
  const pageBytes = model.info().memory.kvCache
  const before = await model.readSequence(sequence, 0, pageBytes)
  const reading = model.readSequence(sequence, 0, pageBytes)
  const appending = golden.append(sequence, [golden.tokens(2, 10)])
  t.deepEqual(await reading, before)
  await appending
  t.notDeepEqual(await model.readSequence(sequence, 0, pageBytes), before)
})

test('bytes that are not the next ones of an empty sequence are refused, and so is what is not a part of a sequence', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  using other = await GoldenModel.open('hf-f32')
  const { model } = golden
  const written = model.createSequence()
  await golden.append(written, [golden.tokens(1, 70)])
  const total = model.info().memory.kvCache
  const bytes = await model.readSequence(written, 0, total)
  const foreign = other.model.createSequence()
  for (const [sequence, first, count] of [
    [written, -1, 1],
    [written, 0, total + 1],
    [written, total + 1, 0],
    [written, 1, total],
    [written, 0.5, 1],
    [foreign, 0, 0],
    [{}, 0, 0],
  ] as unknown as readonly Parameters<typeof model.readSequence>[]) {
    t.throws(() => void model.readSequence(sequence, first, count), { code: 'INVALID_ARGUMENT' })
  }
  t.is((await model.readSequence(written, total, 0)).length, 0)

  const empty = model.createSequence()
  const refused = (...request: Parameters<typeof model.writeSequence>) => {
    t.throws(() => void model.writeSequence(...request), { code: 'INVALID_ARGUMENT' })
  }
  refused(written, 70, 0, bytes) // holds something
  refused(foreign, 70, 0, bytes)
  refused(empty, 0, 0, bytes)
  refused(empty, golden.config.text.contextLength + 1, 0, bytes)
  refused(empty, 64, 0, bytes) // more than a page
  refused(empty, 70, 0, new Uint8Array(0))
  refused(empty, 70, 1, bytes.subarray(1)) // not from the beginning
  refused(empty, 70, -1, bytes)
  refused(empty, 70, 0, new Float32Array(3) as unknown as Uint8Array)
  await model.writeSequence(empty, 70, 0, bytes.subarray(0, 100))
  t.is(empty.length, 0)
  refused(empty, 70, 0, bytes) // begun
  refused(empty, 70, 100, bytes)
  refused(empty, 130, 100, bytes.subarray(100)) // of another length
  const rest = model.writeSequence(empty, 70, 100, bytes.subarray(100))
  refused(empty, 70, 100, bytes.subarray(100)) // under way
  await rest
  t.is(empty.length, 70)
  model.dispose()
  t.throws(() => void model.readSequence(empty, 0, 1), { code: 'DISPOSED' })
})
