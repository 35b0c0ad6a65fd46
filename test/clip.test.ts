// CLIP by itself: its vectors are transformers', and what is computed of them is what the formulas say.

import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CLIP, LLaVA, type ClipInput } from '../lib/index.js'
import { readTensors } from './tiny-model.js'

const folder = fileURLToPath(new URL('../../test/fixtures/clip/', import.meta.url))
const checkpoint = path.join(folder, 'checkpoint')
const picture = path.join(folder, '../pictures/rgb.png')
const { texts } = JSON.parse(readFileSync(path.join(folder, 'case.json'), 'utf8')) as {
  readonly texts: readonly string[]
}
const expected = readTensors(path.join(folder, 'expected.safetensors'))
const bound = 1e-4

function distance(actual: Float32Array, wanted: ArrayLike<number>): number {
  const scale = Math.max(...Array.from(wanted, Math.abs))
  return Math.max(...Array.from(wanted, (value, n) => Math.abs(value - actual[n]!))) / scale
}

const length = (vector: Float32Array) => Math.hypot(...vector)
const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, n) => sum + value * b[n]!, 0)

test('vectors of pictures and texts are those of transformers', async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  const inputs: ClipInput[] = [picture, ...texts.map((text) => ({ text }))]
  const vectors = await clip.embed(inputs, { normalize: false })
  const wanted = [expected.get('image'), ...texts.map((_, n) => expected.get(`text.${n}`))]
  for (const [n, vector] of vectors.entries()) t.true(distance(vector, wanted[n]?.data ?? []) <= bound, String(n))
  t.is(clip.info().width, 16)
})

// the packaged CLIP, whose context takes texts of few rows and of many
for (const arithmetic of ['fast', 'exact'] as const)
  test(`texts at once, short and long, have the vectors that each has alone: ${arithmetic}`, async (t) => {
    await using clip = await CLIP.open(undefined, { threads: 2, arithmetic })
    const inputs = Array.from({ length: 40 }, (_, n) => ({
      text: Array.from({ length: n % 5 === 0 ? 60 : 1 + (n % 9) }, (_word, word) => `red boat ${n * word}`).join(' '),
    }))
    const alone: Float32Array[] = []
    for (const input of inputs) alone.push(await clip.embed(input))
    t.deepEqual(await clip.embed(inputs), alone)
  })

test('they have length 1 unless asked not to', async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  const vector = await clip.embed(picture)
  t.true(Math.abs(length(vector) - 1) < 1e-6)
  const as = await clip.embed(picture, { normalize: false })
  t.true(Math.abs(dot(vector, as) / length(as) - 1) < 1e-6)
})

test('similarity is the cosine, of inputs and of vectors', async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  const [image, text] = await clip.embed([picture, { text: texts[0]! }])
  t.true(Math.abs((await clip.similarity(picture, { text: texts[0]! })) - dot(image!, text!)) < 1e-6)
  t.true(
    Math.abs(
      (await clip.similarity(
        image!,
        text!.map((value) => 3 * value),
      )) - dot(image!, text!),
    ) < 1e-6,
  )
  t.true(Math.abs((await clip.similarity(picture, picture)) - 1) < 1e-6)
  t.is(await clip.similarity(new Float32Array(16), image!), 0)
})

test('zero-shot classification is the softmax of scaled cosines, the most probable label first', async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  const labels = ['cat', 'dog', 'red $& star']
  const results = await clip.zeroShot(picture, labels, { prompt: 'look, {}: {}' })
  t.deepEqual(results.map(({ label }) => label).toSorted(), labels.toSorted())
  const cosines = new Map<string, number>()
  for (const label of labels) cosines.set(label, await clip.similarity(picture, { text: `look, ${label}: ${label}` }))
  const { scale } = clip.info()
  const sum = [...cosines.values()].reduce((total, cosine) => total + Math.exp(scale * cosine), 0)
  for (const { label, probability, similarity } of results) {
    t.true(Math.abs(similarity - cosines.get(label)!) < 1e-5)
    t.true(Math.abs(probability - Math.exp(scale * similarity) / sum) < 1e-6)
  }
  t.true(results.every(({ probability }, n) => n === 0 || probability <= results[n - 1]!.probability))
})

