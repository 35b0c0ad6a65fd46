// config.json of LlavaForConditionalGeneration, of a language model alone, or of the original LLaVA, in the spellings of transformers 4 and 5.
// A nested configuration may list only what differs from its class's defaults: what the tensors show is taken from them (sizes.ts),
// the rest has the default of LlamaConfig, CLIPVisionConfig, SiglipVisionConfig or LlavaConfig.

import { Fields } from './fields.js'
import { readOriginalVision, type OriginalVision } from './original-config.js'
import { ropeFromConfig } from './rope.js'
import type { StatedClipText, StatedText, StatedVision } from './sizes.js'
import { unsupported } from './model-error.js'

export interface HfConfig {
  readonly text: StatedText
  /** Of LlavaForConditionalGeneration. */
  readonly vision?: StatedVision
  /** Of the original LLaVA, whose tower lies elsewhere. */
  readonly original?: OriginalVision
  readonly imageTokenId?: number
  readonly tiedEmbeddings: boolean
}

export function readHfConfig(config: Fields): HfConfig {
  const { kind, decoder } = architectureOf(config)
  if (config.has('quantization_config'))
    throw unsupported(
      config.where,
      'a quantised checkpoint (`quantization_config`)',
      'F32, F16, BF16 weights; for quantised weights, GGUF',
    )
  const tied = config.boolean('tie_word_embeddings') === true
  if (kind === 'text') return { text: statedText(config, decoder), tiedEmbeddings: tied }
  if (kind === 'original')
    return { text: statedText(config, decoder), original: readOriginalVision(config), tiedEmbeddings: tied }
  const text = config.object('text_config') ?? Fields.fromJson(`${config.where}, text_config`, {})
  const imageTokenId =
    config.integer('image_token_index', noImageToken) ?? config.integer('image_token_id', noImageToken) ?? 32_000
  return {
    text: statedText(text, text.string('model_type') ?? 'llama'),
    vision: statedVision(config),
    ...(imageTokenId >= 0 && { imageTokenId }),
    tiedEmbeddings: tied || text.boolean('tie_word_embeddings') === true,
  }
}

/** Whether a config.json is of the original LLaVA. */
export function isOriginalConfig(config: Fields): boolean {
  return namedArchitecture(config)?.kind === 'original'
}

// LLaVA's own sentinel, where a checkpoint has no token for it.
const noImageToken = -200

interface Architecture {
  readonly kind: 'llava' | 'text' | 'original'
  /** `model_type` of the language model that stands at the top of the file. */
  readonly decoder: string
}

const architectures: ReadonlyMap<unknown, Architecture> = new Map([
  ['LlavaForConditionalGeneration', { kind: 'llava', decoder: '' }],
  ['LlamaForCausalLM', { kind: 'text', decoder: 'llama' }],
  ['MistralForCausalLM', { kind: 'text', decoder: 'mistral' }],
  ['LlavaLlamaForCausalLM', { kind: 'original', decoder: 'llama' }],
  ['LlavaMistralForCausalLM', { kind: 'original', decoder: 'mistral' }],
])

/** Where the file names no architecture. `llava` alone has been written by both projects. */
const modelTypes: ReadonlyMap<unknown, string> = new Map([
  ['llava', 'LlavaForConditionalGeneration'],
  ['llama', 'LlamaForCausalLM'],
  ['mistral', 'MistralForCausalLM'],
  ['llava_llama', 'LlavaLlamaForCausalLM'],
  ['llava_mistral', 'LlavaMistralForCausalLM'],
])

function architectureOf(config: Fields): Architecture {
  const architecture = namedArchitecture(config)
  if (architecture !== undefined) return architecture
  throw unsupported(
    config.where,
    `architecture ${JSON.stringify(architectureName(config) ?? config.raw('model_type') ?? null)}`,
    [...architectures.keys()].join(', '),
  )
}

function namedArchitecture(config: Fields): Architecture | undefined {
  return architectures.get(architectureName(config))
}

