// GGUF models: a language model (architecture "llama") alone or with its mmproj (architecture "clip"), or both in one file ("llava").
// "mistral3" is the same decoder under its own key prefix, as long as it asks for no scaling of its own.
// Query and key rows are permuted in every GGUF llama, so that rotation pairs are neighbours: ropeLayout is "interleaved".

import path from 'node:path'
import { readdir } from 'node:fs/promises'
import { LlavaError } from '../errors.js'
import type { ImageAspectRatio, ImageProcessorSpec } from '../image/image-processor.js'
import { finishInSlices } from '../slices.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import { pairUp, readAdapter, type Adapter } from './adapter.js'
import { readGgufHeader, type GgufHeader } from './gguf.js'
import { firstParts, readWholeGguf } from './gguf-split.js'
import { Fields } from './fields.js'
import { ggufTokenizer } from './gguf-tokenizer.js'
import { fromGguf } from './names.js'
import { collectTensors, StoredModel } from './model-tensors.js'
import { textConfig, visionConfig, type StatedText, type StatedVision } from './sizes.js'
import type { Rope } from './rope.js'
import type { StoredTensor } from './stored-tensor.js'
import { corrupt, unsupported } from './model-error.js'
import { readExactly, withFile } from './file-head.js'
import { checkVocabulary } from './vocabulary.js'
import { channels, clipMean, clipStd, imageAspectRatios } from './preprocessing.js'
import type { DescribeOptions, GenerationDefaults, ModelDescription } from './model-description.js'

export async function describeGguf(file: string, options: DescribeOptions): Promise<ModelDescription> {
  const language = await readWholeGguf(file)
  checkLanguageFile(language)
  if (options.visionTower !== undefined)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${file} is a GGUF; \`visionTower\` belongs to an original LLaVA checkpoint, \`mmproj\` to a GGUF`,
    )
  const isSingle = language.metadata.get('general.architecture') === 'llava'
  if (isSingle) return describeParts('gguf', language, ownVisionPart(language, options), options)
  const vision = await visionHalf(file, options.mmproj)
  return describeParts(vision === undefined ? 'gguf-text' : 'gguf-pair', language, vision, options)
}

/** Architecture -> what its keys begin with. */
const keyPrefixes: ReadonlyMap<unknown, string> = new Map([
  ['llama', 'llama'],
  ['llava', 'llama'],
  ['mistral3', 'mistral3'],
])

/** Throws MODEL_UNSUPPORTED unless the file is a language model that is computed here. */
export function checkLanguageFile({ path: file, metadata, tensors }: GgufHeader): void {
  const architecture = metadata.get('general.architecture')
  if (architecture === 'clip' && metadata.get('clip.has_text_encoder') === true)
    throw unsupported(file, 'this is a CLIP by itself', '`CLIP.open`, or a LLaVA with this file as `clip`')
  if (architecture === 'clip')
    throw unsupported(
      file,
      'this is the vision half of a pair (mmproj)',
      'the path of the language model, with this one as `mmproj`',
    )
  if (metadata.get('general.type') === 'adapter')
    throw unsupported(file, 'this is a LoRA adapter', 'the path of the model it belongs to, with this one as `adapter`')
  if (!keyPrefixes.has(architecture))
    throw unsupported(file, `architecture ${JSON.stringify(architecture ?? null)}`, [...keyPrefixes.keys()].join(', '))
  if (tensors.length === 0) throw unsupported(file, 'a vocabulary without weights', 'files that hold a language model')
}

function ownVisionPart(language: GgufHeader, options: DescribeOptions): GgufHeader {
  if (options.mmproj === undefined) return language
  throw new LlavaError('INVALID_ARGUMENT', `${language.path} holds its own vision tower; leave \`mmproj\` out`)
}

/** The mmproj that was named, or the only one beside the language model. */
async function visionHalf(languageFile: string, named: string | undefined): Promise<GgufHeader | undefined> {
  if (named !== undefined) return checkVisionFile(await readWholeGguf(path.resolve(named)))
  const directory = path.dirname(languageFile)
  const beside = firstParts(await readdir(directory))
  const names = beside.filter((name) => /mmproj.*\.gguf$/i.test(name) && name !== path.basename(languageFile))
  const headers = await Promise.all(names.map((name) => readGgufHeader(path.join(directory, name))))
  const [only, ...others] = headers.filter((header) => header.metadata.get('general.architecture') === 'clip')
  if (only === undefined) return undefined
  if (others.length === 0) return readWholeGguf(only.path)
  throw new LlavaError(
    'INVALID_ARGUMENT',
    `${directory}: several mmproj files are there; name one of them as \`mmproj\`: ${names.join(', ')}`,
  )
}

