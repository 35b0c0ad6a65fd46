// A CLIP as open_clip publishes it is the same CLIP: the tiny checkpoint of transformers under open_clip's names, its projections transposed and its query, key and
// value matrices in one, gives the same vectors bit for bit.

import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { CLIP, type ClipInput } from '../../lib/index.js'
import { describeClip } from '../../lib/weights/describe-clip.js'
import { readSafetensorsHeader } from '../../lib/weights/safetensors.js'
import { zerosFile } from './pytorch-file.js'
import { temporaryFolder, writeFiles } from './tiny-llava.js'

const checkpoint = fileURLToPath(new URL('../../../test/fixtures/clip/checkpoint/', import.meta.url))
const picture = path.join(checkpoint, '../../pictures/rgb.png')
const packaged = fileURLToPath(new URL('../../../models/clip/', import.meta.url))

interface Tensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data: Buffer
}

interface Sizes {
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly image_size: number
  readonly patch_size: number
  readonly max_position_embeddings: number
  readonly hidden_act: string
}

function openClipName(name: string): string {
  return name
    .replace('vision_model.embeddings.class_embedding', 'visual.class_embedding')
    .replace('vision_model.embeddings.position_embedding.weight', 'visual.positional_embedding')
    .replace('vision_model.embeddings.patch_embedding', 'visual.conv1')
    .replace('vision_model.pre_layrnorm', 'visual.ln_pre')
    .replace('vision_model.post_layernorm', 'visual.ln_post')
    .replace('text_model.embeddings.token_embedding', 'token_embedding')
    .replace('text_model.embeddings.position_embedding.weight', 'positional_embedding')
    .replace('text_model.final_layer_norm', 'ln_final')
    .replace('vision_model.encoder.layers.', 'visual.transformer.resblocks.')
    .replace('text_model.encoder.layers.', 'transformer.resblocks.')
    .replace('.layer_norm', '.ln_')
    .replace('.self_attn.out_proj', '.attn.out_proj')
    .replace('.mlp.fc1', '.mlp.c_fc')
    .replace('.mlp.fc2', '.mlp.c_proj')
    .replace('visual_projection.weight', 'visual.proj')
    .replace('text_projection.weight', 'text_projection')
}

function transposed({ shape, data, ...tensor }: Tensor): Tensor {
  const [rows = 0, columns = 0] = shape
  const size = data.length / rows / columns
  const out = Buffer.alloc(data.length)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      data.copy(out, (column * rows + row) * size, (row * columns + column) * size, (row * columns + column + 1) * size)
  }
  return { ...tensor, shape: [columns, rows], data: out }
}

async function tensorsOf(directory: string): Promise<Tensor[]> {
  const file = path.join(directory, 'model.safetensors')
  const bytes = readFileSync(file)
  const header = await readSafetensorsHeader(file)
  return header.map(({ name, dtype, shape, offset, nbytes }) => ({
    name,
    dtype,
    shape,
    data: bytes.subarray(offset, offset + nbytes),
  }))
}

/** The same weights as open_clip has them. */
function openClipTensors(tensors: readonly Tensor[]): Tensor[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  return tensors.flatMap((tensor): Tensor[] => {
    if (/\.[kv]_proj\./.test(tensor.name)) return []
    if (tensor.name.includes('.q_proj.')) {
      const parts = ['q', 'k', 'v'].map((each) => byName.get(tensor.name.replace('.q_proj.', `.${each}_proj.`))!)
      const name = openClipName(tensor.name).replace('self_attn.q_proj.', 'attn.in_proj_')
      const [rows = 0, ...rest] = tensor.shape
      return [{ ...tensor, name, shape: [3 * rows, ...rest], data: Buffer.concat(parts.map(({ data }) => data)) }]
    }
    const renamed = { ...tensor, name: openClipName(tensor.name) }
    return [tensor.name.endsWith('_projection.weight') ? transposed(renamed) : renamed]
  })
}

function safetensors(tensors: readonly Tensor[]): Buffer {
  let at = 0
  const entries = tensors.map(({ name, dtype, shape, data }) => {
    at += data.length
    return [name, { dtype, shape, data_offsets: [at - data.length, at] }] as const
  })
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header, ...tensors.map(({ data }) => data)])
}

