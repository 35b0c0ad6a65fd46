// A description as GGUF keys: of one file that holds everything (architecture "llava"), or of the pair that llama.cpp opens ("llama" and "clip").
// What no key of theirs says has one of ours, `llava.…`; other readers pass those over. gguf-model.ts reads them all.

import type { ImageProcessorSpec } from '../image/image-processor.js'
import { ropeInvFreq, type Rope } from './rope.js'
import { fileTypeOf, type ConversionType } from './conversion-plan.js'
import type { GgufField, GgufFields, GgufTensor } from './gguf-writer.js'
import { tokenizerFields } from './gguf-tokenizer.js'
import { ggufPreTokenizerName } from '../tokenizer/gguf-pre-tokenizers.js'
import type { ModelDescription } from './model-description.js'
import { unsupported } from './model-error.js'

export type Entries = readonly (readonly [string, GgufField])[]

/** The whole model in one file, a language model alone too. */
export function* singleFields(description: ModelDescription, type: ConversionType): Generator<undefined, GgufFields> {
  const hasVision = description.config.vision !== undefined
  return new Map([
    ['general.architecture', ['string', hasVision ? 'llava' : 'llama']],
    ...generalFields(description),
    ...typeFields(fileTypeOf(type)),
    ...textFields(description),
    ...(hasVision ? visionFields(description) : []),
    ...promptFields(description, Infinity),
    ...(yield* vocabularyFields(description, false)),
  ])
}

/** The pair's language model. */
export function* languageFields(description: ModelDescription, type: ConversionType): Generator<undefined, GgufFields> {
  const { byteLevel } = description.tokenizer
  if (byteLevel !== undefined && ggufPreTokenizerName(byteLevel) === undefined)
    throw unsupported(
      description.path,
      'a pre-tokenizer that GGUF has no name for, in a pair',
      'the single file, which describes it',
    )
  return new Map([
    ['general.architecture', ['string', 'llama']],
    ...generalFields(description),
    ...typeFields(fileTypeOf(type)),
    ...textFields(description),
    ...promptFields(description, description.config.text.vocabSize),
    ...(yield* vocabularyFields(description, true)),
  ])
}

/** The pair's vision half (mmproj). */
export function mmprojFields(description: ModelDescription, fileType: number): GgufFields {
  return new Map<string, GgufField>([
    ['general.architecture', ['string', 'clip']],
    ['general.name', ['string', description.card.name]],
    ['general.description', ['string', 'image encoder for LLaVA']],
    ...typeFields(fileType),
    ...visionFields(description),
  ])
}

/** llama3 scaling, and whatever else divides frequencies one by one, stands in a GGUF as a tensor. */
export function ropeTensor({
  config: { text },
}: ModelDescription): { readonly tensor: GgufTensor; readonly data: Uint8Array } | undefined {
  const divisors = ropeDivisors(text.headDim, text.rope, text.ropeInvFreq)
  if (divisors === undefined) return undefined
  const data = Buffer.alloc(4 * divisors.length)
  for (const [i, divisor] of divisors.entries()) data.writeFloatLE(divisor, 4 * i)
  return { tensor: { name: 'rope_freqs.weight', dtype: 'F32', shape: [divisors.length] }, data }
}

function ropeDivisors(headDim: number, { theta, scaling }: Rope, frequencies: Float32Array): Float32Array | undefined {
  if (scaling.kind === 'linear') return undefined
  if (scaling.kind === 'divisors') return scaling.divisors
  const unscaled = ropeInvFreq(headDim, { theta, scaling: { kind: 'linear', factor: 1 } })
  return unscaled.map((frequency, j) => divisorFor(frequency, frequencies[j] as number))
}

/** The float32 by which a reader has to divide `from` to get `to`; where rounding passes `to` over, it gets the number next to it. */
function divisorFor(from: number, to: number): number {
  const near = Math.fround(from / to)
  const step = near * 2 ** -24
  const candidates = [near, Math.fround(near + step), Math.fround(near - step)]
  return candidates.find((divisor) => Math.fround(from / divisor) === to) ?? near
}

function generalFields({ card, generation }: ModelDescription): Entries {
  const { temperature, topK, topP } = generation
  return [
    ['general.type', ['string', 'model']],
    ['general.name', ['string', card.name]],
    ...given('general.description', card.description, text),
    ...given('general.license', card.license, text),
    ...given('general.sampling.temp', temperature, f32),
    ...given('general.sampling.top_k', topK, i32),
    ...given('general.sampling.top_p', topP, f32),
  ]
}

/** File types of floats, which have no blocks. */
const floatFileTypes = (['f32', 'f16', 'bf16'] as const).map(fileTypeOf)

export function typeFields(fileType: number): Entries {
  const isQuantised = !floatFileTypes.includes(fileType)
  return [
    ['general.file_type', ['u32', fileType]],
    ...(isQuantised ? [['general.quantization_version', ['u32', 2]] as const] : []),
  ]
}

