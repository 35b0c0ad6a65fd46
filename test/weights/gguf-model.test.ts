import { truncate } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import type { DescribeOptions, ModelDescription } from '../../lib/weights/model-description.js'
import { ggufFile, ggufHead, type GgufKey, type GgufTensorInfo } from './gguf-file.js'
import {
  checkpoint,
  ggufTensors,
  languageFile,
  languageKeys,
  mmprojFile,
  partName,
  parts,
  pieces,
  temporaryFolder,
  textShapes,
  tiny,
  visionKeys,
  visionShapes,
  withKeys,
  writeFiles,
} from './tiny-llava.js'

/** Opens `what` (default: the folder itself) of a folder that holds `files`. */
async function describe(
  t: ExecutionContext,
  files: Readonly<Record<string, unknown>>,
  what = '',
  options?: DescribeOptions,
): Promise<ModelDescription> {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, files)
  return describeModel(path.join(folder, what), options)
}

const pair = { 'model.gguf': languageFile(), 'mmproj-model.gguf': mmprojFile() }
const all = Object.fromEntries([...textShapes(), ...visionShapes()])
const shapesOf = (model: ModelDescription): Record<string, readonly number[]> =>
  Object.fromEntries(model.tensors.map(({ name, shape }) => [name, shape]))
const language = (...changes: GgufKey[]): Record<string, unknown> => ({
  'model.gguf': languageFile(withKeys(languageKeys, ...changes)),
})
const vision = (...changes: GgufKey[]): Record<string, unknown> => ({
  ...pair,
  'mmproj-model.gguf': mmprojFile(withKeys(visionKeys, ...changes)),
})

for (const what of ['', 'model.gguf']) {
  test(`a pair opens by ${what === '' ? 'its directory' : 'its language model'}, with the mmproj beside it`, async (t) => {
    const model = await describe(t, pair, what)
    t.is(model.format, 'gguf-pair')
    t.deepEqual(shapesOf(model), all)
    t.deepEqual(
      model.files.map((file) => path.basename(file)),
      ['model.gguf', 'mmproj-model.gguf'],
    )
  })
}

test('the description of a pair holds its sizes', async (t) => {
  const { config, imageProcessor, card, generation } = await describe(t, pair)
  t.like(config.text, {
    hiddenSize: tiny.D,
    intermediateSize: tiny.F,
    layers: 2,
    heads: tiny.H,
    kvHeads: tiny.Hk,
    headDim: tiny.Dh,
    vocabSize: tiny.V,
    ropeLayout: 'interleaved',
    contextLength: 256,
  })
  t.like(config.vision, {
    hiddenSize: tiny.Dv,
    intermediateSize: tiny.Fv,
    layers: 3,
    heads: tiny.Hv,
    imageSize: 4,
    patchSize: 2,
    activation: 'quick_gelu',
    dropClassRow: true,
  })
  t.deepEqual(imageProcessor, {
    imageSize: 4,
    aspectRatio: 'pad',
    mean: [0.5, 0.25, 0.125],
    std: [0.5, 0.25, 0.125],
    rescaleFactor: 1 / 255,
    shortestEdge: 4,
  })
  t.like(card, { name: 'tiny', languageDtype: 'F16' })
  t.deepEqual(generation, { eosTokenIds: [2], bosTokenId: 1 })
})

test('the tokenizer of a pair keeps its pieces', async (t) => {
  t.deepEqual((await describe(t, pair)).tokenizer.pieces, pieces)
})

for (const ffn of ['legacy', 'new'] as const) {
  test(`the ${ffn} names of the tower’s MLP lead to the same matrices`, async (t) => {
    const model = await describe(t, {
      ...pair,
      'mmproj-model.gguf': mmprojFile(visionKeys, ggufTensors(visionShapes(), 1, ffn)),
    })
    t.deepEqual(shapesOf(model), all)
  })
}

test('a language model alone answers text', async (t) => {
  const model = await describe(t, language())
  t.is(model.format, 'gguf-text')
  t.is(model.config.vision, undefined)
  t.deepEqual(shapesOf(model), Object.fromEntries(textShapes()))
})

test('an mmproj elsewhere is opened when it is named', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, language())
  await writeFiles(path.join(folder, 'elsewhere'), { 'vision.gguf': mmprojFile() })
  t.is((await describeModel(folder, { mmproj: path.join(folder, 'elsewhere/vision.gguf') })).format, 'gguf-pair')
})

test('several mmproj files beside a model are named in the error, and one of them can be chosen', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, { ...pair, 'mmproj-other.gguf': mmprojFile() })
  await t.throwsAsync(describeModel(folder), {
    code: 'INVALID_ARGUMENT',
    message: /mmproj-model\.gguf, mmproj-other\.gguf/,
  })
  t.is((await describeModel(folder, { mmproj: path.join(folder, 'mmproj-other.gguf') })).format, 'gguf-pair')
})