function checkVisionFile(header: GgufHeader): GgufHeader {
  const architecture = header.metadata.get('general.architecture')
  if (architecture === 'clip') return header
  throw unsupported(header.path, `as mmproj, architecture ${JSON.stringify(architecture ?? null)}`, 'clip')
}

async function describeParts(
  format: 'gguf' | 'gguf-pair' | 'gguf-text',
  language: GgufHeader,
  vision: GgufHeader | undefined,
  options: DescribeOptions,
): Promise<ModelDescription> {
  const llama = new Fields(language.path, language.metadata)
  const clip = vision && new Fields(vision.path, vision.metadata)
  const stored =
    vision === undefined || vision === language ? language.tensors : [...language.tensors, ...vision.tensors]
  if (clip !== undefined) refuseOtherProjectors(clip, stored)
  const ffnDownIsFirst = firstFfnIsCalledDown(stored)
  const model = new StoredModel(language.path, stored, (name) => fromGguf(name, ffnDownIsFirst))
  const adapter = options.adapter === undefined ? undefined : await ggufAdapter(options.adapter, clip !== undefined)
  for (const [name, tensor] of adapter?.replacements ?? []) model.replace(name, tensor)
  const text = await textConfig(statedText(llama, language), model)
  const statedTower = clip && statedVision(clip, model)
  const tower = statedTower && visionConfig(statedTower, model, options.visionFeatureLayer)
  if (clip !== undefined) checkProjectorWidth(clip.where, model, tower?.projectorLayers ?? 0, text.hiddenSize)
  const { files, tensors, parameters, weightDtypes } = collectTensors(model, text, tower, adapter)
  const tokenizer = await finishInSlices(ggufTokenizer(language.path, language.metadata))
  checkVocabulary(language.path, tokenizer, text.vocabSize)
  const chatTemplate = llama.string('tokenizer.chat_template')
  const [description, license] = [llama.string('general.description'), llama.string('general.license')]
  return {
    format,
    path: language.path,
    files,
    tensors,
    config: { text, ...(tower && { vision: tower }) },
    tokenizer,
    ...(clip &&
      tower && { imageProcessor: ggufImageProcessor(clip, tower.imageSize, 'pad', options.imageAspectRatio) }),
    ...imageTokensOf(llama, tokenizer),
    ...(chatTemplate !== undefined && { chatTemplate }),
    generation: generationDefaults(llama, tokenizer),
    card: {
      name: llama.string('general.name') ?? path.basename(language.path, '.gguf'),
      ...(description !== undefined && { description }),
      ...(license !== undefined && { license }),
      parameters,
      weightDtypes,
      languageDtype: model.get('language_model.layers.0.self_attn.q_proj.weight').dtype,
    },
  }
}

/** The tokens that stand for an image and around it; only this package's converter says which. */
function imageTokensOf(keys: Fields, tokenizer: TokenizerSpec): Pick<ModelDescription, 'imageToken' | 'imageTokens'> {
  const token = (key: string): { readonly id: number; readonly text: string } | undefined => {
    const id = keys.integer(key, 0)
    const text = id === undefined ? undefined : tokenizer.addedTokens.find((added) => added.id === id)?.content
    if (id !== undefined && text === undefined)
      throw keys.mistake(key, "the id of one of the vocabulary's added tokens")
    return id === undefined || text === undefined ? undefined : { id, text }
  }
  const [imageToken, start, end] = ['image_token_index', 'image_start_token_index', 'image_end_token_index'].map(
    (key) => token(`llava.${key}`),
  )
  return {
    ...(imageToken && { imageToken }),
    ...((start ?? end) && { imageTokens: { ...(start && { start }), ...(end && { end }) } }),
  }
}