function architectureName(config: Fields): unknown {
  const list = config.raw('architectures')
  if (Array.isArray(list) && list.length > 0) return (list as readonly unknown[])[0]
  const type = config.raw('model_type')
  return type === 'llava' && config.has('mm_vision_tower') ? 'LlavaLlamaForCausalLM' : modelTypes.get(type)
}

/** What a decoder's configuration class has where the file says nothing, and no tensor shows it. */
const decoderDefaults: ReadonlyMap<
  string,
  { readonly maxPositions: number; readonly slidingWindow: number | undefined }
> = new Map([
  ['llama', { maxPositions: 2048, slidingWindow: undefined }],
  ['mistral', { maxPositions: 131_072, slidingWindow: 4096 }],
])

function statedText(text: Fields, kind: string): StatedText {
  const defaults = decoderDefaults.get(kind)
  const activation = text.string('hidden_act') ?? 'silu'
  if (defaults === undefined)
    throw unsupported(text.where, `language model "${kind}"`, [...decoderDefaults.keys()].join(', '))
  if (activation !== 'silu') throw unsupported(text.where, `activation "${activation}"`, 'silu')
  for (const bias of ['attention_bias', 'mlp_bias'])
    if (text.boolean(bias) === true) throw unsupported(text.where, `\`${bias}\``, 'projections without biases')
  const maxPositions = text.integer('max_position_embeddings') ?? defaults.maxPositions
  const rope = ropeFromConfig(text, maxPositions)
  return {
    where: text.where,
    hiddenSize: text.integer('hidden_size'),
    intermediateSize: text.integer('intermediate_size'),
    layers: text.integer('num_hidden_layers'),
    heads: text.integer('num_attention_heads') ?? 32,
    kvHeads: text.integer('num_key_value_heads'),
    headDim: text.integer('head_dim'),
    rmsNormEps: text.number('rms_norm_eps', 0) ?? 1e-6,
    // Linear scaling stretches the trained positions; `max_position_embeddings` is the number before it.
    contextLength: rope.scaling.kind === 'linear' ? Math.floor(maxPositions * rope.scaling.factor) : maxPositions,
    slidingWindow: slidingWindow(text, kind, defaults.slidingWindow),
    ropeLayout: 'half',
    rope: () => rope,
  }
}

/** Mistral's; `null` in the file switches it off. LlamaConfig has none, and transformers passes over the key there. */
function slidingWindow(text: Fields, kind: string, otherwise: number | undefined): number | undefined {
  if (kind !== 'mistral' || text.isNull('sliding_window')) return undefined
  return text.integer('sliding_window') ?? otherwise
}

function statedVision(config: Fields): StatedVision {
  refuseOtherProjectors(config)
  // Without a vision_config LlavaConfig means CLIP ViT-L/14-336; with one, its class's defaults fill it.
  const given = config.object('vision_config')
  const vision =
    given ?? Fields.fromJson(`${config.where}, vision_config`, { num_attention_heads: 16, image_size: 336 })
  const isSiglip = vision.string('model_type') === 'siglip_vision_model'
  return {
    ...(isSiglip ? statedSiglipTower(vision) : statedTower(vision)),
    featureLayer: featureLayer(config),
    dropClassRow: selectStrategy(config) === 'default',
    projectorLayers: 2,
  }
}

/** A CLIPVisionConfig by itself: all layers, the class row too. */
export function statedTower(vision: Fields): StatedVision {
  const kind = vision.string('model_type') ?? 'clip_vision_model'
  if (kind !== 'clip_vision_model')
    throw unsupported(vision.where, `vision tower "${kind}"`, 'clip_vision_model, siglip_vision_model')
  return { ...towerSizes(vision), ...clipBlock(vision), tower: 'clip' }
}

/** A SiglipVisionConfig. Its hidden states end before post_layernorm, the last one too. */
export function statedSiglipTower(vision: Fields): StatedVision {
  const activation = vision.string('hidden_act') ?? 'gelu_pytorch_tanh'
  if (activation !== 'gelu_pytorch_tanh')
    throw unsupported(vision.where, `activation "${activation}" in a SigLIP tower`, 'gelu_pytorch_tanh')
  return {
    ...towerSizes(vision),
    tower: 'siglip',
    layerNormEps: vision.number('layer_norm_eps', 0) ?? 1e-6,
    activation,
  }
}

