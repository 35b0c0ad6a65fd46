// A CLIP or SigLIP in a GGUF of its own: architecture "clip" with both encoders, under the keys and names that
// llama.cpp has for the vision tower (clip.vision.…, v.…) and clip.cpp had for the text tower (clip.text.…, t.…). What
// no key of theirs says has one of ours, `llava.…`.
//   llava.logit_scale, llava.logit_bias        log of what cosines are multiplied by; what SigLIP adds then
//   llava.vision_activation, llava.text_activation       clip.use_gelu says it of both towers, and does not tell gelu
//     from its tanh form
//   llava.image_aspect_ratio, llava.image_shortest_edge, llava.image_rescale_factor, llava.tokenizer.…     as in a
//     LLaVA's

import path from 'node:path'
import { finishInSlices } from '../slices.js'
import type { ImageProcessorSpec } from '../image/image-processor.js'
import type { VisionConfig } from '../native.js'
import { isUnigram, type ClipDescription, type StatedClip } from './clip-description.js'
import { Fields } from './fields.js'
import { readWholeGguf } from './gguf-split.js'
import { imageFields, typeFields, type Entries } from './gguf-metadata.js'
import { ggufImageProcessor } from './gguf-model.js'
import { ggufTokenizer, tokenizerFields } from './gguf-tokenizer.js'
import { ggufUnigram, isUnigramGguf, unigramFields } from './gguf-unigram.js'
import type { GgufFields } from './gguf-writer.js'
import { unsupported } from './model-error.js'
import { fromClipGguf } from './names.js'

/** What the file states. @throws LlavaError MODEL_NOT_FOUND, MODEL_CORRUPT or MODEL_UNSUPPORTED. */
export async function statedClipGguf(file: string): Promise<StatedClip> {
  if (!/\.gguf$/i.test(file))
    throw unsupported(
      file,
      'one file that is no GGUF',
      'the directory that holds the whole CLIP checkpoint, or a .gguf file',
    )
  const header = await readWholeGguf(file)
  const keys = new Fields(header.path, header.metadata)
  if (!isClipGguf(header.metadata))
    throw unsupported(file, whatElse(keys), 'a CLIP that `llava convert` made a GGUF of')
  const integer = (key: string, minimum = 1): number =>
    keys.required(`clip.${key}`, keys.integer(`clip.${key}`, minimum))
  const tower = (part: 'vision' | 'text') => ({
    where: header.path,
    hiddenSize: integer(`${part}.embedding_length`),
    intermediateSize: integer(`${part}.feed_forward_length`),
    layers: integer(`${part}.block_count`, 0),
    heads: integer(`${part}.attention.head_count`),
    layerNormEps: keys.number(`clip.${part}.attention.layer_norm_epsilon`, 0) ?? 1e-5,
    activation: activation(keys, `llava.${part}_activation`),
  })
  const isSiglip = header.tensors.every(({ name }) => name !== 'v.class_embd')
  return {
    path: file,
    name: keys.string('general.name') ?? path.basename(file, '.gguf'),
    stored: header.tensors,
    canonicalName: fromClipGguf,
    vision: {
      ...tower('vision'),
      tower: isSiglip ? 'siglip' : 'clip',
      featureLayer: undefined,
      imageSize: integer('vision.image_size'),
      patchSize: integer('vision.patch_size'),
      dropClassRow: false,
      projectorLayers: undefined,
    },
    text: { ...tower('text'), contextLength: integer('text.context_length') },
    tokenizer: isUnigramGguf(keys)
      ? ggufUnigram(keys)
      : await finishInSlices(ggufTokenizer(header.path, header.metadata)),
    imageProcessor: ({ imageSize }): ImageProcessorSpec =>
      ggufImageProcessor(keys, imageSize, isSiglip ? 'stretch' : 'crop'),
    logitScale: keys.number('llava.logit_scale'),
    logitBias: keys.number('llava.logit_bias'),
  }
}

/** Whether a GGUF holds both towers. */
export function isClipGguf(metadata: ReadonlyMap<string, unknown>): boolean {
  return metadata.get('general.architecture') === 'clip' && metadata.get('clip.has_text_encoder') === true
}

function whatElse(keys: Fields): string {
  const architecture = keys.raw('general.architecture')
  return architecture === 'clip'
    ? 'a vision tower without its text tower (the mmproj of a LLaVA)'
    : `architecture ${JSON.stringify(architecture ?? null)}`
}

const activations = ['quick_gelu', 'gelu', 'gelu_pytorch_tanh'] as const satisfies readonly VisionConfig['activation'][]

function activation(keys: Fields, key: string): VisionConfig['activation'] {
  const stated = keys.string(key) ?? (keys.boolean('clip.use_gelu') === true ? 'gelu' : 'quick_gelu')
  const known = activations.find((each) => each === stated)
  if (known === undefined) throw unsupported(keys.where, `activation "${stated}"`, activations.join(', '))
  return known
}

/** Everything about a CLIP but its tensors. */
export function* clipFields(description: ClipDescription, fileType: number): Generator<undefined, GgufFields> {
  const { name, config, imageProcessor, logitScale, logitBias, tokenizer } = description
  const { vision, text, projectionDim } = config
  const tower = (
    part: string,
    c: Pick<VisionConfig, 'hiddenSize' | 'intermediateSize' | 'heads' | 'layers' | 'layerNormEps' | 'activation'>,
  ): Entries => [
    [`clip.${part}.embedding_length`, ['u32', c.hiddenSize]],
    [`clip.${part}.feed_forward_length`, ['u32', c.intermediateSize]],
    [`clip.${part}.projection_dim`, ['u32', projectionDim]],
    [`clip.${part}.attention.head_count`, ['u32', c.heads]],
    [`clip.${part}.attention.layer_norm_epsilon`, ['f32', c.layerNormEps]],
    [`clip.${part}.block_count`, ['u32', c.layers]],
    [`llava.${part}_activation`, ['string', c.activation]],
  ]
  return new Map([
    ['general.architecture', ['string', 'clip']],
    ['general.type', ['string', 'model']],
    ['general.name', ['string', name]],
    ...typeFields(fileType),
    ['clip.has_text_encoder', ['bool', true]],
    ['clip.has_vision_encoder', ['bool', true]],
    ['clip.has_llava_projector', ['bool', false]],
    ['clip.use_gelu', ['bool', vision.activation !== 'quick_gelu']],
    ['clip.vision.image_size', ['u32', vision.imageSize]],
    ['clip.vision.patch_size', ['u32', vision.patchSize]],
    ...tower('vision', vision),
    ...imageFields(imageProcessor),
    ['clip.text.context_length', ['u32', text.contextLength]],
    ...tower('text', text),
    ...(logitScale === undefined ? [] : [['llava.logit_scale', ['f32', logitScale]] as const]),
    ...(logitBias === undefined ? [] : [['llava.logit_bias', ['f32', logitBias]] as const]),
    ...(isUnigram(tokenizer) ? unigramFields(tokenizer) : yield* tokenizerFields(tokenizer, text.vocabSize, false, [])),
  ])
}