test('a file called mmproj that is no vision half is not taken for one', async (t) => {
  t.is((await describe(t, { ...language(), 'not-mmproj.gguf': languageFile() }, 'model.gguf')).format, 'gguf-text')
})

test('a directory with a checkpoint’s config.json but only GGUF weights opens as GGUF', async (t) => {
  t.is((await describe(t, { ...pair, 'config.json': checkpoint()['config.json'] })).format, 'gguf-pair')
})

const ownKeys = withKeys(
  [...languageKeys, ...visionKeys],
  { key: 'general.architecture', type: 'string', value: 'llava' },
  { key: 'general.license', type: 'string', value: 'MIT' },
  { key: 'tokenizer.chat_template', type: 'string', value: '{{ x }}' },
)
const ownTensors = ggufTensors(new Map([...textShapes(), ...visionShapes()]))
const own = (...changes: GgufKey[]): Record<string, unknown> => ({
  'own.gguf': ggufFile({ keys: withKeys(ownKeys, ...changes), tensors: ownTensors }),
})

test('one file of architecture llava holds everything', async (t) => {
  const model = await describe(t, own(), 'own.gguf')
  t.is(model.format, 'gguf')
  t.deepEqual(shapesOf(model), all)
  t.is(model.chatTemplate, '{{ x }}')
  t.is(model.card.license, 'MIT')
  t.is(model.imageProcessor?.aspectRatio, 'pad')
})

test('llava.image_aspect_ratio decides how one file’s pictures become square, and an option wins over it', async (t) => {
  const files = own({ key: 'llava.image_aspect_ratio', type: 'string', value: 'crop' })
  t.is((await describe(t, files)).imageProcessor?.aspectRatio, 'crop')
  t.is((await describe(t, files, '', { imageAspectRatio: 'pad' })).imageProcessor?.aspectRatio, 'pad')
})

for (const [name, type] of [
  ['F32', 0],
  ['F16', 1],
  ['Q4_1', 3],
  ['BF16', 30],
  ['Q4_0', 2],
  ['Q8_0', 8],
] as const) {
  test(`matrices in ${name} open`, async (t) => {
    const model = await describe(t, {
      ...pair,
      'model.gguf': languageFile(languageKeys, ggufTensors(textShapes(), type)),
    })
    t.is(model.card.languageDtype, name)
    t.deepEqual(shapesOf(model), all)
  })
}

test('without output.weight the embedding is the output matrix', async (t) => {
  const tensors = ggufTensors(textShapes()).filter(({ name }) => name !== 'output.weight')
  const model = await describe(t, { 'model.gguf': languageFile(languageKeys, tensors) })
  t.deepEqual(shapesOf(model), Object.fromEntries(textShapes()))
})

test('rope keys are honoured: freq_base, linear scaling, one divisor per frequency', async (t) => {
  const keys: GgufKey[] = [
    { key: 'llama.rope.freq_base', type: 'f32', value: 10 ** 6 },
    { key: 'llama.rope.scaling.type', type: 'string', value: 'linear' },
    { key: 'llama.rope.scaling.factor', type: 'f32', value: 2 },
  ]
  const data = Buffer.from(Float32Array.of(1, 1, 4, 8).buffer)
  const divisors: GgufTensorInfo = { name: 'rope_freqs.weight', type: 0, ne: [4], data }
  const model = await describe(t, {
    'model.gguf': languageFile(withKeys(languageKeys, ...keys), [...ggufTensors(textShapes()), divisors]),
  })
  const expected = [1 / 2, 10 ** -1.5 / 2, 10 ** -3 / 8, 10 ** -4.5 / 16]
  // Four float32 roundings: theta^x, 1/x, the factor, the divisor.
  model.config.text.ropeInvFreq.forEach((frequency, j) =>
    t.true(Math.abs(frequency / (expected[j] ?? NaN) - 1) <= 4 * 2 ** -24),
  )
})

test('rope scaling "none" ignores the factor', async (t) => {
  const keys: GgufKey[] = [
    { key: 'llama.rope.scaling.type', type: 'string', value: 'none' },
    { key: 'llama.rope.scaling.factor', type: 'f32', value: 2 },
  ]
  t.is((await describe(t, language(...keys))).config.text.ropeInvFreq[0], 1)
})

