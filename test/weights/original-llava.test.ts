import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import type { DescribeOptions, ModelDescription } from '../../lib/weights/model-description.js'
import { safetensorsFile } from './safetensors-file.js'
import { temporaryFolder, textShapes, tiny, visionShapes, writeFiles, type Shapes } from './tiny-llava.js'
import {
  clipCheckpoint,
  clipConfig,
  originalCheckpoint,
  originalConfig,
  originalName,
  ownShapes,
  projectorShapes,
  renamed,
  running,
  towerShapes,
  wholeFile,
} from './tiny-original.js'
import { zerosFile } from './pytorch-file.js'

type Files = Readonly<Record<string, unknown>>
type Folders = Readonly<Record<string, Files>>

/** Opens `llava/` of folders with these files; a path in `options` counts from the folder that holds them all. */
async function describe(
  t: ExecutionContext,
  folders: Folders,
  options: DescribeOptions = {},
): Promise<ModelDescription> {
  const root = await temporaryFolder(t)
  for (const [name, files] of Object.entries(folders)) await writeFiles(path.join(root, name), files)
  const { visionTower } = options
  return describeModel(path.join(root, 'llava'), {
    ...options,
    ...(visionTower !== undefined && { visionTower: path.join(root, visionTower) }),
  })
}

const shapesOf = (model: ModelDescription): Record<string, readonly number[]> =>
  Object.fromEntries(model.tensors.map(({ name, shape }) => [name, shape]))
const withConfig = (changes: object, shapes: Shapes = ownShapes): Files =>
  originalCheckpoint({ ...originalConfig, ...changes }, shapes)
const clip = clipCheckpoint()

const places: readonly (readonly [where: string, folders: Folders, options?: DescribeOptions])[] = [
  [
    'beside the checkpoint under its name',
    { llava: originalCheckpoint(), 'clip-vit-tiny': clip, 'another-clip': clip },
  ],
  ['inside the checkpoint under its name', { llava: originalCheckpoint(), 'llava/clip-vit-tiny': clip, another: clip }],
  [
    'beside the checkpoint under another name',
    { llava: originalCheckpoint(), anything: clip, other: originalCheckpoint() },
  ],
  [
    'where the option says',
    { llava: originalCheckpoint(), 'clip-vit-tiny': clipCheckpoint({ model_type: 'clip' }), 'far/away': clip },
    { visionTower: 'far/away' },
  ],
  [
    'in a directory with the tower alone',
    { llava: originalCheckpoint(), tower: { ...clip, 'config.json': clipConfig.vision_config } },
  ],
]

for (const [where, folders, options] of places) {
  test(`the original layout opens with its CLIP ${where}`, async (t) => {
    const model = await describe(t, folders, options)
    t.is(model.format, 'hf-directory')
    t.deepEqual(shapesOf(model), Object.fromEntries(running))
    t.is(model.imageToken, undefined)
    t.like(model.config.vision, { layers: 2, heads: tiny.Hv, dropClassRow: true, projectorLayers: 2 })
  })
}

test('a tower saved without a prefix, as newer transformers does, is found', async (t) => {
  const shapes = [...towerShapes].map(([name, shape]) => [name.replace(/^vision_tower\./, ''), shape] as const)
  const tower = { 'config.json': clipConfig.vision_config, 'pytorch_model.bin': zerosFile(shapes) }
  t.deepEqual(shapesOf(await describe(t, { llava: originalCheckpoint(), tower })), Object.fromEntries(running))
})

test('sizes of early files, which stand in vision_config_dict, are read', async (t) => {
  const { vision_config, ...rest } = clipConfig
  const config = { ...rest, vision_config: { model_type: 'clip_vision_model' }, vision_config_dict: vision_config }
  t.like((await describe(t, { llava: originalCheckpoint(), 'clip-vit-tiny': clipCheckpoint(config) })).config.vision, {
    imageSize: tiny.image,
    heads: tiny.Hv,
  })
})

