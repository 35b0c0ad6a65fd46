import { stat } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import type { DescribeOptions, ModelDescription } from '../../lib/weights/model-description.js'
import { safetensorsFile } from './safetensors-file.js'
import {
  checkpoint,
  imageTokenId,
  llavaConfig,
  pieces,
  savedName,
  temporaryFolder,
  textShapes,
  tiny,
  tokenizerJson,
  visionShapes,
  writeFiles,
  type Shapes,
} from './tiny-llava.js'

/** Opens a checkpoint made of `files`; `undefined` leaves one out. */
async function describe(
  t: ExecutionContext,
  files: Readonly<Record<string, unknown>>,
  options?: DescribeOptions,
): Promise<ModelDescription> {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, files)
  return describeModel(folder, options)
}

const all: Shapes = new Map([...textShapes(), ...visionShapes()])
const runs: Shapes = new Map([...textShapes(), ...visionShapes(2)])
const shapesOf = (model: ModelDescription): Record<string, readonly number[]> =>
  Object.fromEntries(model.tensors.map(({ name, shape }) => [name, shape]))

// How the prefixes of a checkpoint's modules have been spelt, from transformers 4.36 to 5.
const layouts: readonly (readonly [what: string, fileName: (canonical: string) => string])[] = [
  ['as transformers 5 saves it', savedName],
  ['as llava-hf published it', (name) => savedName(name).replace(/^vision_tower\./, 'vision_tower.vision_model.')],
  ['as the modules of transformers 5 are called', (name) => (name === 'lm_head.weight' ? name : `model.${name}`)],
  [
    'as the modules of transformers 4.52 are called',
    (name) =>
      (name === 'lm_head.weight' ? name : `model.${name}`).replace(/vision_tower\./, 'vision_tower.vision_model.'),
  ],
  [
    'with a tower embedded in the original layout',
    (name) => savedName(name).replace(/^vision_tower\./, 'model.vision_tower.vision_tower.vision_model.'),
  ],
]

for (const [what, fileName] of layouts) {
  test(`a checkpoint ${what} gives the canonical directory, without the layer that does not run`, async (t) => {
    const model = await describe(t, checkpoint(all, fileName))
    t.deepEqual(shapesOf(model), Object.fromEntries(runs))
  })
}

test('tensors that no computation reads are passed over', async (t) => {
  const shapes = new Map([
    ...all,
    ['vision_tower.post_layernorm.weight', [tiny.Dv]],
    ['vision_tower.embeddings.position_ids', [1, 5]],
    ['language_model.layers.0.self_attn.rotary_emb.inv_freq', [4]],
  ])
  t.deepEqual(shapesOf(await describe(t, checkpoint(shapes))), Object.fromEntries(runs))
})

test('the description of a checkpoint holds its sizes', async (t) => {
  const model = await describe(t, checkpoint())
  const { rope, ropeInvFreq, ...text } = model.config.text
  t.is(model.format, 'hf-directory')
  t.deepEqual(text, {
    hiddenSize: tiny.D,
    intermediateSize: tiny.F,
    layers: tiny.layers,
    heads: tiny.H,
    kvHeads: tiny.Hk,
    headDim: tiny.Dh,
    vocabSize: tiny.V,
    rmsNormEps: 1e-5,
    ropeLayout: 'half',
    contextLength: 256,
  })
  t.is(ropeInvFreq.length, tiny.Dh / 2)
  t.deepEqual(rope, { theta: 10_000, scaling: { kind: 'linear', factor: 1 } })
  t.deepEqual(model.config.vision, {
    hiddenSize: tiny.Dv,
    intermediateSize: tiny.Fv,
    layers: 2,
    heads: tiny.Hv,
    imageSize: tiny.image,
    patchSize: tiny.patch,
    layerNormEps: 1e-5,
    activation: 'quick_gelu',
    dropClassRow: true,
    projectorLayers: 2,
  })
})

test('each tensor lies in its file, one behind the other', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, checkpoint(runs))
  const { files, tensors } = await describeModel(folder)
  t.deepEqual(files, [path.join(folder, 'model.safetensors')])
  const { size } = await stat(files[0] ?? '')
  const end = tensors
    .toSorted((a, b) => b.offset - a.offset)
    .reduce((next, { offset, nbytes }) => (t.is(offset + nbytes, next), offset), size)
  t.true(end > 8)
})

