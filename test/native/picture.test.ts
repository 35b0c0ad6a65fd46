// Picture: whatever JavaScript passes, the answer is floats or an Error with a code; what happens to the caller's array afterwards does not matter.

import test from 'ava'
import { native, type PictureRequest } from '../../lib/native.js'
import { bytesAsTheyAre, nativePicture } from '../image/native-resize.js'
import { runChild, wellEnded } from './child.js'

const axis = { canvas: 8, start: 1, resized: 6, from: 1, count: 4, margin: 3 }
const request: PictureRequest = { across: axis, down: axis, side: 8, fill: [1, 2, 3], values: bytesAsTheyAre }
const picture = { width: 6, height: 5, data: new Uint8Array(90).fill(50) }
const invalid = { code: 'INVALID_ARGUMENT' }

/** A picture that takes several threads some milliseconds. */
const large = { width: 3000, height: 2000, data: new Uint8Array(18e6).fill(70) }
const whole = (canvas: number) => ({ canvas, start: 0, resized: 300, from: 0, count: 300, margin: 0 })
const largeRequest: PictureRequest = { ...request, across: whole(3000), down: whole(2000), side: 300 }

const wrong = [undefined, null, true, 1.5, NaN, Infinity, -1, 2 ** 53, 'text', Symbol('s'), 7n, {}, [], new Float64Array(3)]

test('a picture has sides of 1 to 2^22 pixels', (t) => {
  for (const side of [...wrong, 0, 2 ** 22 + 1]) {
    t.throws(() => new (native().Picture)(side as number, 5), invalid)
    t.throws(() => new (native().Picture)(5, side as number), invalid)
  }
  t.throws(() => new (native().Picture)(2 ** 22, 2 ** 22), { code: 'OUT_OF_MEMORY' })
})

test('bytes that are none, shared, detached or too many are refused, and the picture stays as it was', async (t) => {
  const native6 = new (native().Picture)(6, 5)
  const detached = new Uint8Array(90)
  structuredClone(detached.buffer, { transfer: [detached.buffer] })
  const shared = new Uint8Array(new SharedArrayBuffer(90))
  for (const bytes of [...wrong, new Uint8ClampedArray(90), new Float32Array(4), detached, shared, new Uint8Array(91)])
    t.throws(() => { native6.write(bytes as Uint8Array) }, invalid)
  await t.throwsAsync(async () => native6.pixelValues(request, null), invalid)
  native6.write(picture.data.subarray(0, 40))
  t.throws(() => { native6.write(picture.data.subarray(0, 51)) }, invalid)
  await t.throwsAsync(async () => native6.pixelValues(request, null), invalid)
  native6.write(picture.data.subarray(40))
  t.deepEqual(await native6.pixelValues(request, null), await nativePicture(picture).pixelValues(request, null))
  t.throws(() => { native6.write(new Uint8Array(1)) }, invalid)
})

test('every field of a request of a wrong type, or out of its range, is refused', async (t) => {
  const made = nativePicture(picture)
  const refused = (bad: unknown) => t.throwsAsync(async () => made.pixelValues(bad as PictureRequest, null), invalid)
  for (const value of wrong) {
    await refused(value)
    for (const field of Object.keys(request)) await refused({ ...request, [field]: value })
    for (const side of ['across', 'down'])
      for (const field of Object.keys(axis))
        if (field !== 'resized' || value !== 2 ** 53) await refused({ ...request, [side]: { ...axis, [field]: value } })
    await refused({ ...request, fill: [1, value, 3] })
  }
  for (const bad of [{ side: 6 }, { side: 2 ** 15 + 1 }, { fill: [1, 2, 256] }, { fill: [1, 2] }, { values: new Float32Array(767) }])
    await refused({ ...request, ...bad })
  for (const bad of [{ canvas: 5 }, { canvas: 2 ** 22 + 1 }, { start: 3 }, { start: 4 }, { resized: 4 }, { from: 3 }, { count: 6 }, { margin: 5 }])
    await refused({ ...request, across: { ...axis, ...bad } })
  await t.notThrowsAsync(made.pixelValues(request, null))
})

test('a foreign object is no cancellation, and no picture', async (t) => {
  const made = nativePicture(picture)
  for (const other of [{}, made, 1, 'text']) await t.throwsAsync(async () => made.pixelValues(request, other as never), invalid)
  for (const method of ['write', 'pixelValues', 'dispose'] as const)
    for (const receiver of [{}, new (native().Cancellation)(), Object.create(made), undefined])
      t.throws(() => (made[method] as (...args: unknown[]) => unknown).call(receiver, request), { any: true })
})

test('a picture that was disposed of is refused, and what is under way goes on', async (t) => {
  const expected = await nativePicture(large).pixelValues(largeRequest, null)
  const made = nativePicture(large)
  const running = made.pixelValues(largeRequest, null)
  made.dispose()
  made.dispose()
  t.throws(() => { made.write(new Uint8Array(1)) }, { code: 'DISPOSED' })
  await t.throwsAsync(async () => made.pixelValues(request, null), { code: 'DISPOSED' })
  t.deepEqual(await running, expected)
})

test('a getter of the request that disposes of the picture does no harm', async (t) => {
  const made = nativePicture(picture)
  const expected = await nativePicture(picture).pixelValues(request, null)
  const disposing = { ...request, get side() { made.dispose(); return 8 } }
  t.deepEqual(await made.pixelValues(disposing, null), expected)
})

test('what happens to the arrays after the call does not matter', async (t) => {
  const expected = await nativePicture(large).pixelValues(largeRequest, null)
  const data = large.data.slice()
  const values = bytesAsTheyAre.slice()
  const running = nativePicture({ ...large, data }).pixelValues({ ...largeRequest, values }, null)
  for (const { buffer } of [data, values]) structuredClone(buffer, { transfer: [buffer] })
  t.deepEqual(await running, expected)
})

// serial: calls of others would stand before these, or keep the one that cancels waiting
test.serial('a cancelled call is ABORTED, before it begins and while it works, and the next one is not', async (t) => {
  const made = nativePicture(large)
  const before = new (native().Cancellation)()
  before.cancel()
  await t.throwsAsync(made.pixelValues(largeRequest, before), { code: 'ABORTED' })
  const meanwhile = new (native().Cancellation)()
  const calls = Array.from({ length: 20 }, () => made.pixelValues(largeRequest, meanwhile))
  const ends = Promise.allSettled(calls)
  await calls[0]
  meanwhile.cancel()
  const aborted = (await ends).filter((end) => end.status === 'rejected')
  t.true(aborted.length > 0)
  for (const { reason } of aborted) t.is((reason as { readonly code: string }).code, 'ABORTED')
  t.is((await made.pixelValues(largeRequest, null)).length, 3 * 300 * 300)
})

test('many calls at once, of pictures that nobody holds any more, all come out right', async (t) => {
  const expected = await nativePicture(large).pixelValues(largeRequest, null)
  const calls: Promise<Float32Array>[] = []
  for (let i = 0; i < 8; i++) calls.push(nativePicture(large).pixelValues(largeRequest, null))
  for (const values of await Promise.all(calls)) t.deepEqual(values, expected)
})

test('a worker thread that ends in the middle of a picture ends quietly', async (t) => {
  t.deepEqual(await runChild('workers are ended while they read pictures'), wellEnded('finished'))
})