const layerRules: readonly (readonly [what: string, key: GgufKey, options: DescribeOptions, runs: number])[] = [
  ['all that is stored without a key', visionKeys[0] as GgufKey, {}, 3],
  ['what feature_layer says', { key: 'clip.vision.feature_layer', type: ['i32'], value: [2] }, {}, 2],
  ['what a negative feature_layer says', { key: 'clip.vision.feature_layer', type: ['i32'], value: [-3] }, {}, 1],
  ['what the option says', visionKeys[0] as GgufKey, { visionFeatureLayer: -2 }, 2],
  ['block_count where more is stored', { key: 'clip.vision.block_count', type: 'u32', value: 2 }, {}, 2],
]

for (const [what, key, options, runs] of layerRules) {
  test(`a GGUF tower runs ${what}`, async (t) => {
    t.is((await describe(t, vision(key), '', options)).config.vision?.layers, runs)
  })
}

test('a tower of CLIP ViT-L’s width that kept all 24 layers runs 23', async (t) => {
  const large = { ...tiny, Dv: 1024, Fv: 32 }
  const keys = withKeys(
    visionKeys,
    { key: 'clip.vision.block_count', type: 'u32', value: 24 },
    { key: 'clip.vision.embedding_length', type: 'u32', value: 1024 },
    { key: 'clip.vision.feed_forward_length', type: 'u32', value: 32 },
  )
  const { header, size } = ggufHead({ keys, tensors: ggufTensors(visionShapes(24, large)) })
  const folder = await temporaryFolder(t)
  await writeFiles(folder, { ...pair, 'mmproj-model.gguf': header })
  await truncate(path.join(folder, 'mmproj-model.gguf'), size)
  t.is((await describeModel(folder)).config.vision?.layers, 23)
})

const visionTensors = ggufTensors(visionShapes())
const withoutVisionTensors = (pattern: RegExp): Record<string, unknown> => ({
  ...pair,
  'mmproj-model.gguf': mmprojFile(
    visionKeys,
    visionTensors.filter(({ name }) => !pattern.test(name)),
  ),
})

/** A mmproj of a SigLIP: no class token, no norm in front, a bias on the patches. */
const siglip = (keys: readonly GgufKey[], ...more: readonly GgufTensorInfo[]): Record<string, unknown> => {
  const tensors = visionTensors.filter(({ name }) => !/class_embd|pre_ln|position_embd/.test(name))
  const own = [
    { name: 'v.patch_embd.bias', type: 0, ne: [tiny.Dv] },
    { name: 'v.position_embd.weight', type: 0, ne: [tiny.Dv, 4] },
  ]
  return { ...pair, 'mmproj-model.gguf': mmprojFile(withKeys(visionKeys, ...keys), [...tensors, ...own, ...more]) }
}

test('an mmproj without a class token whose patches have a bias is a SigLIP tower, all of whose rows are kept', async (t) => {
  const { config } = await describe(t, siglip([{ key: 'clip.use_gelu', type: 'bool', value: true }]))
  t.like(config.vision, {
    tower: 'siglip',
    activation: 'gelu_pytorch_tanh',
    dropClassRow: false,
    layers: tiny.visionLayers,
  })
})

const mistralKeys: readonly GgufKey[] = [
  ...languageKeys
    .map((key) => ({ ...key, key: key.key.replace(/^llama\./, 'mistral3.') }))
    .filter(({ key }) => key !== 'general.architecture'),
  { key: 'general.architecture', type: 'string', value: 'mistral3' },
]

test('architecture mistral3 is the same decoder under its own keys', async (t) => {
  const keys: GgufKey[] = [...mistralKeys, { key: 'mistral3.rope.freq_base', type: 'f32', value: 10 ** 6 }]
  const model = await describe(t, { ...pair, 'model.gguf': languageFile(keys) })
  t.deepEqual(shapesOf(model), all)
  t.true(Math.abs((model.config.text.ropeInvFreq[1] ?? NaN) * 10 ** 1.5 - 1) <= 4 * 2 ** -24)
})

test('a sliding window is read, and 0 is none', async (t) => {
  const window = (value: number): Record<string, unknown> =>
    language({ key: 'llama.attention.sliding_window', type: 'u32', value })
  t.is((await describe(t, window(128))).config.text.slidingWindow, 128)
  t.is((await describe(t, window(0))).config.text.slidingWindow, undefined)
})

for (const layers of [1, 2, 3]) {
  test(`an mmproj’s projector of ${layers} linear layers opens`, async (t) => {
    const shapes = new Map([...visionShapes()].filter(([name]) => !name.startsWith('multi_modal_projector.')))
    const projector = Array.from({ length: layers }, (_, n): GgufTensorInfo[] => [
      { name: `mm.${2 * n}.weight`, type: 1, ne: [n === 0 ? tiny.Dv : tiny.D, tiny.D] },
      { name: `mm.${2 * n}.bias`, type: 0, ne: [tiny.D] },
    ])
    const model = await describe(t, {
      ...pair,
      'mmproj-model.gguf': mmprojFile(visionKeys, [...ggufTensors(shapes), ...projector.flat()]),
    })
    t.is(model.config.vision?.projectorLayers, layers)
    t.is(Object.keys(shapesOf(model)).filter((name) => name.startsWith('multi_modal_projector.')).length, 2 * layers)
  })
}