test('shards are joined by their index', async (t) => {
  const entries = [...all].map(([name, shape]) => ({ name: savedName(name), dtype: 'BF16', shape }))
  const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  const weightMap = Object.fromEntries(entries.map(({ name }, i) => [name, i % 2 === 0 ? one : two]))
  const part = (file: string): Buffer => safetensorsFile(entries.filter(({ name }) => weightMap[name] === file))
  const model = await describe(t, {
    ...checkpoint(),
    'model.safetensors': undefined,
    'model.safetensors.index.json': { weight_map: weightMap },
    [one]: part(one),
    [two]: part(two),
  })
  t.deepEqual(shapesOf(model), Object.fromEntries(runs))
  t.deepEqual(model.files.map((file) => path.basename(file)).sort(), [one, two])
})

for (const dtype of ['F32', 'F16', 'BF16']) {
  test(`the card counts the parameters and bytes of ${dtype} weights that run`, async (t) => {
    const parameters = [...runs.values()].reduce((sum, shape) => sum + shape.reduce((product, n) => product * n), 0)
    const { card } = await describe(t, checkpoint(all, savedName, dtype))
    t.like(card, {
      parameters,
      weightDtypes: { [dtype]: parameters * (dtype === 'F32' ? 4 : 2) },
      languageDtype: dtype,
    })
  })
}

test('LlamaForCausalLM opens as a model without pictures', async (t) => {
  const config = { ...llavaConfig.text_config, architectures: ['LlamaForCausalLM'] }
  const model = await describe(t, {
    ...checkpoint(textShapes(), (name) => name.replace(/^language_model\./, 'model.')),
    'config.json': config,
  })
  t.deepEqual(shapesOf(model), Object.fromEntries(textShapes()))
  t.is(model.config.vision, undefined)
  t.is(model.imageProcessor, undefined)
})

// ---- config.json

type Json = Readonly<Record<string, unknown>>
const withConfig = (config: Json): Record<string, unknown> => ({
  ...checkpoint(),
  'config.json': { ...llavaConfig, ...config },
})
const withText = (text: Json): Record<string, unknown> =>
  withConfig({ text_config: { ...llavaConfig.text_config, ...text } })
const withVision = (vision: Json): Record<string, unknown> =>
  withConfig({ vision_config: { ...llavaConfig.vision_config, ...vision } })

test('a text_config that lists only what is not default is filled from the tensors', async (t) => {
  const text = { model_type: 'llama', num_attention_heads: tiny.H, max_position_embeddings: 4096 }
  const { config } = await describe(t, withConfig({ text_config: text }))
  t.like(config.text, {
    hiddenSize: tiny.D,
    intermediateSize: tiny.F,
    layers: 2,
    kvHeads: tiny.Hk,
    headDim: tiny.Dh,
    vocabSize: tiny.V,
    rmsNormEps: 1e-6,
    contextLength: 4096,
  })
})

test('a vocabulary resized after the configuration was written counts as the table has it', async (t) => {
  t.is((await describe(t, withText({ vocab_size: 32_000 }))).config.text.vocabSize, tiny.V)
})

test('head_dim is honoured where it is not hidden size over heads', async (t) => {
  const shapes = new Map([...textShapes({ ...tiny, Dh: 16 }), ...visionShapes()])
  const model = await describe(t, {
    ...withText({ head_dim: 16 }),
    'model.safetensors': checkpoint(shapes)['model.safetensors'],
  })
  t.is(model.config.text.headDim, 16)
})

const linear = { rope_type: 'linear', factor: 4 }
const ropeSpellings: readonly (readonly [what: string, text: Json])[] = [
  [
    'rope_theta beside rope_scaling with `type`',
    { rope_parameters: undefined, rope_theta: 5000, rope_scaling: { type: 'linear', factor: 4 } },
  ],
  [
    'rope_theta beside rope_scaling with `rope_type`',
    { rope_parameters: undefined, rope_theta: 5000, rope_scaling: linear },
  ],
  ['rope_parameters with rope_theta', { rope_parameters: { ...linear, rope_theta: 5000 } }],
  ['rope_parameters beside rope_theta', { rope_parameters: linear, rope_theta: 5000 }],
]

for (const [what, text] of ropeSpellings) {
  test(`linear rope scaling is read from ${what}`, async (t) => {
    const { config } = await describe(t, withText(text))
    t.is(config.text.ropeInvFreq[0], 0.25)
    t.true(Math.abs((config.text.ropeInvFreq[1] ?? NaN) - 5000 ** -0.25 / 4) <= 2 ** -24)
    t.is(config.text.contextLength, 4 * 256)
  })
}

