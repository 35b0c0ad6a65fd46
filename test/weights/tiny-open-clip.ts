// CLIP checkpoints of transformers written as open_clip publishes them: other names, projections transposed, query, key
// and value matrices in one.

import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { readSafetensorsHeader } from '../../lib/weights/safetensors.js'
import { temporaryFolder } from './tiny-llava.js'

export interface Tensor {
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

export async function tensorsOf(directory: string): Promise<Tensor[]> {
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
export function openClipTensors(tensors: readonly Tensor[]): Tensor[] {
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

export function safetensors(tensors: readonly Tensor[]): Buffer {
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

export function openClipConfig(directory: string): { model_cfg: Record<string, unknown>; preprocess_cfg: object } {
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

/** A directory as open_clip publishes it, of one as transformers saves it. */
export async function openClip(
  t: ExecutionContext,
  directory: string,
  change: (tensors: Tensor[]) => Tensor[] = (tensors) => tensors,
): Promise<string> {
  const folder = await temporaryFolder(t)
  const vocabulary = ['vocab.json', 'merges.txt', 'tokenizer.json'].filter((name) =>
    existsSync(path.join(directory, name)),
  )
  for (const name of vocabulary) copyFileSync(path.join(directory, name), path.join(folder, name))
  writeFileSync(path.join(folder, 'open_clip_config.json'), JSON.stringify(openClipConfig(directory)))
  const tensors = change(openClipTensors(await tensorsOf(directory)))
  writeFileSync(path.join(folder, 'open_clip_model.safetensors'), safetensors(tensors))
  return folder
}
