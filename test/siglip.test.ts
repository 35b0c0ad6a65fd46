// SigLIP by itself: its ids, vectors and probabilities are transformers', and so are those of the GGUF made of it.

import { copyFileSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { CLIP, convertModel, type ClipInput } from '../lib/index.js'
import { isas } from '../lib/native.js'
import { finishInSlices } from '../lib/slices.js'
import { SiglipTokenizer } from '../lib/tokenizer/siglip-tokenizer.js'
import { Unigram } from '../lib/tokenizer/unigram.js'
import { isUnigram } from '../lib/weights/clip-description.js'
import { describeClip } from '../lib/weights/describe-clip.js'
import { native } from '../lib/native.js'
import { readTensors } from './tiny-model.js'
import { temporaryFolder } from './weights/tiny-llava.js'

const folder = fileURLToPath(new URL('../../test/fixtures/siglip/', import.meta.url))
const checkpoint = path.join(folder, 'checkpoint')
const picture = path.join(folder, '../pictures/rgb.png')
const { texts } = JSON.parse(readFileSync(path.join(folder, 'case.json'), 'utf8')) as {
  readonly texts: readonly string[]
}
const expected = readTensors(path.join(folder, 'expected.safetensors'))
const wanted = (name: string): ArrayLike<number> => expected.get(name)?.data ?? []
const inputs: readonly ClipInput[] = [picture, ...texts.map((text) => ({ text }))]

/** A share of the largest value, as for the stages of a whole model. */
const bound = 1e-4

function distance(actual: Float32Array, golden: ArrayLike<number>): number {
  const scale = Math.max(...Array.from(golden, Math.abs))
  return Math.max(...Array.from(golden, (value, n) => Math.abs(value - (actual[n] ?? NaN)))) / scale
}

test('ids are those of SiglipTokenizer, filled up to the context', async (t) => {
  const { tokenizer, config } = await describeClip(checkpoint)
  if (!isUnigram(tokenizer)) return t.fail('another vocabulary')
  const encoder = new SiglipTokenizer(await finishInSlices(Unigram.of(tokenizer)), tokenizer, config.text.contextLength)
  for (const [n, text] of texts.entries())
    t.deepEqual([...encoder.encode(text)], Array.from(wanted(`ids.${n}`)), JSON.stringify(text))
})

for (const isa of native().cpuInfo().isas) {
  test(`vectors of pictures and texts are those of transformers: ${isa}`, async (t) => {
    t.true(isas.includes(isa))
    await using siglip = await CLIP.open(checkpoint, { threads: 2, isa, arithmetic: 'exact' })
    const vectors = await siglip.embed(inputs, { normalize: false })
    for (const [n, vector] of vectors.entries()) {
      const golden = wanted(n === 0 ? 'image' : `text.${n - 1}`)
      t.true(distance(vector, golden) <= bound && vector.length === golden.length, String(n))
    }
  })
}

test('probabilities are the sigmoids of scaled cosines with their bias, each label by itself', async (t) => {
  await using siglip = await CLIP.open(checkpoint, { threads: 2 })
  const { scale, bias, width, contextLength } = siglip.info()
  t.deepEqual([scale, bias, width, contextLength], [Math.exp(2.25), -3.5, 32, 16])
  const results = await siglip.zeroShot(picture, texts, { prompt: '{}' })
  for (const [n, golden] of Array.from(wanted('probabilities')).entries()) {
    const result = results.find(({ label }) => label === texts[n])
    t.true(Math.abs((result?.probability ?? NaN) - golden) <= bound, texts[n])
  }
  const [alone] = await siglip.zeroShot(picture, [texts[1]!], { prompt: '{}' })
  t.is(alone?.probability, results.find(({ label }) => label === texts[1])?.probability)
})

test('a picture gives the same bits alone and beside others', async (t) => {
  await using siglip = await CLIP.open(checkpoint, { threads: 2 })
  const alone = await siglip.embed(picture)
  for (const vector of await siglip.embed(Array.from({ length: 9 }, () => picture))) t.deepEqual(vector, alone)
})

test('its GGUF gives the same bits, and nearly the same ones quantised', async (t) => {
  const directory = await temporaryFolder(t)
  await using ours = await CLIP.open(checkpoint, { threads: 2 })
  const vectors = await ours.embed(inputs)
  for (const [type, least] of [
    ['f32', 1],
    ['q8_0', 0.995],
  ] as const) {
    const file = path.join(directory, `${type}.gguf`)
    await convertModel(checkpoint, file, { type })
    await using converted = await CLIP.open(file, { threads: 2 })
    t.deepEqual({ ...converted.info(), path: '' }, { ...ours.info(), path: '' })
    const others = await converted.embed(inputs)
    if (least === 1) t.deepEqual(others, vectors)
    for (const [n, vector] of vectors.entries()) {
      const cosine = vector.reduce((sum, value, i) => sum + value * (others[n]?.[i] ?? NaN), 0)
      t.true(cosine >= least - 1e-6, `${n}: ${cosine}`)
    }
  }
})

function copyOf(t: ExecutionContext, directory: string): void {
  for (const name of readdirSync(checkpoint)) copyFileSync(path.join(checkpoint, name), path.join(directory, name))
  t.true(readdirSync(directory).length > 3)
}

test('what is missing, damaged or of another kind is said with a code', async (t) => {
  const directory = await temporaryFolder(t)
  copyOf(t, directory)
  const at = (name: string) => path.join(directory, name)
  const config = JSON.parse(readFileSync(at('config.json'), 'utf8')) as { vision_config: object }
  const pieces = readFileSync(at('spiece.model'))
  for (const length of [0, 10, 1000, pieces.length - 5]) {
    writeFileSync(at('spiece.model'), pieces.subarray(0, length))
    await t.throwsAsync(CLIP.open(directory), { code: 'MODEL_CORRUPT', message: /spiece\.model/ }, String(length))
  }
  rmSync(at('spiece.model'))
  await t.throwsAsync(CLIP.open(directory), { code: 'MODEL_UNSUPPORTED', message: /SigLIP 2/ })
  writeFileSync(at('spiece.model'), pieces)
  const headless = { ...config, vision_config: { ...config.vision_config, vision_use_head: false } }
  writeFileSync(at('config.json'), JSON.stringify(headless))
  await t.throwsAsync(CLIP.open(directory), { code: 'MODEL_UNSUPPORTED', message: /pooling head/ })
  writeFileSync(at('config.json'), JSON.stringify({ ...config, model_type: 'siglip2' }))
  await t.throwsAsync(CLIP.open(directory), { code: 'MODEL_UNSUPPORTED', message: /siglip2/ })
})