test('tied embeddings give the output matrix the bytes of the embedding, counted once', async (t) => {
  const untied = new Map(all)
  untied.delete('lm_head.weight')
  const model = await describe(t, {
    ...withText({ tie_word_embeddings: true }),
    'model.safetensors': checkpoint(untied)['model.safetensors'],
  })
  const entry = (name: string): object => ({ ...model.tensors.find((tensor) => tensor.name === name), name: '' })
  t.deepEqual(entry('lm_head.weight'), entry('language_model.embed_tokens.weight'))
  t.is(
    model.card.parameters,
    [...runs].reduce(
      (sum, [name, shape]) => sum + (name === 'lm_head.weight' ? 0 : shape.reduce((product, n) => product * n)),
      0,
    ),
  )
})

const windows: readonly (readonly [what: string, text: Json, window: number | undefined])[] = [
  ['sees its window', { model_type: 'mistral', sliding_window: 16 }, 16],
  ['sees MistralConfig’s 4,096 positions where nothing is said', { model_type: 'mistral' }, 4096],
  ['sees everything where the window is null', { model_type: 'mistral', sliding_window: null }, undefined],
  ['of kind llama has no window', { sliding_window: 16 }, undefined],
]

for (const [what, text, window] of windows) {
  test(`a decoder ${what}`, async (t) => {
    t.is((await describe(t, withText({ num_key_value_heads: tiny.Hk, ...text }))).config.text.slidingWindow, window)
  })
}

test('a Mistral without pictures opens', async (t) => {
  const config = {
    ...llavaConfig.text_config,
    architectures: ['MistralForCausalLM'],
    model_type: 'mistral',
    sliding_window: 8,
  }
  const model = await describe(t, { ...checkpoint(textShapes()), 'config.json': config })
  t.is(model.config.vision, undefined)
  t.is(model.config.text.slidingWindow, 8)
})

const layerRules: readonly (readonly [index: unknown, runs: number])[] = [
  [-1, 3],
  [-2, 2],
  [-4, 0],
  [0, 0],
  [1, 1],
  [3, 3],
  [[-2], 2],
]

for (const [index, count] of layerRules) {
  test(`vision_feature_layer ${JSON.stringify(index)} of three layers runs ${count}`, async (t) => {
    t.is((await describe(t, withConfig({ vision_feature_layer: index }))).config.vision?.layers, count)
  })
}

test('the option visionFeatureLayer wins over the checkpoint', async (t) => {
  t.is((await describe(t, checkpoint(), { visionFeatureLayer: -1 })).config.vision?.layers, 3)
})

test('strategy "full" keeps the class row', async (t) => {
  t.false((await describe(t, withConfig({ vision_feature_select_strategy: 'full' }))).config.vision?.dropClassRow)
})

test('a tower with exact GELU is honoured', async (t) => {
  t.is((await describe(t, withVision({ hidden_act: 'gelu' }))).config.vision?.activation, 'gelu')
})

const unsupported: readonly (readonly [what: string, files: Record<string, unknown>, message: RegExp])[] = [
  [
    'SigLIP with another activation',
    withVision({ model_type: 'siglip_vision_model', hidden_act: 'gelu' }),
    /"gelu" in a SigLIP tower/,
  ],
]

for (const [what, files, message] of unsupported) {
  test(`a checkpoint with ${what} is refused by name`, async (t) => {
    await t.throwsAsync(describe(t, files), { instanceOf: LlavaError, code: 'MODEL_UNSUPPORTED', message })
  })
}

// ---- side files

test('the image token is the added token with the configured id', async (t) => {
  t.deepEqual((await describe(t, checkpoint())).imageToken, { id: imageTokenId, text: '<image>' })
})

test('without an <image> in the tokenizer there is no image token', async (t) => {
  const plain = { ...tokenizerJson, added_tokens: tokenizerJson.added_tokens.filter(({ id }) => id !== imageTokenId) }
  t.is((await describe(t, { ...checkpoint(), 'tokenizer.json': plain })).imageToken, undefined)
})

test('the tokenizer keeps its pieces', async (t) => {
  t.deepEqual((await describe(t, checkpoint())).tokenizer.pieces, pieces)
})

