// Vectors of pictures and texts: against what transformers computes, and against each other.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { LLaVA, type Embedding, type EmbedInput, type EmbedOptions, type OpenOptions } from '../lib/index.js'
import { goldenCase, goldenStages, readTensors, type StoredTensor } from './tiny-model.js'

const name = 'hf-f32'
const { model: modelPath, picture } = goldenCase(name)
const stages = goldenStages(name)
const clipFolder = fileURLToPath(new URL('../../test/fixtures/clip/', import.meta.url))
const clip = path.join(clipFolder, 'checkpoint')
const [rows, width] = [16, 32]

async function withModel<T>(work: (model: LLaVA) => Promise<T>, options: OpenOptions = {}): Promise<T> {
  await using model = await LLaVA.open(modelPath, { threads: 2, kvCache: 'f32', arithmetic: 'exact', ...options })
  return await work(model)
}

/** max|a − b| / max|b|; NaN anywhere makes it NaN. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0
  let scale = 0
  for (let i = 0; i < b.length; i++) {
    difference = Math.max(difference, Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN)))
    scale = Math.max(scale, Math.abs(b[i] ?? Number.NaN))
  }
  return difference / scale
}

function stage(of: string): Float32Array {
  return (stages.get(of) as StoredTensor).data as Float32Array
}

/** The mean of rows, plainly. */
function meanOf(values: Float32Array): Float64Array {
  const sums = new Float64Array(width)
  for (let i = 0; i < values.length; i++) sums[i % width]! += values[i]! / (values.length / width)
  return sums
}

/** RMSNorm with the checkpoint's weights: the last hidden states of the oracle are those before it. */
function finalNorm(hidden: Float32Array): Float32Array {
  const weights = readTensors(path.join(modelPath, 'model.safetensors'))
  const weight = [...weights].find(([tensor]) => /language_model.*(?<!layernorm)\.norm\.weight$/.test(tensor))?.[1]
    .data as Float32Array
  return hidden.map((value, i) => {
    const row = hidden.subarray(i - (i % width), i - (i % width) + width)
    return (value / Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / width + 1e-5)) * weight[i % width]!
  })
}

/** The project's promise against transformers in float32, for a whole tower. */
const bound = 1e-4

const prompt = { images: picture, text: 'What is it?' }

test('patch features and projected rows are what transformers computes', async (t) => {
  await withModel(async (model) => {
    const features = await model.embed(picture, { kind: 'patch_features' })
    t.deepEqual(features.shape, [rows, width])
    t.true(distance(features.data, stage('image_features')) <= bound)
    const projected = await model.embed(picture, { kind: 'projected' })
    t.deepEqual(projected.shape, [rows, width])
    t.true(distance(projected.data, stage('projected')) <= bound)
  })
})

test('pooled features and the projected mean are the means of these rows', async (t) => {
  await withModel(async (model) => {
    for (const [kind, of] of [
      ['pooled_features', 'image_features'],
      ['projected_mean', 'projected'],
    ] as const) {
      const { data, shape } = await model.embed(picture, { kind })
      t.deepEqual(shape, [width])
      t.true(distance(data, meanOf(stage(of))) <= bound)
    }
  })
})

test('hidden states of a prompt with a picture are those of transformers after the final norm: the last, and the mean of all', async (t) => {
  const [last] = [...stages.keys()]
    .filter((key) => key.startsWith('hidden_states.'))
    .sort()
    .slice(-1)
  const hidden = finalNorm(stage(last ?? ''))
  await withModel(async (model) => {
    const options = { template: 'hf' } as const
    const end = await model.embed(prompt, { ...options, kind: 'hidden_last' })
    t.deepEqual(end.shape, [width])
    t.true(distance(end.data, hidden.subarray(-width)) <= bound)
    t.true(distance((await model.embed(prompt, { ...options, kind: 'hidden_mean' })).data, meanOf(hidden)) <= bound)
  })
})