function generationDefaults(keys: Fields, tokenizer: TokenizerSpec): GenerationDefaults {
  const eosTokenIds = keys.numbers('llava.eos_token_ids') ?? tokenizer.eosIds
  if (!eosTokenIds.every((id) => Number.isInteger(id) && id >= 0))
    throw keys.mistake('llava.eos_token_ids', 'token ids')
  const [temperature, topP, topK] = [
    keys.number('general.sampling.temp'),
    keys.number('general.sampling.top_p'),
    keys.integer('general.sampling.top_k', 0),
  ]
  const doSample = keys.boolean('llava.do_sample')
  return {
    eosTokenIds,
    ...(tokenizer.bosId !== undefined && { bosTokenId: tokenizer.bosId }),
    ...(temperature !== undefined && { temperature: shortest(temperature) }),
    ...(topP !== undefined && { topP: shortest(topP) }),
    ...(topK !== undefined && { topK }),
    ...(doSample !== undefined && { doSample }),
  }
}

/** The decimal that was meant by a float32: 0.2 rather than 0.20000000298023224. */
function shortest(value: number): number {
  return Number(value.toPrecision(7))
}

function statedText(llama: Fields, header: GgufHeader): StatedText {
  const prefix = keyPrefixes.get(header.metadata.get('general.architecture')) ?? 'llama'
  const required = (leaf: string): number => llama.required(`${prefix}.${leaf}`, llama.integer(`${prefix}.${leaf}`))
  const [keys, values] = [
    llama.integer(`${prefix}.attention.key_length`),
    llama.integer(`${prefix}.attention.value_length`),
  ]
  const epsilon = `${prefix}.attention.layer_norm_rms_epsilon`
  if ((llama.number(`${prefix}.attention.temperature_scale`) ?? 0) !== 0)
    throw unsupported(
      llama.where,
      'attention that is scaled with the position (`attention.temperature_scale`)',
      'plain attention',
    )
  if ((llama.integer(`${prefix}.expert_count`, 0) ?? 0) > 0)
    throw unsupported(llama.where, 'a mixture of experts', 'dense decoders')
  if (values !== undefined && keys !== undefined && values !== keys)
    throw unsupported(llama.where, 'keys and values of different length', 'equal lengths')
  return {
    where: llama.where,
    hiddenSize: required('embedding_length'),
    intermediateSize: required('feed_forward_length'),
    layers: required('block_count'),
    heads: required('attention.head_count'),
    kvHeads: llama.integer(`${prefix}.attention.head_count_kv`),
    headDim: keys,
    rmsNormEps: llama.required(epsilon, llama.number(epsilon, 0)),
    contextLength: required('context_length'),
    slidingWindow: llama.integer(`${prefix}.attention.sliding_window`, 0) || undefined,
    ropeLayout: 'interleaved',
    rope: (headDim) => ropeFromGguf(llama, header, prefix, headDim),
  }
}

/** llama3 scaling stands in a GGUF as one divisor per frequency, the tensor `rope_freqs.weight`. */
async function ropeFromGguf(llama: Fields, header: GgufHeader, prefix: string, headDim: number): Promise<Rope> {
  const rotated = llama.integer(`${prefix}.rope.dimension_count`) ?? headDim
  if (rotated !== headDim)
    throw unsupported(
      llama.where,
      `rotation of ${rotated} of ${headDim} dimensions`,
      'rotary embeddings over whole heads',
    )
  const theta = llama.number(`${prefix}.rope.freq_base`, 0) ?? 10_000
  const factor = linearFactor(llama, prefix)
  const divisors = header.tensors.find((tensor) => tensor.name === 'rope_freqs.weight')
  if (divisors === undefined) return { theta, scaling: { kind: 'linear', factor } }
  return { theta, scaling: { kind: 'divisors', divisors: await readDivisors(divisors, headDim / 2), factor } }
}

function linearFactor(llama: Fields, prefix: string): number {
  const kind = llama.string(`${prefix}.rope.scaling.type`) ?? 'linear'
  if (kind === 'none') return 1
  if (kind !== 'linear')
    throw unsupported(llama.where, `rope scaling "${kind}"`, 'none, linear, llama3 (as rope_freqs.weight)')
  // 0 stands for "not scaled"; `scale_linear` is the key's older name.
  const factor = llama.number(`${prefix}.rope.scaling.factor`) ?? llama.number(`${prefix}.rope.scale_linear`) ?? 1
  if (factor < 0) throw llama.mistake(`${prefix}.rope.scaling.factor`, 'a positive number')
  return factor === 0 ? 1 : factor
}