const endings: readonly (readonly [what: string, files: Json, ids: readonly number[]])[] = [
  [
    'generation_config.json',
    {
      'generation_config.json': { eos_token_id: [2, 7], bos_token_id: 1 },
      'config.json': { ...llavaConfig, eos_token_id: 9 },
    },
    [2, 7],
  ],
  ['config.json', { 'config.json': { ...llavaConfig, eos_token_id: 9 } }, [9]],
  [
    'text_config',
    { 'config.json': { ...llavaConfig, text_config: { ...llavaConfig.text_config, eos_token_id: [4, 5] } } },
    [4, 5],
  ],
  ['the tokenizer', {}, [2]],
]

for (const [what, files, ids] of endings) {
  test(`end-of-text ids come from ${what}`, async (t) => {
    t.deepEqual((await describe(t, { ...checkpoint(), ...files })).generation.eosTokenIds, ids)
  })
}

test('sampling defaults come from generation_config.json', async (t) => {
  const { generation } = await describe(t, {
    ...checkpoint(),
    'generation_config.json': { do_sample: true, temperature: 0.9, top_p: 0.6, top_k: 40 },
  })
  t.deepEqual(generation, { eosTokenIds: [2], bosTokenId: 1, doSample: true, temperature: 0.9, topP: 0.6, topK: 40 })
})

const template = '{{ messages }}'
const templateFiles: readonly (readonly [what: string, files: Json])[] = [
  ['chat_template.jinja', { 'chat_template.jinja': template, 'chat_template.json': { chat_template: 'other' } }],
  [
    'chat_template.json',
    { 'chat_template.json': { chat_template: template }, 'tokenizer_config.json': { chat_template: 'other' } },
  ],
  ['processor_config.json', { 'processor_config.json': { chat_template: template } }],
  ['tokenizer_config.json', { 'tokenizer_config.json': { chat_template: template } }],
  [
    'the default of several named templates',
    {
      'tokenizer_config.json': {
        chat_template: [
          { name: 'tool', template: 'other' },
          { name: 'default', template },
        ],
      },
    },
  ],
]

for (const [what, files] of templateFiles) {
  test(`the chat template is read from ${what}`, async (t) => {
    t.is((await describe(t, { ...checkpoint(), ...files })).chatTemplate, template)
  })
}

const siglip = visionShapes()
for (const name of [
  'vision_tower.embeddings.class_embedding',
  'vision_tower.pre_layrnorm.weight',
  'vision_tower.pre_layrnorm.bias',
])
  siglip.delete(name)
siglip
  .set('vision_tower.embeddings.patch_embedding.bias', [tiny.Dv])
  .set('vision_tower.embeddings.position_embedding.weight', [4, tiny.Dv])
const siglipConfig = {
  ...llavaConfig,
  vision_feature_select_strategy: 'full',
  vision_config: {
    ...llavaConfig.vision_config,
    model_type: 'siglip_vision_model',
    image_size: 5,
    hidden_act: undefined,
  },
}
const unusedOfSiglip = [
  ['vision_tower.post_layernorm.weight', [tiny.Dv]],
  ['vision_tower.head.probe', [1, 1, tiny.Dv]],
  ['vision_tower.head.mlp.fc1.weight', [8, tiny.Dv]],
] as const
const siglipCheckpoint = (shapes = siglip): Record<string, unknown> => ({
  ...checkpoint(new Map([...textShapes(), ...shapes, ...unusedOfSiglip])),
  'config.json': siglipConfig,
})

test('a SigLIP tower has its class’s defaults, a bias on its patches, and no class row', async (t) => {
  const model = await describe(t, siglipCheckpoint())
  t.like(model.config.vision, {
    tower: 'siglip',
    activation: 'gelu_pytorch_tanh',
    layerNormEps: 1e-6,
    imageSize: 5,
    patchSize: 2,
    dropClassRow: false,
  })
  const names = model.tensors.map(({ name }) => name)
  t.true(names.includes('vision_tower.embeddings.patch_embedding.bias'))
  t.false(names.some((name) => /class_embedding|pre_layrnorm|post_layernorm|\.head\./.test(name)))
})

test('a SigLIP tower without a bias on its patches is MODEL_CORRUPT', async (t) => {
  const shapes = new Map(siglip)
  shapes.delete('vision_tower.embeddings.patch_embedding.bias')
  await t.throwsAsync(describe(t, siglipCheckpoint(shapes)), {
    code: 'MODEL_CORRUPT',
    message: /patch_embedding\.bias/,
  })
})

