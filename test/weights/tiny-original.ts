// The tiny LLaVA in the original layout: its names, its config.json, the CLIP directory that its tower lies in, and adapters for it.

import { zerosFile } from './pytorch-file.js'
import { safetensorsFile } from './safetensors-file.js'
import {
  addModules,
  clipLayers,
  textShapes,
  textSizes,
  tiny,
  tokenizerJson,
  visionShapes,
  visionSizes,
  type Shapes,
} from './tiny-llava.js'

export const originalName = (canonical: string): string => {
  const [, layer, kind] = /^multi_modal_projector\.linear_(\d+)\.(\w+)$/.exec(canonical) ?? []
  if (layer !== undefined) return `model.mm_projector.${2 * (Number(layer) - 1)}.${kind}`
  return canonical
    .replace(/^language_model\./, 'model.')
    .replace(/^vision_tower\./, 'model.vision_tower.vision_tower.vision_model.')
}

const isProjector = (name: string): boolean => name.startsWith('multi_modal_projector.')
export const towerShapes: Shapes = new Map([...visionShapes()].filter(([name]) => !isProjector(name)))
export const projectorShapes: Shapes = new Map([...visionShapes()].filter(([name]) => isProjector(name)))
/** What an original checkpoint holds itself. */
export const ownShapes: Shapes = new Map([...textShapes(), ...projectorShapes])
/** What runs of everything: two of the tower's three layers. */
export const running: Shapes = new Map([...textShapes(), ...visionShapes(2)])

export const llamaConfig = { ...textSizes, rope_scaling: null }

export const originalConfig = {
  ...llamaConfig,
  architectures: ['LlavaLlamaForCausalLM'],
  model_type: 'llava',
  image_aspect_ratio: 'pad',
  mm_hidden_size: tiny.Dv,
  mm_projector_type: 'mlp2x_gelu',
  mm_use_im_patch_token: false,
  mm_use_im_start_end: false,
  mm_vision_select_feature: 'patch',
  mm_vision_select_layer: -2,
  mm_vision_tower: 'openai/clip-vit-tiny',
}

const plainTokenizer = {
  ...tokenizerJson,
  added_tokens: tokenizerJson.added_tokens.filter(({ content }) => content !== '<image>'),
}

const stored = (shapes: Iterable<readonly [string, readonly number[]]>, dtype = 'F16'): Buffer =>
  safetensorsFile([...shapes].map(([name, shape]) => ({ name, dtype, shape })))

export const renamed = (shapes: Shapes, rename: (name: string) => string): [string, readonly number[]][] =>
  [...shapes].map(([name, shape]) => [rename(name), shape])

export function originalCheckpoint(
  config: object = originalConfig,
  shapes: Shapes = ownShapes,
): Record<string, unknown> {
  return {
    'config.json': config,
    'tokenizer.json': plainTokenizer,
    'model.safetensors': stored(renamed(shapes, originalName)),
  }
}

/** The base of an adapter: a language model by itself. */
export function languageCheckpoint(): Record<string, unknown> {
  return originalCheckpoint({ ...llamaConfig, architectures: ['LlamaForCausalLM'], model_type: 'llama' }, textShapes())
}

export const clipText = { D: 12, F: 20, layers: 2, heads: 3, vocab: 200, context: 9, projection: 10 } as const

/** The text half of the tiny CLIP and the two projections, by canonical name. */
export function clipShapes(): Map<string, readonly number[]> {
  const { D, F, layers, vocab, context, projection } = clipText
  const shapes = new Map<string, readonly number[]>([
    ...towerShapes,
    ['vision_tower.post_layernorm.weight', [tiny.Dv]],
    ['vision_tower.post_layernorm.bias', [tiny.Dv]],
    ['visual_projection.weight', [projection, tiny.Dv]],
    ['text_projection.weight', [projection, D]],
    ['text_model.embeddings.token_embedding.weight', [vocab, D]],
    ['text_model.embeddings.position_embedding.weight', [context, D]],
  ])
  addModules(shapes, { 'text_model.final_layer_norm': [D], ...clipLayers('text_model', layers, D, F) })
  return shapes
}

export const clipConfig = {
  model_type: 'clip',
  projection_dim: clipText.projection,
  text_config: {
    model_type: 'clip_text_model',
    hidden_size: clipText.D,
    intermediate_size: clipText.F,
    num_hidden_layers: clipText.layers,
    num_attention_heads: clipText.heads,
    max_position_embeddings: clipText.context,
    vocab_size: clipText.vocab,
  },
  vision_config: {
    model_type: 'clip_vision_model',
    ...visionSizes,
  },
}

const printable = Array.from({ length: 0x7f - 0x21 }, (_, n) => String.fromCharCode(0x21 + n)).concat('Ġ')
/** What CLIP's tokenizer asks for at least. */
export const clipVocabulary = Object.fromEntries(
  [...printable, ...printable.map((symbol) => `${symbol}</w>`), '<|startoftext|>', '<|endoftext|>'].map((piece, id) => [
    piece,
    id,
  ]),
)

export const clipName = (canonical: string): string => canonical.replace(/^vision_tower\./, 'vision_model.')

export function clipCheckpoint(config: object = clipConfig, shapes: Shapes = clipShapes()): Record<string, unknown> {
  const names = renamed(shapes, clipName)
  return {
    'config.json': config,
    'pytorch_model.bin': zerosFile([...names, ['logit_scale', []]]),
    'vocab.json': clipVocabulary,
    'merges.txt': '#version: 0.2\n',
  }
}

export interface AdapterParts {
  readonly settings?: object
  /** Module as the file calls it -> [in, out]. */
  readonly modules?: Readonly<Record<string, readonly [input: number, out: number]>>
  readonly rank?: number
}

const attention = {
  'base_model.model.model.layers.0.self_attn.q_proj': [tiny.D, tiny.H * tiny.Dh],
  'base_model.model.model.layers.1.mlp.down_proj': [tiny.F, tiny.D],
} as const

/** What PEFT saves; `lora_alpha` 6 over rank 3. */
export function adapterFiles({ settings = {}, modules = attention, rank = 3 }: AdapterParts = {}): Record<
  string,
  unknown
> {
  const shapes = Object.entries(modules).flatMap(([module, [input, out]]) => [
    [`${module}.lora_A.weight`, [rank, input]] as const,
    [`${module}.lora_B.weight`, [out, rank]] as const,
  ])
  return {
    'adapter_config.json': { peft_type: 'LORA', r: rank, lora_alpha: 6, bias: 'none', ...settings },
    'adapter_model.safetensors': stored(shapes, 'F32'),
  }
}

/** Tensors saved whole, under an adapter's prefix. */
export function wholeFile(shapes: Shapes, prefix = 'base_model.model.'): Buffer {
  return zerosFile(renamed(shapes, (name) => prefix + originalName(name)))
}