test('mm_projector.bin is opened where the shards lack the projector, and only there', async (t) => {
  const without = { ...withConfig({}, textShapes()), 'mm_projector.bin': wholeFile(projectorShapes, '') }
  t.deepEqual(shapesOf(await describe(t, { llava: without, clip })), Object.fromEntries(running))
  const both = await describe(t, { llava: { ...originalCheckpoint(), 'mm_projector.bin': 'anything' }, clip })
  t.deepEqual(shapesOf(both), Object.fromEntries(running))
})

test('.bin shards are joined by their index', async (t) => {
  const names = renamed(ownShapes, originalName)
  const [one, two] = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin']
  const half = (part: number): Buffer => zerosFile(names.filter((_, i) => i % 2 === part))
  const index = { weight_map: Object.fromEntries(names.map(([name], i) => [name, i % 2 === 0 ? one : two])) }
  const llava = {
    ...originalCheckpoint(),
    'model.safetensors': undefined,
    'pytorch_model.bin.index.json': index,
    [one]: half(0),
    [two]: half(1),
  }
  const model = await describe(t, { llava, clip })
  t.deepEqual(shapesOf(model), Object.fromEntries(running))
  t.is(model.card.languageDtype, 'F32')
})

const embedded = (changes: object = {}): Files => withConfig(changes, new Map([...textShapes(), ...visionShapes()]))

test('a tower in the checkpoint itself wins over a CLIP directory, which gives its configuration', async (t) => {
  const model = await describe(t, { llava: embedded(), clip })
  t.deepEqual(shapesOf(model), Object.fromEntries(running))
  t.deepEqual(
    model.files.map((file) => path.basename(file)),
    ['model.safetensors'],
  )
  t.is(model.config.vision?.heads, tiny.Hv)
})

test('an OpenAI tower in the checkpoint needs no CLIP directory', async (t) => {
  const model = await describe(t, { llava: embedded({ mm_vision_tower: 'openai/clip-vit-large-patch14-336' }) })
  t.like(model.config.vision, { heads: 1, activation: 'quick_gelu', layers: 2, imageSize: tiny.image })
})

const projectors: readonly (readonly [kind: string | undefined, layers: number, names: readonly string[]])[] = [
  ['linear', 1, ['model.mm_projector']],
  [undefined, 1, ['model.mm_projector']],
  ['mlp1x_gelu', 1, ['model.mm_projector.0']],
  ['mlp3x_gelu', 3, ['model.mm_projector.0', 'model.mm_projector.2', 'model.mm_projector.4']],
]

for (const [kind, layers, names] of projectors) {
  test(`mm_projector_type ${String(kind)} has ${layers} linear layers`, async (t) => {
    const projector = names.flatMap((name, n) => [
      [`${name}.weight`, [tiny.D, n === 0 ? tiny.Dv : tiny.D]] as const,
      [`${name}.bias`, [tiny.D]] as const,
    ])
    const stored = [...renamed(textShapes(), originalName), ...projector].map(([name, shape]) => ({
      name,
      dtype: 'BF16',
      shape,
    }))
    const llava = { ...withConfig({ mm_projector_type: kind }), 'model.safetensors': safetensorsFile(stored) }
    const model = await describe(t, { llava, clip })
    t.is(model.config.vision?.projectorLayers, layers)
    t.deepEqual(shapesOf(model)[`multi_modal_projector.linear_${layers}.bias`], [tiny.D])
  })
}

test('image_aspect_ratio decides how pictures become square, and an option wins over it', async (t) => {
  const aspect = async (image_aspect_ratio: string | undefined, options?: DescribeOptions): Promise<unknown> =>
    (await describe(t, { llava: withConfig({ image_aspect_ratio }), clip }, options)).imageProcessor?.aspectRatio
  t.deepEqual(
    [
      await aspect('pad'),
      await aspect('square'),
      await aspect(undefined),
      await aspect('square', { imageAspectRatio: 'pad' }),
    ],
    ['pad', 'crop', 'crop', 'pad'],
  )
})

test('preprocessing is the CLIP directory’s', async (t) => {
  const processor = {
    'preprocessor_config.json': { crop_size: 4, size: 4, image_mean: [0.5, 0.4, 0.3], image_std: [0.5, 0.5, 0.25] },
  }
  const model = await describe(t, { llava: originalCheckpoint(), clip: { ...clip, ...processor } })
  t.like(model.imageProcessor, { mean: [0.5, 0.4, 0.3], std: [0.5, 0.5, 0.25] })
})