test('a SigLIP tower’s pictures are stretched, with SigLIP’s numbers', async (t) => {
  const expected = {
    imageSize: 5,
    aspectRatio: 'stretch',
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
    rescaleFactor: 1 / 255,
    shortestEdge: 5,
  } as const
  t.deepEqual<unknown, unknown>((await describe(t, siglipCheckpoint())).imageProcessor, expected)
  const stated = { image_processor_type: 'SiglipImageProcessor', size: { height: 5, width: 5 }, resample: 3 }
  const files = { ...siglipCheckpoint(), 'preprocessor_config.json': stated }
  t.deepEqual<unknown, unknown>((await describe(t, files)).imageProcessor, expected)
  t.is((await describe(t, files, { imageAspectRatio: 'pad' })).imageProcessor?.aspectRatio, 'pad')
})

test('CLIP’s processor stretches when it is given a height and a width', async (t) => {
  const stated = { ...plainProcessor, size: { height: 4, width: 4 } }
  t.is(
    (await describe(t, { ...checkpoint(), 'preprocessor_config.json': stated })).imageProcessor?.aspectRatio,
    'stretch',
  )
})

const plainProcessor = {
  image_processor_type: 'CLIPImageProcessor',
  size: { shortest_edge: 6 },
  crop_size: { height: 4, width: 4 },
  image_mean: [0.5, 0.4, 0.3],
  image_std: [0.5, 0.5, 0.25],
}
const plainSpec = {
  imageSize: 4,
  aspectRatio: 'crop',
  mean: [0.5, 0.4, 0.3],
  std: [0.5, 0.5, 0.25],
  rescaleFactor: 1 / 255,
  shortestEdge: 6,
}

test('preprocessing follows preprocessor_config.json', async (t) => {
  t.deepEqual<unknown, unknown>(
    (await describe(t, { ...checkpoint(), 'preprocessor_config.json': plainProcessor })).imageProcessor,
    plainSpec,
  )
})

test('preprocessing follows the image_processor inside processor_config.json', async (t) => {
  t.deepEqual<unknown, unknown>(
    (await describe(t, { ...checkpoint(), 'processor_config.json': { image_processor: plainProcessor } }))
      .imageProcessor,
    plainSpec,
  )
})

test('without a file preprocessing is CLIP’s own, cropped', async (t) => {
  t.like((await describe(t, checkpoint())).imageProcessor, {
    imageSize: 4,
    aspectRatio: 'crop',
    shortestEdge: 4,
    mean: [0.48145466, 0.4578275, 0.40821073],
  })
})

test('do_pad makes pictures square by padding, and an option wins over it', async (t) => {
  const files = {
    ...checkpoint(),
    'preprocessor_config.json': { ...plainProcessor, image_processor_type: 'LlavaImageProcessor', do_pad: true },
  }
  t.is((await describe(t, files)).imageProcessor?.aspectRatio, 'pad')
  t.is((await describe(t, files, { imageAspectRatio: 'crop' })).imageProcessor?.aspectRatio, 'crop')
})

test('do_rescale and do_normalize false leave pixel values as they are', async (t) => {
  const { imageProcessor } = await describe(t, {
    ...checkpoint(),
    'preprocessor_config.json': { ...plainProcessor, do_rescale: false, do_normalize: false },
  })
  t.like(imageProcessor, { rescaleFactor: 1, mean: [0, 0, 0], std: [1, 1, 1] })
})

test('the old spellings of sizes are read', async (t) => {
  const { imageProcessor } = await describe(t, {
    ...checkpoint(),
    'preprocessor_config.json': { feature_extractor_type: 'CLIPFeatureExtractor', size: 5, crop_size: 4, resample: 3 },
  })
  t.like(imageProcessor, { shortestEdge: 5, imageSize: 4 })
})

const refusedProcessors: readonly (readonly [what: string, change: Json, code: string])[] = [
  ['a stretch to another size', { size: { height: 5, width: 5 } }, 'MODEL_UNSUPPORTED'],
]

for (const [what, change, code] of refusedProcessors) {
  test(`preprocessing with ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(
      describe(t, { ...checkpoint(), 'preprocessor_config.json': { ...plainProcessor, ...change } }),
      {
        instanceOf: LlavaError,
        code,
      },
    )
  })
}