test('the scale is exp(logit_scale) of the checkpoint, and 100 without one', async (t) => {
  const weights = readFileSync(path.join(checkpoint, 'model.safetensors'))
  const headerLength = Number(weights.readBigUInt64LE(0))
  const header = JSON.parse(weights.toString('utf8', 8, 8 + headerLength)) as Record<
    string,
    { readonly dtype: string; readonly data_offsets: readonly [number, number] }
  >
  const stored = header['logit_scale']
  await using clip = await CLIP.open(checkpoint, { threads: 1 })
  const value = stored === undefined ? undefined : weights.readFloatLE(8 + headerLength + stored.data_offsets[0])
  t.is(clip.info().scale, value === undefined ? 100 : Math.exp(value))
  const copy = mkdtempSync(path.join(tmpdir(), 'llava-clip-'))
  t.teardown(() => {
    rmSync(copy, { recursive: true })
  })
  for (const name of readdirSync(checkpoint)) copyFileSync(path.join(checkpoint, name), path.join(copy, name))
  /** The checkpoint with a logit_scale of its own, behind all others. */
  const withScale = (dtype: string, bytes: Buffer): void => {
    const data = weights.subarray(8 + headerLength)
    const entry = { dtype, shape: [], data_offsets: [data.length, data.length + bytes.length] }
    const text = Buffer.from(JSON.stringify({ ...header, logit_scale: entry }))
    const head = Buffer.alloc(8)
    head.writeBigUInt64LE(BigInt(text.length))
    writeFileSync(path.join(copy, 'model.safetensors'), Buffer.concat([head, text, data, bytes]))
  }
  if (stored === undefined) {
    for (const [dtype, bytes] of [
      ['F32', Buffer.from(Float32Array.of(2.5).buffer)],
      ['F16', Buffer.from(Uint16Array.of(0x4100).buffer)],
      ['BF16', Buffer.from(Uint16Array.of(0x4020).buffer)],
    ] as const) {
      withScale(dtype, bytes)
      await using scaled = await CLIP.open(copy, { threads: 1 })
      t.is(scaled.info().scale, Math.exp(2.5), dtype)
    }
    withScale('F32', Buffer.from(Float32Array.of(NaN).buffer))
    await t.throwsAsync(CLIP.open(copy), { code: 'MODEL_CORRUPT', message: /logit_scale/ })
  }
})

test('the one that comes with the package knows what is drawn', async (t) => {
  await using clip = await CLIP.open()
  const drawing = fileURLToPath(new URL('../../models/demo.png', import.meta.url))
  const results = await clip.zeroShot(drawing, ['a rocket, a dog and a cactus', 'a bus', 'a cup'], { prompt: '{}' })
  t.is(results[0]?.label, 'a rocket, a dog and a cactus')
})

test('many inputs come in order, a bad one by itself, and leaving stops the work', async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  const inputs: ClipInput[] = [picture, { text: 'a' }, 'nowhere.png', { text: 'b' }]
  const codes: string[] = []
  for await (const { index, embedding, error } of clip.embedMany(inputs))
    codes.push(`${index} ${error === undefined ? embedding.length : error.code}`)
  t.deepEqual(codes, ['0 16', '1 16', '2 IMAGE_UNREADABLE', '3 16'])
  function* endless(): Generator<ClipInput> {
    for (let n = 0; ; n++) yield { text: String(n) }
  }
  for await (const { index } of clip.embedMany(endless())) if (index === 5) break
  t.pass()
})

test('vectors come in the element type that is asked for', async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  const plain = await clip.embed(picture)
  const unit = Math.max(...plain.map(Math.abs)) / 127
  const int8 = await clip.embed(picture, { dtype: 'int8' })
  t.true(int8 instanceof Int8Array && int8.every((value, i) => Math.abs(value - plain[i]! / unit) <= 0.5 + 1e-6))
  const bits = (await clip.embed([picture], { dtype: 'binary' }))[0]
  t.deepEqual(
    [...(bits ?? [])],
    [0, 1].map((byte) => packed(plain.subarray(8 * byte, 8 * byte + 8))),
  )
  for await (const { embedding = '' } of clip.embedMany([picture], { dtype: 'base64' }))
    t.deepEqual(new Float32Array(Uint8Array.from(Buffer.from(embedding, 'base64')).buffer), plain)
  await t.throwsAsync(clip.similarity(picture, picture, { dtype: 'int8' } as never), { code: 'INVALID_ARGUMENT' })
})

function packed(values: Float32Array): number {
  return values.reduce((byte, value) => byte * 2 + Number(value > 0), 0)
}

test('what is wrong is said with a code', async (t) => {
  await t.throwsAsync(CLIP.open('nowhere'), { code: 'MODEL_NOT_FOUND' })
  await t.throwsAsync(CLIP.open(checkpoint, { thread: 1 } as never), { code: 'INVALID_ARGUMENT' })
  const clip = await CLIP.open(checkpoint, { threads: 2 })
  await t.throwsAsync(clip.zeroShot(picture, []), { code: 'INVALID_ARGUMENT' })
  await t.throwsAsync(clip.zeroShot(picture, ['a'], { prompt: 'no place' }), { code: 'INVALID_ARGUMENT' })
  await t.throwsAsync(clip.embed(7 as never), { code: 'INVALID_ARGUMENT' })
  await t.throwsAsync(clip.similarity(new Float32Array(3), { text: 'a' }), { code: 'INVALID_ARGUMENT' })
  await t.throwsAsync(clip.embed(picture, { signal: AbortSignal.abort() }), { code: 'ABORTED' })
  t.throws(() => clip.embedMany(7 as never), { code: 'INVALID_ARGUMENT' })
  const running = t.throwsAsync(clip.embed(picture), { code: 'DISPOSED' })
  clip.dispose()
  clip.dispose()
  await running
  await t.throwsAsync(clip.embed(picture), { code: 'DISPOSED' })
  t.throws(() => clip.info(), { code: 'DISPOSED' })
})

test("it gives what a LLaVA that was opened with it gives as CLIP's", async (t) => {
  await using clip = await CLIP.open(checkpoint, { threads: 2 })
  await using llava = await LLaVA.open(fileURLToPath(new URL('../../models/default.gguf', import.meta.url)), {
    clip: checkpoint,
    threads: 2,
    arithmetic: 'fast',
  })
  const { data } = await llava.embed(picture, { kind: 'clip_image' })
  t.deepEqual(await clip.embed(picture, { normalize: false }), data)
})
