// A LLaVA small enough to write in a test: its tensors by canonical name, its config.json, its GGUF keys, and a folder to put them in.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { ggufFile, type GgufKey, type GgufTensorInfo } from './gguf-file.js'
import { safetensorsFile } from './safetensors-file.js'

export const tiny = {
  D: 32,
  F: 64,
  H: 4,
  Hk: 2,
  Dh: 8,
  V: 270,
  layers: 2,
  Dv: 64,
  Fv: 96,
  Hv: 2,
  visionLayers: 3,
  patch: 2,
  image: 4,
} as const

export type Shapes = ReadonlyMap<string, readonly number[]>

/** Canonical names and row-major shapes of the language model. */
export function textShapes({ D, F, H, Hk, Dh, V, layers }: Readonly<Record<keyof typeof tiny, number>> = tiny): Map<
  string,
  readonly number[]
> {
  const shapes = new Map<string, readonly number[]>([
    ['language_model.embed_tokens.weight', [V, D]],
    ['language_model.norm.weight', [D]],
    ['lm_head.weight', [V, D]],
  ])
  const leaves: Readonly<Record<string, readonly number[]>> = {
    input_layernorm: [D],
    post_attention_layernorm: [D],
    'self_attn.q_proj': [H * Dh, D],
    'self_attn.k_proj': [Hk * Dh, D],
    'self_attn.v_proj': [Hk * Dh, D],
    'self_attn.o_proj': [D, H * Dh],
    'mlp.gate_proj': [F, D],
    'mlp.up_proj': [F, D],
    'mlp.down_proj': [D, F],
  }
  for (let n = 0; n < layers; n++)
    for (const [leaf, shape] of Object.entries(leaves)) shapes.set(`language_model.layers.${n}.${leaf}.weight`, shape)
  return shapes
}

/** Canonical names and row-major shapes of tower and projector. */
export function visionShapes(
  layers: number = tiny.visionLayers,
  { D, Dv, Fv, patch, image }: Readonly<Record<keyof typeof tiny, number>> = tiny,
): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>([
    ['vision_tower.embeddings.class_embedding', [Dv]],
    ['vision_tower.embeddings.patch_embedding.weight', [Dv, 3, patch, patch]],
    ['vision_tower.embeddings.position_embedding.weight', [(image / patch) ** 2 + 1, Dv]],
  ])
  addModules(shapes, {
    'vision_tower.pre_layrnorm': [Dv],
    'multi_modal_projector.linear_1': [D, Dv],
    'multi_modal_projector.linear_2': [D, D],
    ...clipLayers('vision_tower', layers, Dv, Fv),
  })
  return shapes
}

/** Modules of CLIP's transformer, of the tower or of its text half, with the shapes of their weights. */
export function clipLayers(
  part: string,
  layers: number,
  width: number,
  inner: number,
): Record<string, readonly number[]> {
  const modules: Record<string, readonly number[]> = {}
  for (let n = 0; n < layers; n++) {
    const layer = `${part}.encoder.layers.${n}`
    for (const norm of ['layer_norm1', 'layer_norm2']) modules[`${layer}.${norm}`] = [width]
    for (const projection of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      modules[`${layer}.self_attn.${projection}`] = [width, width]
    modules[`${layer}.mlp.fc1`] = [inner, width]
    modules[`${layer}.mlp.fc2`] = [width, inner]
  }
  return modules
}

/** Adds each module's weight and bias. */
export function addModules(
  shapes: Map<string, readonly number[]>,
  modules: Readonly<Record<string, readonly number[]>>,
): void {
  for (const [module, shape] of Object.entries(modules)) {
    shapes.set(`${module}.weight`, shape)
    shapes.set(`${module}.bias`, shape.slice(0, 1))
  }
}

/** Byte pieces and specials: enough for a tokenizer to open. `<image>` is the last id. */
export const pieces: readonly string[] = [
  '<unk>',
  '<s>',
  '</s>',
  ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  ...Array.from('▁abcdefghi'),
  '<image>',
]
export const imageTokenId = pieces.indexOf('<image>')

export const tokenizerJson = {
  added_tokens: [0, 1, 2, imageTokenId].map((id) => ({
    id,
    content: pieces[id],
    special: true,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  })),
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  model: {
    type: 'BPE',
    unk_token: '<unk>',
    byte_fallback: true,
    vocab: Object.fromEntries(pieces.slice(0, -1).map((piece, id) => [piece, id])),
    merges: [],
  },
}

/** The language model as config.json has it. */
export const textSizes = {
  hidden_size: tiny.D,
  intermediate_size: tiny.F,
  num_hidden_layers: tiny.layers,
  num_attention_heads: tiny.H,
  num_key_value_heads: tiny.Hk,
  vocab_size: tiny.V,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
}

/** The tower as config.json has it. */
export const visionSizes = {
  hidden_size: tiny.Dv,
  intermediate_size: tiny.Fv,
  num_hidden_layers: tiny.visionLayers,
  num_attention_heads: tiny.Hv,
  image_size: tiny.image,
  patch_size: tiny.patch,
}

export const llavaConfig = {
  architectures: ['LlavaForConditionalGeneration'],
  model_type: 'llava',
  image_token_index: imageTokenId,
  vision_feature_layer: -2,
  vision_feature_select_strategy: 'default',
  projector_hidden_act: 'gelu',
  text_config: {
    model_type: 'llama',
    ...textSizes,
    rope_parameters: { rope_type: 'default', rope_theta: 10000 },
  },
  vision_config: {
    model_type: 'clip_vision_model',
    ...visionSizes,
    hidden_act: 'quick_gelu',
  },
}

/** How transformers 5 saves a model it made. */
export const savedName = (canonical: string): string => {
  if (canonical === 'lm_head.weight') return 'language_model.lm_head.weight'
  return canonical.replace(/^language_model\./, 'language_model.model.')
}

export async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'llava-weights-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

/** Writes each file: objects as JSON, buffers and strings as they are, `undefined` not at all. */
export async function writeFiles(folder: string, files: Readonly<Record<string, unknown>>): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    if (content === undefined) continue
    await writeFile(
      path.join(folder, name),
      typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content),
    )
  }
}

