// A CLIP as open_clip publishes it: open_clip_config.json beside open_clip_model.safetensors or
// open_clip_pytorch_model.bin.
//   visual.transformer.resblocks.0.attn.in_proj_weight [3 Dv, Dv] holds q_proj, k_proj and v_proj one after the other
//   visual.proj [Dv, C] and text_projection [D, C] are what CLIPModel has as visual_projection and text_projection,
//     transposed
// Towers of timm or of Hugging Face's text models, attentional pooling and texts that are not pooled at their end are
// other architectures.

import path from 'node:path'
import { readScalar, type StatedClip } from './clip-description.js'
import { readClipVocabulary } from './clip-vocabulary.js'
import { readJsonFields, type Fields } from './fields.js'
import { notFound, unsupported } from './model-error.js'
import { fromClip } from './names.js'
import { openClipProcessor } from './preprocessing.js'
import { readPytorchFile } from './pytorch.js'
import { readSafetensorsHeader } from './safetensors.js'
import { weightEntries } from './shards.js'
import type { StatedClipText, StatedVision } from './sizes.js'
import { threeParts, type StoredTensor } from './stored-tensor.js'

const configName = 'open_clip_config.json'

const weightFiles: readonly (readonly [string, (file: string) => Promise<readonly StoredTensor[]>])[] = [
  ['open_clip_model.safetensors', readSafetensorsHeader],
  ['open_clip_pytorch_model.bin', readPytorchFile],
]

/** Where a directory holds both forms, as many on the hub do, transformers' is read. */
export function isOpenClip(names: ReadonlySet<string>): boolean {
  return names.has(configName) && !(names.has('config.json') && weightEntries.some((name) => names.has(name)))
}

/** What an open_clip directory with these entries states. */
export async function statedOpenClip(directory: string, names: ReadonlySet<string>): Promise<StatedClip> {
  const config = await readJsonFields(path.join(directory, configName))
  const [file, read] = weightFiles.find(([name]) => names.has(name)) ?? []
  if (config === undefined || file === undefined || read === undefined)
    throw notFound(directory, `${weightFiles.map(([name]) => name).join(' or ')} is not beside ${configName}`)
  const model = config.required('model_cfg', config.object('model_cfg'))
  const part = (key: string): Fields => model.required(key, model.object(key))
  const [vision, text] = [part('vision_cfg'), part('text_cfg')]
  refuseOtherArchitectures(model, vision, text)
  const activation = model.boolean('quick_gelu') === true ? 'quick_gelu' : 'gelu'
  const stored = await read(path.join(directory, file))
  const processor = config.object('preprocess_cfg')
  return {
    path: directory,
    name: path.basename(directory),
    stored: stored.flatMap(transformersTensors),
    canonicalName: fromClip,
    vision: statedVision(vision, activation),
    text: statedText(text, activation),
    tokenizer: await readClipVocabulary(directory),
    imageProcessor: ({ imageSize }) => openClipProcessor(processor, imageSize),
    logitScale: await readScalar(stored, 'logit_scale'),
  }
}

function statedVision(vision: Fields, activation: StatedVision['activation']): StatedVision {
  const width = vision.integer('width') ?? 768
  return {
    where: vision.where,
    tower: 'clip',
    hiddenSize: width,
    intermediateSize: undefined,
    layers: vision.integer('layers') ?? 12,
    featureLayer: undefined,
    heads: Math.max(1, Math.floor(width / (vision.integer('head_width') ?? 64))),
    imageSize: vision.integer('image_size') ?? 224,
    patchSize: vision.integer('patch_size') ?? 16,
    layerNormEps: 1e-5,
    activation,
    dropClassRow: false,
    projectorLayers: undefined,
  }
}

function statedText(text: Fields, activation: StatedClipText['activation']): StatedClipText {
  return {
    where: text.where,
    hiddenSize: text.integer('width') ?? 512,
    intermediateSize: undefined,
    layers: text.integer('layers') ?? 12,
    heads: text.integer('heads') ?? 8,
    contextLength: text.integer('context_length') ?? 77,
    layerNormEps: 1e-5,
    activation,
  }
}