test('a text has a hidden state of its own, and without a template it is the text as it is', async (t) => {
  await withModel(async (model) => {
    const one = await model.embed('red star', { kind: 'hidden_last' })
    t.deepEqual(await model.embed({ text: 'red star' }, { kind: 'hidden_last' }), one)
    t.notDeepEqual((await model.embed('red stars', { kind: 'hidden_last' })).data, one.data)
    t.notDeepEqual((await model.embed('red star', { kind: 'hidden_last', template: 'hf' })).data, one.data)
    t.is((await model.embed('', { kind: 'hidden_mean' })).data.length, width)
  })
})

test('a prompt of many chunks has the same hidden states as one', async (t) => {
  await using model = await LLaVA.open(undefined, { threads: 2 })
  const words = 'the red square is large and the blue one is small . '
  const length = (times: number) => model.tokenize(words.repeat(times)).length
  const times = Math.ceil(600 / (length(2) - length(1)))
  if (length(times) > model.info().contextLength) t.fail('the context is too short for two chunks')
  const mean = await model.embed(words.repeat(times), { kind: 'hidden_mean' })
  const last = await model.embed(words.repeat(times), { kind: 'hidden_last' })
  t.true([...mean.data, ...last.data].every(Number.isFinite))
  t.notDeepEqual(mean.data, last.data)
})

test("CLIP's vectors of pictures and texts are those of transformers", async (t) => {
  const expected = readTensors(path.join(clipFolder, 'expected.safetensors'))
  const { texts } = JSON.parse(readFileSync(path.join(clipFolder, 'case.json'), 'utf8')) as {
    readonly texts: readonly string[]
  }
  await withModel(
    async (model) => {
      const image = await model.embed(path.join(clipFolder, '../pictures/rgb.png'), { kind: 'clip_image' })
      t.deepEqual(image.shape, [16])
      t.true(distance(image.data, expected.get('image')?.data ?? []) <= bound)
      const vectors = await model.embed(texts, { kind: 'clip_text' })
      for (const [n, { data }] of vectors.entries())
        t.true(distance(data, expected.get(`text.${n}`)?.data ?? []) <= bound, texts[n])
    },
    { clip },
  )
})

test("calls that open the package's own CLIP at once get the same vectors, and disposing the model meanwhile fails them", async (t) => {
  await using model = await LLaVA.open(undefined, { threads: 2 })
  const both = await Promise.all([
    model.embed('a cat', { kind: 'clip_text' }),
    model.embed('a cat', { kind: 'clip_text' }),
  ])
  t.deepEqual(both[0].data, both[1].data)
  t.deepEqual((await model.embed('a cat', { kind: 'clip_text' })).data, both[0].data)
  const other = await LLaVA.open(undefined, { threads: 2 })
  const failing = t.throwsAsync(other.embed('a cat', { kind: 'clip_text' }), { code: 'DISPOSED' })
  other.dispose()
  await failing
})

const everyKind: readonly (readonly [EmbedOptions['kind'], EmbedInput])[] = [
  ['patch_features', picture],
  ['pooled_features', picture],
  ['projected', picture],
  ['projected_mean', picture],
  ['hidden_last', prompt],
  ['hidden_mean', prompt],
  ['clip_image', picture],
  ['clip_text', 'a red star'],
]

/** Rows of an embedding. */
function rowsOf({ data, shape }: Embedding<'f32'>): Float32Array[] {
  const length = shape.at(-1) ?? 0
  return Array.from({ length: data.length / length }, (_, row) => data.subarray(row * length, (row + 1) * length))
}

/** The value of float16 bits, by its definition. */
function halfValue(bits: number): number {
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15)
  return bits & 0x8000 ? -magnitude : magnitude
}