/** The files of a Hugging Face checkpoint of the tiny model. */
export function checkpoint(
  shapes: Shapes = new Map([...textShapes(), ...visionShapes()]),
  fileName: (canonical: string) => string = savedName,
  dtype = 'F32',
): Record<string, unknown> {
  return {
    'config.json': llavaConfig,
    'tokenizer.json': tokenizerJson,
    'model.safetensors': safetensorsFile(
      [...shapes].map(([name, shape]) => ({ name: fileName(name), dtype, shape })),
      { format: 'pt' },
    ),
  }
}

export const languageKeys: readonly GgufKey[] = [
  { key: 'general.architecture', type: 'string', value: 'llama' },
  { key: 'general.name', type: 'string', value: 'tiny' },
  { key: 'llama.context_length', type: 'u32', value: 256 },
  { key: 'llama.embedding_length', type: 'u32', value: tiny.D },
  { key: 'llama.block_count', type: 'u32', value: tiny.layers },
  { key: 'llama.feed_forward_length', type: 'u32', value: tiny.F },
  { key: 'llama.attention.head_count', type: 'u32', value: tiny.H },
  { key: 'llama.attention.head_count_kv', type: 'u32', value: tiny.Hk },
  { key: 'llama.attention.layer_norm_rms_epsilon', type: 'f32', value: 1e-5 },
  { key: 'tokenizer.ggml.model', type: 'string', value: 'llama' },
  { key: 'tokenizer.ggml.tokens', type: ['string'], value: pieces },
  { key: 'tokenizer.ggml.scores', type: ['f32'], value: pieces.map((_, id) => -id) },
  {
    key: 'tokenizer.ggml.token_type',
    type: ['i32'],
    value: pieces.map((piece, id) => (id === 0 ? 2 : id < 3 || piece === '<image>' ? 3 : id < 259 ? 6 : 1)),
  },
  { key: 'tokenizer.ggml.bos_token_id', type: 'u32', value: 1 },
  { key: 'tokenizer.ggml.eos_token_id', type: 'u32', value: 2 },
  { key: 'tokenizer.ggml.unknown_token_id', type: 'u32', value: 0 },
]

export const visionKeys: readonly GgufKey[] = [
  { key: 'general.architecture', type: 'string', value: 'clip' },
  { key: 'clip.projector_type', type: 'string', value: 'mlp' },
  { key: 'clip.use_gelu', type: 'bool', value: false },
  { key: 'clip.vision.image_size', type: 'u32', value: tiny.image },
  { key: 'clip.vision.patch_size', type: 'u32', value: tiny.patch },
  { key: 'clip.vision.embedding_length', type: 'u32', value: tiny.Dv },
  { key: 'clip.vision.feed_forward_length', type: 'u32', value: tiny.Fv },
  { key: 'clip.vision.attention.head_count', type: 'u32', value: tiny.Hv },
  { key: 'clip.vision.attention.layer_norm_epsilon', type: 'f32', value: 1e-5 },
  { key: 'clip.vision.block_count', type: 'u32', value: tiny.visionLayers },
  { key: 'clip.vision.image_mean', type: ['f32'], value: [0.5, 0.25, 0.125] },
  { key: 'clip.vision.image_std', type: ['f32'], value: [0.5, 0.25, 0.125] },
]