function refuseOtherArchitectures(model: Fields, vision: Fields, text: Fields): void {
  const isSet = (fields: Fields, key: string): boolean => {
    const value = fields.raw(key)
    return value !== undefined && value !== false
  }
  const pool = text.string('pool_type') ?? 'argmax'
  const refusals: readonly (readonly [boolean, string])[] = [
    [vision.has('timm_model_name'), 'a tower of timm (`timm_model_name`)'],
    [Array.isArray(vision.raw('layers')), 'a ResNet as vision tower'],
    [text.has('hf_model_name'), "a text model of Hugging Face's (`hf_model_name`)"],
    [model.has('multimodal_cfg'), 'a CoCa (`multimodal_cfg`)'],
    [pool !== 'argmax', `texts pooled by \`${pool}\``],
    [(vision.string('pool_type') ?? 'tok') !== 'tok', `pictures pooled by \`${vision.string('pool_type')}\``],
    ...['attentional_pool', 'global_average_pool', 'no_ln_pre', 'final_ln_after_pool', 'ls_init_value'].map(
      (key) => [isSet(vision, key), `\`${key}\` in the vision tower`] as const,
    ),
    ...['embed_cls', 'no_causal_mask', 'proj_bias', 'ls_init_value'].map(
      (key) => [isSet(text, key), `\`${key}\` in the text tower`] as const,
    ),
    ...['norm_kwargs', 'act_kwargs'].map((key) => [vision.has(key) || text.has(key), `\`${key}\``] as const),
  ]
  for (const [applies, what] of refusals)
    if (applies) throw unsupported(model.where, what, "OpenAI's CLIP architecture with a ViT")
}

const whole: ReadonlyMap<string, string> = new Map([
  ['visual.class_embedding', 'vision_model.embeddings.class_embedding'],
  ['visual.positional_embedding', 'vision_model.embeddings.position_embedding.weight'],
  ['visual.conv1.weight', 'vision_model.embeddings.patch_embedding.weight'],
  ['visual.ln_pre.weight', 'vision_model.pre_layrnorm.weight'],
  ['visual.ln_pre.bias', 'vision_model.pre_layrnorm.bias'],
  ['visual.ln_post.weight', 'vision_model.post_layernorm.weight'],
  ['visual.ln_post.bias', 'vision_model.post_layernorm.bias'],
  ['token_embedding.weight', 'text_model.embeddings.token_embedding.weight'],
  ['positional_embedding', 'text_model.embeddings.position_embedding.weight'],
  ['ln_final.weight', 'text_model.final_layer_norm.weight'],
  ['ln_final.bias', 'text_model.final_layer_norm.bias'],
  ['logit_scale', 'logit_scale'],
])

const transposed: ReadonlyMap<string, string> = new Map([
  ['visual.proj', 'visual_projection.weight'],
  ['text_projection', 'text_projection.weight'],
])

const leaves: ReadonlyMap<string, string> = new Map([
  ['ln_1', 'layer_norm1'],
  ['ln_2', 'layer_norm2'],
  ['attn.out_proj', 'self_attn.out_proj'],
  ['mlp.c_fc', 'mlp.fc1'],
  ['mlp.c_proj', 'mlp.fc2'],
])

// What OpenAI's archives hold beside weights.
const numbers = /^(?:input_resolution|context_length|vocab_size|attn_mask)$/

/**
 * A tensor under the names that transformers gives it: views into the same bytes. CustomTextCLIP has its text tower
 * under `text.`.
 */
function transformersTensors(tensor: StoredTensor): readonly StoredTensor[] {
  const name = tensor.name.replace(/^text\./, '')
  if (numbers.test(name)) return []
  const same = whole.get(name)
  if (same !== undefined) return [{ ...tensor, name: same }]
  const projection = transposed.get(name)
  if (projection !== undefined)
    return [{ ...tensor, name: projection, shape: tensor.shape.toReversed(), transposed: true }]
  const [, visual, layer, leaf = '', kind] =
    /^(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$/.exec(name) ?? []
  const module = `${visual === undefined ? 'text_model' : 'vision_model'}.encoder.layers.${layer}`
  if (leaf === 'attn.in_proj')
    return threeParts(
      tensor,
      ['q', 'k', 'v'].map((each) => `${module}.self_attn.${each}_proj.${kind}`),
    )
  return [{ ...tensor, name: leaves.has(leaf) ? `${module}.${leaves.get(leaf)}.${kind}` : tensor.name }]
}
