// A CLIP and the GGUF made of it are the same model; quantised, it gives nearly the same vectors.

import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CLIP, convertModel, LLaVA, visionTypes, type ClipInput, type ConvertOptions } from '../../lib/index.js'
import { describeClip } from '../../lib/weights/describe-clip.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'
import { temporaryFolder } from '../weights/tiny-llava.js'
import { openClip } from '../weights/tiny-open-clip.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const tiny = path.join(root, 'test/fixtures/clip/checkpoint')
const packaged = path.join(root, 'models/clip')
const pictures = path.join(root, 'test/fixtures/pictures')
const inputs: readonly ClipInput[] = [
  path.join(root, 'models/demo.png'),
  path.join(pictures, 'rgb.png'),
  { text: 'a drawing of a rocket' },
  { text: "It's 42 …" },
]

const hash = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

for (const [name, directory, type] of [
  ['float32', tiny, 'f32'],
  ['the float16 one of the package', packaged, 'f16'],
] as const) {
  test(`the GGUF of a checkpoint gives the same bits, and is made again of itself: ${name}`, async (t) => {
    const folder = await temporaryFolder(t)
    const [first, again] = ['first.gguf', 'again.gguf'].map((file) => path.join(folder, file)) as [string, string]
    await convertModel(directory, first, { type })
    await using ours = await CLIP.open(directory, { threads: 2 })
    await using converted = await CLIP.open(first, { threads: 2 })
    t.deepEqual(await converted.embed(inputs), await ours.embed(inputs))
    t.deepEqual({ ...converted.info(), path: '' }, { ...ours.info(), path: '' })
    await convertModel(first, again, { type })
    t.is(hash(again), hash(first))
  })
}

test("an open_clip checkpoint's projections are written in order", async (t) => {
  const folder = await temporaryFolder(t)
  const theirs = await openClip(t, tiny)
  await convertModel(theirs, path.join(folder, 'theirs.gguf'), { type: 'bf16' })
  await convertModel(tiny, path.join(folder, 'ours.gguf'), { type: 'bf16' })
  await using a = await CLIP.open(path.join(folder, 'theirs.gguf'), { threads: 2 })
  await using b = await CLIP.open(path.join(folder, 'ours.gguf'), { threads: 2 })
  t.deepEqual(await a.embed(inputs), await b.embed(inputs))
})

// An eighth of a block's largest value is Q4_0's step, a 127th Q8_0's. In float32, so that it is the weights alone, on every CPU; a wrong layout gives less
// than a half.
for (const [type, least] of [
  ['f16', 0.99999],
  ['bf16', 0.9999],
  ['q8_0', 0.999],
  ['q4_0', 0.85],
] as const) {
  test(`${type}: vectors of pictures and texts point where those of the checkpoint do`, async (t) => {
    const file = path.join(await temporaryFolder(t), 'clip.gguf')
    const { weightDtypes } = await convertModel(packaged, file, { type })
    t.true((weightDtypes[type.toUpperCase()] ?? 0) > Object.values(weightDtypes).reduce((sum, n) => sum + n, 0) / 2)
    const some = readdirSync(pictures)
      .filter((name) => /\.(?:png|jpg|webp)$/.test(name))
      .map((name) => path.join(pictures, name))
    await using ours = await CLIP.open(packaged, { threads: 2, arithmetic: 'exact' })
    await using converted = await CLIP.open(file, { threads: 2, arithmetic: 'exact' })
    const all = [...some.slice(0, 6), ...inputs]
    const [wanted, actual] = [await ours.embed(all), await converted.embed(all)]
    for (const [n, vector] of wanted.entries()) {
      const cosine = vector.reduce((sum, value, i) => sum + value * (actual[n]?.[i] ?? NaN), 0)
      t.true(cosine >= least, `${JSON.stringify(all[n])}: ${cosine}`)
    }
  })
}

test('the file says what it is, under the keys of llama.cpp and clip.cpp', async (t) => {
  const file = path.join(await temporaryFolder(t), 'clip.gguf')
  await convertModel(tiny, file, { type: 'q8_0', visionType: 'f16' })
  const { metadata, tensors } = await readGgufHeader(file)
  const keys = Object.fromEntries(metadata)
  t.like(keys, {
    'general.architecture': 'clip',
    'general.name': 'checkpoint',
    'clip.has_text_encoder': true,
    'clip.has_vision_encoder': true,
    'clip.use_gelu': false,
    'clip.vision.block_count': 3,
    'clip.vision.projection_dim': 16,
    'clip.text.context_length': 24,
    'clip.text.block_count': 2,
  })
  const dtypes = Object.fromEntries(tensors.map(({ name, dtype }) => [name, dtype]))
  t.like(dtypes, {
    'v.blk.0.attn_q.weight': 'F16',
    'visual_projection.weight': 'F16',
    'v.post_ln.weight': 'F32',
    't.blk.0.ffn_up.weight': 'Q8_0',
    't.token_embd.weight': 'Q8_0',
    't.position_embd.weight': 'F32',
    'text_projection.weight': 'Q8_0',
  })
  const { tokenizer } = await describeClip(file)
  t.is('byteLevel' in tokenizer ? tokenizer.byteLevel?.endOfWord : undefined, '</w>')
})

test('a directory as target names the file after the model; a LLaVA takes it as its `clip`', async (t) => {
  const folder = await temporaryFolder(t)
  const { files } = await convertModel(tiny, `${folder}/`, { type: 'q4_0' })
  t.deepEqual(
    files.map((file) => file.path),
    [path.join(folder, 'checkpoint-q4_0.gguf')],
  )
  const [{ path: file }] = files as [(typeof files)[number]]
  await using llava = await LLaVA.open(undefined, { clip: file, threads: 2 })
  await using clip = await CLIP.open(file, { threads: 2 })
  const { data } = await llava.embed({ text: 'a cat' }, { kind: 'clip_text' })
  t.deepEqual(await clip.embed({ text: 'a cat' }, { normalize: false }), data)
})

test('what does not fit is said with a code', async (t) => {
  const folder = await temporaryFolder(t)
  const file = path.join(folder, 'clip.gguf')
  const convert = (options: ConvertOptions) => convertModel(tiny, file, options)
  const invalid = { code: 'INVALID_ARGUMENT' } as const
  await t.throwsAsync(convert({ type: 'q4_k_m' }), { ...invalid, message: new RegExp(visionTypes.join(', ')) })
  await t.throwsAsync(convert({ type: 'f16', pair: true }), { ...invalid, message: /`pair`/ })
  await t.throwsAsync(convert({ type: 'f16', mmproj: 'x.gguf' }), { ...invalid, message: /`mmproj`/ })
  await convert({ type: 'f16', pair: false })
  await t.throwsAsync(convert({ type: 'f16' }), { ...invalid, message: /is there already/ })
  await t.throwsAsync(LLaVA.open(file), { code: 'MODEL_UNSUPPORTED', message: /`CLIP\.open`/ })
  const llava = path.join(root, 'models/default.gguf')
  await t.throwsAsync(CLIP.open(llava), { code: 'MODEL_UNSUPPORTED', message: /architecture "llava"/ })
  const half = path.join(root, 'test/fixtures/golden/gguf-pair-f16/checkpoint/')
  const mmproj = readdirSync(half).find((name) => name.includes('mmproj')) ?? ''
  await t.throwsAsync(CLIP.open(path.join(half, mmproj)), { code: 'MODEL_UNSUPPORTED', message: /mmproj of a LLaVA/ })
  await t.throwsAsync(CLIP.open(path.join(tiny, 'model.safetensors')), { code: 'MODEL_UNSUPPORTED' })
})