function textFields({ config: { text: c } }: ModelDescription): Entries {
  return [
    ['llama.context_length', ['u32', c.contextLength]],
    ['llama.embedding_length', ['u32', c.hiddenSize]],
    ['llama.block_count', ['u32', c.layers]],
    ['llama.feed_forward_length', ['u32', c.intermediateSize]],
    ['llama.attention.head_count', ['u32', c.heads]],
    ['llama.attention.head_count_kv', ['u32', c.kvHeads]],
    ['llama.attention.key_length', ['u32', c.headDim]],
    ['llama.attention.value_length', ['u32', c.headDim]],
    ['llama.attention.layer_norm_rms_epsilon', ['f32', c.rmsNormEps]],
    ...given('llama.attention.sliding_window', c.slidingWindow, u32),
    ['llama.rope.dimension_count', ['u32', c.headDim]],
    ['llama.rope.freq_base', ['f32', c.rope.theta]],
    ...scalingFields(c.rope, c.contextLength),
    ['llama.vocab_size', ['u32', c.vocabSize]],
  ]
}

function scalingFields({ scaling }: Rope, contextLength: number): Entries {
  const factor = scaling.kind === 'llama3' ? 1 : scaling.factor
  if (factor === 1) return []
  return [
    ['llama.rope.scaling.type', ['string', 'linear']],
    ['llama.rope.scaling.factor', ['f32', factor]],
    ['llama.rope.scaling.original_context_length', ['u32', Math.ceil(contextLength / factor)]],
  ]
}

// What CLIP's own projection, which LLaVA does not have, would give; llama.cpp asks for the key.
const projectionDim = 768

function visionFields({ config: { vision }, imageProcessor }: ModelDescription): Entries {
  if (vision === undefined || imageProcessor === undefined) return []
  return [
    ['clip.has_text_encoder', ['bool', false]],
    ['clip.has_vision_encoder', ['bool', true]],
    ['clip.has_llava_projector', ['bool', true]],
    ['clip.projector_type', ['string', 'mlp']],
    ['clip.use_gelu', ['bool', vision.activation !== 'quick_gelu']],
    ['clip.vision.image_size', ['u32', vision.imageSize]],
    ['clip.vision.patch_size', ['u32', vision.patchSize]],
    ['clip.vision.embedding_length', ['u32', vision.hiddenSize]],
    ['clip.vision.feed_forward_length', ['u32', vision.intermediateSize]],
    ['clip.vision.projection_dim', ['u32', projectionDim]],
    ['clip.vision.attention.head_count', ['u32', vision.heads]],
    ['clip.vision.attention.layer_norm_epsilon', ['f32', vision.layerNormEps]],
    ['clip.vision.block_count', ['u32', vision.layers]],
    // Only layers that run are stored. Without the key, llama.cpp takes the last one for one too many and leaves it out.
    ['clip.vision.feature_layer', ['i32s', [vision.layers]]],
    ['llava.vision_feature_select_strategy', ['string', vision.dropClassRow ? 'default' : 'full']],
    ...imageFields(imageProcessor),
  ]
}

/** How a picture becomes pixel_values. */
export function imageFields(processor: ImageProcessorSpec): Entries {
  const { mean, std, aspectRatio, shortestEdge, rescaleFactor, imageSize } = processor
  return [
    ['clip.vision.image_mean', ['f32s', mean]],
    ['clip.vision.image_std', ['f32s', std]],
    ['llava.image_aspect_ratio', ['string', aspectRatio]],
    ...(shortestEdge === imageSize ? [] : [['llava.image_shortest_edge', ['u32', shortestEdge]] as const]),
    ...(rescaleFactor === 1 / 255 ? [] : [['llava.image_rescale_factor', ['f64', rescaleFactor]] as const]),
  ]
}

/** Tokens from `rows` on are not in the file. */
function promptFields({ imageToken, imageTokens, generation, chatTemplate }: ModelDescription, rows: number): Entries {
  const token = (key: string, id: number | undefined): Entries =>
    id === undefined || id >= rows ? [] : [[`llava.${key}`, ['u32', id]]]
  return [
    ...token('image_token_index', imageToken?.id),
    ...token('image_start_token_index', imageTokens?.start?.id),
    ...token('image_end_token_index', imageTokens?.end?.id),
    ['llava.eos_token_ids', ['i32s', generation.eosTokenIds]],
    ...given('llava.do_sample', generation.doSample, flag),
    ...given('tokenizer.chat_template', chatTemplate, text),
  ]
}

function vocabularyFields(
  { tokenizer, generation, config }: ModelDescription,
  exactly: boolean,
): Generator<undefined, Entries> {
  return tokenizerFields(tokenizer, config.text.vocabSize, exactly, [
    ...new Set([...generation.eosTokenIds, ...tokenizer.eosIds]),
  ])
}

function given<T>(key: string, value: T | undefined, field: (value: T) => GgufField): Entries {
  return value === undefined ? [] : [[key, field(value)]]
}

const text = (value: string): GgufField => ['string', value]
const flag = (value: boolean): GgufField => ['bool', value]
const u32 = (value: number): GgufField => ['u32', value]
const i32 = (value: number): GgufField => ['i32', value]
const f32 = (value: number): GgufField => ['f32', value]