function openClipConfig(directory: string): { model_cfg: Record<string, unknown>; preprocess_cfg: object } {
  const { vision_config: vision, text_config: text } = JSON.parse(
    readFileSync(path.join(directory, 'config.json'), 'utf8'),
  ) as Readonly<Record<'vision_config' | 'text_config', Sizes>>
  return {
    model_cfg: {
      embed_dim: 16,
      vision_cfg: {
        image_size: vision.image_size,
        layers: vision.num_hidden_layers,
        width: vision.hidden_size,
        head_width: vision.hidden_size / vision.num_attention_heads,
        patch_size: vision.patch_size,
      },
      text_cfg: {
        context_length: text.max_position_embeddings,
        vocab_size: 1,
        width: text.hidden_size,
        heads: text.num_attention_heads,
        layers: text.num_hidden_layers,
      },
      quick_gelu: vision.hidden_act === 'quick_gelu',
    },
    preprocess_cfg: { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
  }
}

async function openClip(
  t: ExecutionContext,
  directory: string,
  change: (tensors: Tensor[]) => Tensor[] = (tensors) => tensors,
): Promise<string> {
  const folder = await temporaryFolder(t)
  for (const name of ['vocab.json', 'merges.txt', 'tokenizer.json']) {
    try {
      copyFileSync(path.join(directory, name), path.join(folder, name))
    } catch {
      // this one has another form of vocabulary
    }
  }
  writeFileSync(path.join(folder, 'open_clip_config.json'), JSON.stringify(openClipConfig(directory)))
  const tensors = change(openClipTensors(await tensorsOf(directory)))
  writeFileSync(path.join(folder, 'open_clip_model.safetensors'), safetensors(tensors))
  return folder
}

const inputs: readonly ClipInput[] = [picture, { text: 'a red square' }, { text: 'A cat, and the rest of it …' }]

for (const [name, directory] of [
  ['float32', checkpoint],
  ['the float16 one of the package', packaged],
] as const) {
  test(`under open_clip's names the vectors are the same bits: ${name}`, async (t) => {
    await using theirs = await CLIP.open(await openClip(t, directory), { threads: 2 })
    await using ours = await CLIP.open(directory, { threads: 2 })
    t.deepEqual(await theirs.embed(inputs), await ours.embed(inputs))
    t.deepEqual({ ...theirs.info(), path: directory }, { ...ours.info(), path: directory })
  })
}

test('a text tower under `text.`, as CustomTextCLIP has it, is the same', async (t) => {
  const folder = await openClip(t, checkpoint, (tensors) =>
    tensors.map((tensor) =>
      tensor.name.startsWith('visual.') || tensor.name === 'logit_scale'
        ? tensor
        : { ...tensor, name: `text.${tensor.name}` },
    ),
  )
  await using custom = await CLIP.open(folder, { threads: 2 })
  await using plain = await CLIP.open(checkpoint, { threads: 2 })
  t.deepEqual(await custom.embed(inputs), await plain.embed(inputs))
})

test('its .bin is read as well, and a directory with both forms is read as transformers has it', async (t) => {
  const folder = await openClip(t, checkpoint)
  const names = openClipTensors(await tensorsOf(checkpoint)).map(({ name, shape }) => [name, shape] as const)
  await writeFiles(folder, { 'open_clip_pytorch_model.bin': zerosFile(names) })
  rmSync(path.join(folder, 'open_clip_model.safetensors'))
  const clip = await describeClip(folder)
  t.true(clip.files.every((file) => file.endsWith('open_clip_pytorch_model.bin')))
  for (const name of ['config.json', 'model.safetensors'])
    copyFileSync(path.join(checkpoint, name), path.join(folder, name))
  t.deepEqual((await describeClip(folder)).files, [path.join(folder, 'model.safetensors')])
})

test('what is another architecture, or damaged, is said with a code', async (t) => {
  const folder = await openClip(t, checkpoint)
  const open = (change: (config: ReturnType<typeof openClipConfig>) => void) => {
    const config = openClipConfig(checkpoint)
    change(config)
    writeFileSync(path.join(folder, 'open_clip_config.json'), JSON.stringify(config))
    return describeClip(folder)
  }
  const vision = (config: ReturnType<typeof openClipConfig>) =>
    config.model_cfg['vision_cfg'] as Record<string, unknown>
  const text = (config: ReturnType<typeof openClipConfig>) => config.model_cfg['text_cfg'] as Record<string, unknown>
  const unsupported = { code: 'MODEL_UNSUPPORTED' } as const
  await t.throwsAsync(
    open((config) => (vision(config)['timm_model_name'] = 'vit')),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (vision(config)['layers'] = [3, 4, 6, 3])),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (text(config)['hf_model_name'] = 'roberta')),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (text(config)['pool_type'] = 'last')),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (config.preprocess_cfg = { interpolation: 'bilinear' })),
    unsupported,
  )
  await t.throwsAsync(
    open((config) => (text(config)['width'] = 48)),
    { code: 'MODEL_CORRUPT' },
  )
  await t.throwsAsync(
    open((config) => delete config.model_cfg['text_cfg']),
    { code: 'MODEL_CORRUPT' },
  )
  const cut = await openClip(t, checkpoint, (tensors) => tensors.filter(({ name }) => !name.includes('in_proj_bias')))
  await t.throwsAsync(describeClip(cut), { code: 'MODEL_CORRUPT', message: /q_proj\.bias/ })
  rmSync(path.join(cut, 'open_clip_model.safetensors'))
  await t.throwsAsync(describeClip(cut), { code: 'MODEL_NOT_FOUND', message: /open_clip_model\.safetensors/ })
})