const unsupported: readonly (readonly [what: string, files: Record<string, unknown>, message: RegExp])[] = [
  ['an mmproj without a class token', withoutVisionTensors(/class_embd/), /neither CLIP.* nor SigLIP/],
  ['an mmproj of a SigLIP with QuickGELU', siglip([]), /SigLIP.*QuickGELU/],
  [
    'an mmproj of a SigLIP with a last norm',
    siglip([{ key: 'clip.use_gelu', type: 'bool', value: true }], { name: 'v.post_ln.weight', type: 0, ne: [64] }),
    /SigLIP.*norm after/,
  ],
]

for (const [what, files, message] of unsupported) {
  test(`GGUF with ${what} is refused by name`, async (t) => {
    await t.throwsAsync(describe(t, files), { instanceOf: LlavaError, code: 'MODEL_UNSUPPORTED', message })
  })
}

// ---- files in parts

for (const what of ['', partName(0), partName(2)]) {
  test(`a language model in three parts opens by ${what === '' ? 'its directory' : what}, mmproj and all`, async (t) => {
    const model = await describe(t, { ...parts, 'mmproj-model.gguf': mmprojFile() }, what)
    t.is(model.format, 'gguf-pair')
    t.deepEqual(shapesOf(model), all)
    t.deepEqual(
      model.files.map((file) => path.basename(file)),
      [partName(1), partName(2), 'mmproj-model.gguf'],
    )
  })
}

// ---- adapters

const adapterKeys: readonly GgufKey[] = [
  { key: 'general.architecture', type: 'string', value: 'llama' },
  { key: 'general.type', type: 'string', value: 'adapter' },
  { key: 'adapter.type', type: 'string', value: 'lora' },
  { key: 'adapter.lora.alpha', type: 'f32', value: 6 },
]
const lora = (module: string, rank: number, input: number, out: number): GgufTensorInfo[] => [
  { name: `${module}.weight.lora_a`, type: 0, ne: [input, rank] },
  { name: `${module}.weight.lora_b`, type: 0, ne: [rank, out] },
]
const withAdapter = async (
  t: ExecutionContext,
  keys: readonly GgufKey[],
  tensors: readonly GgufTensorInfo[],
): Promise<ModelDescription> => {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, pair)
  await writeFiles(path.join(folder, 'adapters'), { 'lora.gguf': ggufFile({ keys, tensors }) })
  return describeModel(folder, { adapter: path.join(folder, 'adapters/lora.gguf') })
}

test('a GGUF adapter’s pairs stand beside their matrices', async (t) => {
  const model = await withAdapter(t, adapterKeys, [
    ...lora('blk.0.attn_q', 3, 32, 32),
    ...lora('blk.1.ffn_down', 3, 64, 32),
    ...lora('output', 3, 32, 270),
  ])
  const q = 'language_model.layers.0.self_attn.q_proj'
  const down = 'language_model.layers.1.mlp.down_proj'
  t.deepEqual(
    model.tensors.flatMap(({ lora }) => lora ?? []),
    Array(3).fill({ scale: 2, interleavedHeads: 0 }),
  )
  t.deepEqual(shapesOf(model), {
    ...all,
    [`${q}.lora_A.weight`]: [3, 32],
    [`${q}.lora_B.weight`]: [32, 3],
    [`${down}.lora_A.weight`]: [3, 64],
    [`${down}.lora_B.weight`]: [32, 3],
    'lm_head.lora_A.weight': [3, 32],
    'lm_head.lora_B.weight': [270, 3],
  })
})

test('layers of a GGUF adapter may have different ranks', async (t) => {
  const model = await withAdapter(t, adapterKeys, [
    ...lora('blk.0.attn_q', 3, 32, 32),
    ...lora('blk.1.attn_q', 2, 32, 32),
  ])
  t.deepEqual(
    model.tensors.flatMap(({ lora }) => lora?.scale ?? []),
    [2, 3],
  )
})

const refusedAdapters: readonly (readonly [
  what: string,
  code: string,
  keys: readonly GgufKey[],
  tensors: readonly GgufTensorInfo[],
  message: RegExp,
])[] = [['of embeddings', 'MODEL_UNSUPPORTED', adapterKeys, lora('token_embd', 3, 32, 270), /linear layers/]]

for (const [what, code, keys, tensors, message] of refusedAdapters) {
  test(`a GGUF adapter ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(withAdapter(t, keys, tensors), { instanceOf: LlavaError, code, message })
  })
}