async function readDivisors(tensor: StoredTensor, count: number): Promise<Float32Array> {
  if (tensor.dtype !== 'F32' || tensor.nbytes !== 4 * count)
    throw corrupt(tensor.path, `tensor "${tensor.name}" should hold ${count} values of type F32`)
  const bytes = await withFile(tensor.path, (file) => readExactly(file, tensor.path, tensor.offset, tensor.nbytes))
  const divisors = Float32Array.from({ length: count }, (_, i) => bytes.readFloatLE(4 * i))
  if (divisors.every((divisor) => divisor > 0 && Number.isFinite(divisor))) return divisors
  throw corrupt(tensor.path, `tensor "${tensor.name}" should hold positive numbers`)
}

const supportedProjectors = 'LLaVA 1.5: a CLIP or SigLIP tower and an "mlp" projector (mm.0, mm.2, …)'

/** Says what a vision half is, when it is one of another model. */
function refuseOtherProjectors(clip: Fields, stored: readonly StoredTensor[]): void {
  const names = new Set(stored.map((tensor) => tensor.name))
  const projector = clip.string('clip.projector_type') ?? clip.string('clip.vision.projector_type') ?? 'mlp'
  const pinpoints = clip.raw('clip.vision.image_grid_pinpoints') as { readonly length?: number } | undefined
  const refusals: readonly (readonly [boolean, string])[] = [
    [projector !== 'mlp', `projector type "${projector}"`],
    [names.has('mm.3.weight'), 'a projector with layer norms (mm.3)'],
    [(pinpoints?.length ?? 0) > 0 || names.has('model.image_newline'), 'a LLaVA 1.6 tower that tiles its pictures'],
    [clip.boolean('clip.use_silu') === true, 'a tower with SiLU activations'],
    [
      names.has('v.class_embd') === names.has('v.patch_embd.bias'),
      'a tower that is neither CLIP (class token) nor SigLIP (biased patches)',
    ],
    [!names.has('v.class_embd') && clip.boolean('clip.use_gelu') !== true, 'a SigLIP tower with QuickGELU'],
    [!names.has('v.class_embd') && names.has('v.post_ln.weight'), 'a SigLIP tower with a norm after its last layer'],
  ]
  for (const [applies, what] of refusals) if (applies) throw unsupported(clip.where, what, supportedProjectors)
}

/** Which of the tower's two MLP matrices comes first is decided by shape: the one whose input is the hidden size. */
function firstFfnIsCalledDown(stored: readonly StoredTensor[]): boolean {
  const down = stored.find((tensor) => tensor.name === 'v.blk.0.ffn_down.weight')
  const norm = stored.find((tensor) => tensor.name === 'v.blk.0.ln1.weight')
  return down !== undefined && down.shape[1] === norm?.shape[0]
}

function statedVision(clip: Fields, model: StoredModel): StatedVision {
  const required = (key: string): number => clip.required(key, clip.integer(key))
  const hiddenSize = required('clip.vision.embedding_length')
  const layers = clip.required('clip.vision.block_count', clip.integer('clip.vision.block_count', 0))
  const indices = clip.numbers('clip.vision.feature_layer') ?? []
  if (indices.length > 1)
    throw unsupported(clip.where, `features of ${indices.length} layers side by side`, 'one feature layer')
  const tower = model.has('vision_tower.embeddings.class_embedding') ? 'clip' : 'siglip'
  return {
    where: clip.where,
    tower,
    hiddenSize,
    intermediateSize: required('clip.vision.feed_forward_length'),
    layers,
    featureLayer: indices[0] ?? (isWholeClipLarge(layers, hiddenSize, model) ? -2 : undefined),
    heads: required('clip.vision.attention.head_count'),
    imageSize: required('clip.vision.image_size'),
    patchSize: required('clip.vision.patch_size'),
    layerNormEps: clip.number('clip.vision.attention.layer_norm_epsilon', 0) ?? 1e-5,
    // llama.cpp computes the approximation for both; CLIP towers were trained with the exact function.
    activation:
      clip.boolean('clip.use_gelu') !== true ? 'quick_gelu' : tower === 'siglip' ? 'gelu_pytorch_tanh' : 'gelu',
    dropClassRow: dropsClassRow(clip, tower),
    projectorLayers: undefined,
  }
}