/** `keys` with some of them replaced, added, or (value `undefined`) left out. */
export function withKeys(keys: readonly GgufKey[], ...changes: readonly GgufKey[]): GgufKey[] {
  const changed = new Set(changes.map(({ key }) => key))
  return [...keys.filter(({ key }) => !changed.has(key)), ...changes.filter(({ value }) => value !== undefined)]
}

const ggufLeaves: readonly (readonly [RegExp, string])[] = [
  [/^language_model\.embed_tokens/, 'token_embd'],
  [/^language_model\.norm/, 'output_norm'],
  [/^lm_head/, 'output'],
  [/^language_model\.layers/, 'blk'],
  [/^vision_tower\.embeddings\.class_embedding/, 'v.class_embd'],
  [/^vision_tower\.embeddings\.patch_embedding/, 'v.patch_embd'],
  [/^vision_tower\.embeddings\.position_embedding/, 'v.position_embd'],
  [/^vision_tower\.pre_layrnorm/, 'v.pre_ln'],
  [/^vision_tower\.encoder\.layers/, 'v.blk'],
  [/^multi_modal_projector\.linear_1/, 'mm.0'],
  [/^multi_modal_projector\.linear_2/, 'mm.2'],
  [/input_layernorm/, 'attn_norm'],
  [/post_attention_layernorm/, 'ffn_norm'],
  [/self_attn\.([qkv])_proj/, 'attn_$1'],
  [/self_attn\.o_proj/, 'attn_output'],
  [/self_attn\.out_proj/, 'attn_out'],
  [/layer_norm([12])/, 'ln$1'],
  [/mlp\.(gate|up|down)_proj/, 'ffn_$1'],
]

/** A canonical name as GGUF spells it; `legacy` is the old converter, which calls fc1 `ffn_down`. */
export function ggufName(canonical: string, ffn: 'legacy' | 'new'): string {
  const [first, second] = ffn === 'legacy' ? ['ffn_down', 'ffn_up'] : ['ffn_up', 'ffn_down']
  const start = canonical.replace('mlp.fc1', first).replace('mlp.fc2', second)
  return ggufLeaves.reduce((name, [pattern, leaf]) => name.replace(pattern, leaf), start)
}

/** Tensor infos for shapes: matrices in `matrixType`, the rest in F32. */
export function ggufTensors(shapes: Shapes, matrixType = 1, ffn: 'legacy' | 'new' = 'legacy'): GgufTensorInfo[] {
  return [...shapes].map(([name, shape]) => ({
    name: ggufName(name, ffn),
    type: shape.length === 2 ? matrixType : 0,
    ne: shape.toReversed(),
  }))
}

export function languageFile(
  keys: readonly GgufKey[] = languageKeys,
  tensors: readonly GgufTensorInfo[] = ggufTensors(textShapes()),
): Buffer {
  return ggufFile({ keys, tensors })
}

export function mmprojFile(
  keys: readonly GgufKey[] = visionKeys,
  tensors: readonly GgufTensorInfo[] = ggufTensors(visionShapes()),
): Buffer {
  return ggufFile({ keys, tensors })
}

/** Keys of part `no` (from 0) of a split GGUF. */
export const splitKeys = (no: number, count: number, tensors: number): GgufKey[] => [
  { key: 'split.no', type: 'u16', value: no },
  { key: 'split.count', type: 'u16', value: count },
  { key: 'split.tensors.count', type: 'i32', value: tensors },
]
export const partName = (no: number): string => `big-${String(no + 1).padStart(5, '0')}-of-00003.gguf`
/** One of three parts of the language model. */
export const part = (
  no: number,
  tensors: readonly GgufTensorInfo[],
  keys = splitKeys(no, 3, ggufTensors(textShapes()).length),
): Record<string, Buffer> => ({
  [partName(no)]: languageFile([...(no === 0 ? languageKeys : []), ...keys], tensors),
})
/** The language model in three parts: keys alone, five tensors, the others. */
export const parts = {
  ...part(0, []),
  ...part(1, ggufTensors(textShapes()).slice(0, 5)),
  ...part(2, ggufTensors(textShapes()).slice(5)),
}