/** What both classes say in the same words. */
function towerSizes(vision: Fields): Omit<StatedVision, 'tower' | 'layerNormEps' | 'activation'> {
  if ((vision.integer('num_channels') ?? 3) !== 3)
    throw unsupported(vision.where, `${vision.integer('num_channels')} colour channels`, '3')
  return {
    ...statedLayers(vision, 12),
    featureLayer: undefined,
    imageSize: squareSize(vision, 'image_size'),
    patchSize: squareSize(vision, 'patch_size'),
    dropClassRow: false,
    projectorLayers: undefined,
  }
}

/** What both of CLIP's transformers say; `heads` where the file does not. */
export function statedClipLayers(config: Fields, heads: number): Omit<StatedClipText, 'contextLength'> {
  return { ...statedLayers(config, heads), ...clipBlock(config) }
}

/** A SiglipTextConfig. */
export function statedSiglipText(text: Fields): StatedClipText {
  const { layerNormEps, activation } = statedSiglipTower(text)
  return {
    ...statedLayers(text, 12),
    contextLength: text.integer('max_position_embeddings') ?? 64,
    layerNormEps,
    activation,
  }
}

function clipBlock(config: Fields): Pick<StatedClipText, 'layerNormEps' | 'activation'> {
  return { layerNormEps: config.number('layer_norm_eps', 0) ?? 1e-5, activation: clipActivation(config) }
}

/** What every transformer says. */
function statedLayers(
  config: Fields,
  heads: number,
): Omit<StatedClipText, 'contextLength' | 'layerNormEps' | 'activation'> {
  return {
    where: config.where,
    hiddenSize: config.integer('hidden_size'),
    intermediateSize: config.integer('intermediate_size'),
    layers: config.integer('num_hidden_layers'),
    heads: config.integer('num_attention_heads') ?? heads,
  }
}

function refuseOtherProjectors(config: Fields): void {
  const activation = config.string('projector_hidden_act') ?? 'gelu'
  if (activation !== 'gelu') throw unsupported(config.where, `projector activation "${activation}"`, 'gelu')
  if (config.boolean('multimodal_projector_bias') === false)
    throw unsupported(config.where, 'a projector without biases', 'a projector with biases')
}

/** A list of layers concatenates their features; of one layer it is that layer. */
function featureLayer(config: Fields): number {
  const value = config.raw('vision_feature_layer') ?? -2
  const [layer, ...more] = Array.isArray(value) ? (value as readonly unknown[]) : [value]
  if (more.length > 0)
    throw unsupported(config.where, `\`vision_feature_layer\` with ${more.length + 1} layers`, 'one layer')
  if (Number.isInteger(layer)) return layer as number
  throw config.mistake('vision_feature_layer', 'a whole number')
}

function selectStrategy(config: Fields): string {
  const strategy = config.string('vision_feature_select_strategy') ?? 'default'
  if (strategy === 'default' || strategy === 'full') return strategy
  throw unsupported(config.where, `\`vision_feature_select_strategy\` "${strategy}"`, 'default, full')
}

function clipActivation(vision: Fields): 'quick_gelu' | 'gelu' {
  const activation = vision.string('hidden_act') ?? 'quick_gelu'
  if (activation === 'quick_gelu' || activation === 'gelu') return activation
  throw unsupported(vision.where, `activation "${activation}"`, 'quick_gelu, gelu')
}

/** `14`, or `[14, 14]`. */
function squareSize(vision: Fields, key: string): number | undefined {
  if (!Array.isArray(vision.raw(key))) return vision.integer(key)
  const [height, width] = vision.numbers(key) ?? []
  if (height === undefined || height !== width)
    throw unsupported(vision.where, `\`${key}\` that is not square`, 'square sizes')
  return height
}