test('every kind comes normalised and as float16 when asked', async (t) => {
  await withModel(
    async (model) => {
      for (const [kind, input] of everyKind) {
        const plain = await model.embed(input, { kind })
        t.deepEqual([plain.kind, plain.dtype], [kind, 'f32'])
        const unit = await model.embed(input, { kind, normalize: true })
        t.deepEqual(unit.shape, plain.shape)
        for (const [n, row] of rowsOf(unit).entries()) {
          const length = Math.hypot(...(rowsOf(plain)[n] ?? []))
          // a product rounded once, of a scale in float64
          t.true(row.every((value, i) => Math.abs(value - (rowsOf(plain)[n]?.[i] ?? Number.NaN) / length) <= 2 ** -24))
        }
        const half = await model.embed(input, { kind, dtype: 'f16' })
        t.true(half.data instanceof Uint16Array)
        t.deepEqual([half.dtype, half.shape], ['f16', plain.shape])
        // to nearest: half a unit in the 11th place
        t.true(
          half.data.every(
            (bits, i) =>
              Math.abs(halfValue(bits) - plain.data[i]!) <= Math.max(Math.abs(plain.data[i]!) * 2 ** -11, 2 ** -25),
          ),
        )
      }
    },
    { clip },
  )
})

test('every kind comes as int8, bits and base64, row by row', async (t) => {
  await withModel(
    async (model) => {
      for (const [kind, input] of everyKind) {
        const plain = await model.embed(input, { kind })
        const rows = rowsOf(plain)
        const int8 = await model.embed(input, { kind, dtype: 'int8' })
        t.true(int8.data instanceof Int8Array)
        t.deepEqual([int8.dtype, int8.shape], ['int8', plain.shape])
        const units = rows.map((row) => Math.max(...row.map(Math.abs)) / 127)
        const expected = rows.flatMap((row, n) => [...row].map((value) => value / units[n]!))
        t.true(int8.data.every((value, i) => Math.abs(value - expected[i]!) <= 0.5 + 1e-6))
        const bits = await model.embed(input, { kind, dtype: 'binary' })
        t.deepEqual(bits.shape, plain.shape.with(-1, plain.shape.at(-1)! / 8))
        const signs = [...plain.data].map((value) => (value > 0 ? '1' : '0')).join('')
        t.is([...bits.data].map((byte) => byte.toString(2).padStart(8, '0')).join(''), signs)
        const text = await model.embed(input, { kind, dtype: 'base64' })
        t.deepEqual(text.shape, plain.shape)
        t.deepEqual(new Float32Array(Uint8Array.from(Buffer.from(text.data, 'base64')).buffer), plain.data)
      }
    },
    { clip },
  )
})

test('an array of inputs gives an array, each as it is by itself, and an empty one an empty one', async (t) => {
  const black = { width: 8, height: 8, data: new Uint8Array(192) }
  await withModel(async (model) => {
    const both = await model.embed([picture, black], { kind: 'projected_mean' })
    t.deepEqual(both, [
      await model.embed(picture, { kind: 'projected_mean' }),
      await model.embed(black, { kind: 'projected_mean' }),
    ])
    t.deepEqual(await model.embed([], { kind: 'projected_mean' }), [])
  })
})

test('an encoded picture gives the vectors of the picture, and stays its owner’s', async (t) => {
  await withModel(async (model) => {
    using image = await model.encodeImage(picture)
    for (const kind of ['patch_features', 'pooled_features', 'projected', 'projected_mean'] as const) {
      t.deepEqual(await model.embed(image, { kind }), await model.embed(picture, { kind }))
    }
    t.deepEqual(
      await model.embed({ ...prompt, images: image }, { kind: 'hidden_last' }),
      await model.embed(prompt, { kind: 'hidden_last' }),
    )
    t.is(image.projected().length, rows * width)
  })
})

test('embedding fails as everything does: unreadable, too long, aborted, disposed of', async (t) => {
  await withModel(
    async (model) => {
      await t.throwsAsync(model.embed('no/such/picture.png', { kind: 'projected' }), { code: 'IMAGE_UNREADABLE' })
      await t.throwsAsync(model.embed('red '.repeat(400), { kind: 'hidden_mean' }), { code: 'CONTEXT_OVERFLOW' })
      for (const [kind, input] of everyKind)
        await t.throwsAsync(model.embed(input, { kind, signal: AbortSignal.abort() }), { code: 'ABORTED' })
      model.dispose()
      for (const [kind, input] of everyKind) await t.throwsAsync(model.embed(input, { kind }), { code: 'DISPOSED' })
    },
    { clip },
  )
})