test('mm_vision_select_layer and _feature choose the rows', async (t) => {
  const { config } = await describe(t, {
    llava: withConfig({ mm_vision_select_layer: 1, mm_vision_select_feature: 'cls_patch' }),
    clip,
  })
  t.like(config.vision, { layers: 1, dropClassRow: false })
})

test('an original LLaVA on Mistral has Mistral’s window', async (t) => {
  const llava = withConfig({ architectures: ['LlavaMistralForCausalLM'], model_type: 'llava_mistral' })
  t.is((await describe(t, { llava, clip })).config.text.slidingWindow, 4096)
})

test('model_type llava without architectures is the original where it names a tower', async (t) => {
  t.is((await describe(t, { llava: withConfig({ architectures: undefined }), clip })).config.vision?.projectorLayers, 2)
})

test('the first LLaVA’s tokens around images are those of the tokenizer, or are added behind it', async (t) => {
  const flags = { mm_use_im_start_end: true, mm_use_im_patch_token: true }
  const bare = { ...withConfig(flags), 'tokenizer.json': undefined, 'tokenizer.model': sentencePieces() }
  const added = await describe(t, { llava: bare, clip })
  t.deepEqual(added.imageTokens, { start: { id: 263, text: '<im_start>' }, end: { id: 264, text: '<im_end>' } })
  const listed = { ...bare, 'added_tokens.json': { '<im_start>': 266, '<im_end>': 265, '<im_patch>': 262 } }
  t.deepEqual((await describe(t, { llava: listed, clip })).imageTokens, {
    start: { id: 266, text: '<im_start>' },
    end: { id: 265, text: '<im_end>' },
  })
})

const failures: readonly (readonly [
  what: string,
  code: string,
  folders: Folders,
  message: RegExp,
  options?: DescribeOptions,
])[] = [
  [
    'a SigLIP tower',
    'MODEL_UNSUPPORTED',
    { llava: withConfig({ mm_vision_tower: 'google/siglip-so400m-patch14-384' }), clip },
    /siglip.*CLIP/,
  ],
]

for (const [what, code, folders, message, options] of failures) {
  test(`the original layout with ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(describe(t, folders, options), { instanceOf: LlavaError, code, message })
  })
}

test('mm_vision_tower is only ever looked for by its last part', async (t) => {
  const folders = { llava: withConfig({ mm_vision_tower: '../../etc/clip-vit-tiny/' }), 'clip-vit-tiny': clip }
  t.is((await describe(t, folders)).config.vision?.layers, 2)
  await t.throwsAsync(describe(t, { llava: withConfig({ mm_vision_tower: '/..' }) }), { code: 'MODEL_NOT_FOUND' })
})

/** A SentencePiece model of 262 pieces: unknown, BOS, EOS, the bytes, three letters. */
function sentencePieces(): Buffer {
  const field = (number: number, bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([(number << 3) | 2]), varint(bytes.length), bytes])
  const varint = (value: number): Buffer =>
    value < 128 ? Buffer.from([value]) : Buffer.from([(value & 127) | 128, value >> 7])
  const score = Buffer.concat([Buffer.from([0x15]), Buffer.from(Float32Array.of(0).buffer)])
  const piece = (text: string, type: number): Buffer =>
    field(1, Buffer.concat([field(1, Buffer.from(text)), score, Buffer.from([0x18, type])]))
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    piece(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 6),
  )
  const trainer = Buffer.from([0x18, 2, 0x98, 0x02, 1]) // model_type BPE, byte_fallback
  const normalizer = Buffer.concat([Buffer.from([0x0a, 8]), Buffer.from('identity'), Buffer.from([0x20, 0])]) // remove_extra_whitespaces false
  return Buffer.concat([
    piece('<unk>', 2),
    piece('<s>', 3),
    piece('</s>', 3),
    ...bytes,
    piece('a', 1),
    piece('b', 1),
    piece('▁', 1),
    field(2, trainer),
    field(3, normalizer),
  ])
}