function dropsClassRow(clip: Fields, tower: StatedVision['tower']): boolean {
  const strategy = clip.string('llava.vision_feature_select_strategy') ?? (tower === 'siglip' ? 'full' : 'default')
  if (strategy === 'default' || strategy === 'full') return strategy === 'default'
  throw unsupported(clip.where, `vision feature select strategy "${strategy}"`, 'default, full')
}

// Converters drop the layers that do not run, so all that is stored runs. Only CLIP ViT-L is known to have 24: there the last one was kept.
function isWholeClipLarge(layers: number, hiddenSize: number, model: StoredModel): boolean {
  return (
    layers === 24 &&
    hiddenSize === 1024 &&
    model.has('vision_tower.embeddings.class_embedding') &&
    model.has('vision_tower.encoder.layers.23.layer_norm1.weight')
  )
}

function checkProjectorWidth(where: string, model: StoredModel, layers: number, hiddenSize: number): void {
  const width = model.dimension(`multi_modal_projector.linear_${layers}.bias`, 0, 1)
  if (width === hiddenSize) return
  throw corrupt(
    where,
    `its projector gives rows of ${width}, but the language model has a hidden size of ${hiddenSize}: the two files are of different models`,
  )
}

/**
 * A GGUF adapter, whose query and key rows are permuted as the model's are, or a directory as PEFT saves it, whose low-rank rows are brought into that
 * order when they are opened. Whole matrices of query and key are not: mapped rows stay where they are.
 */
async function ggufAdapter(location: string, hasVision: boolean): Promise<Adapter> {
  if (/\.gguf$/i.test(location)) return ggufLora(await readGgufHeader(path.resolve(location)))
  const adapter = await readAdapter(location)
  const permuted = adapter.replacements.find(([name]) => /^language_model\..*\.self_attn\.[qk]_proj\./.test(name))
  if (permuted !== undefined)
    throw unsupported(
      adapter.path,
      `"${permuted[1].name}" takes the place of query or key rows, which a GGUF keeps in another order`,
      'LoRA of them, or the checkpoint as safetensors',
    )
  if (!hasVision && adapter.replacements.some(([name]) => name.startsWith('multi_modal_projector.')))
    throw unsupported(
      adapter.path,
      'a projector for a language model without a vision tower',
      'the language model with its `mmproj`',
    )
  return adapter
}

function ggufLora(header: GgufHeader): Adapter {
  const fields = new Fields(header.path, header.metadata)
  if (fields.raw('general.type') !== 'adapter' || (fields.string('adapter.type') ?? 'lora') !== 'lora')
    throw unsupported(header.path, 'as adapter, a GGUF that is none (`general.type`, `adapter.type`)', 'LoRA adapters')
  const { pairs, others } = pairUp(header.tensors, (name) => fromGguf(name, false))
  if (others[0] !== undefined)
    throw unsupported(header.path, `"${others[0].name}" is not half of a pair`, 'LoRA of linear layers')
  const alpha = fields.required('adapter.lora.alpha', fields.number('adapter.lora.alpha', 0))
  if (pairs.length === 0) throw corrupt(header.path, 'an adapter without tensors')
  const modules = pairs.map(({ module, a, b }) => ({ module, a, b, scale: alpha / (a.shape[0] ?? 1) }))
  return { path: header.path, modules, ropeLayout: 'interleaved', replacements: [] }
}

/** @param otherwise How pictures are made square where the file does not say. */
export function ggufImageProcessor(
  clip: Fields,
  imageSize: number,
  otherwise: ImageAspectRatio,
  option?: ImageAspectRatio,
): ImageProcessorSpec {
  const stated = clip.string('llava.image_aspect_ratio') ?? otherwise
  const known = imageAspectRatios.find((each) => each === stated)
  if (known === undefined) throw unsupported(clip.where, `image aspect ratio "${stated}"`, imageAspectRatios.join(', '))
  return {
    imageSize,
    aspectRatio: option ?? known,
    mean: channels(clip, 'clip.vision.image_mean') ?? clipMean,
    std: channels(clip, 'clip.vision.image_std', 0) ?? clipStd,
    rescaleFactor: clip.number('llava.image_rescale_factor', 0) ?? 1 / 255,
    shortestEdge: clip.integer('llava.image_shortest_edge') ?? imageSize,
  }
}
