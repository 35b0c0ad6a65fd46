// The sizes of a model out of what its configuration states and what its tensors show. The shapes are the truth: a size that is not
// stated comes from them, a stated one that contradicts them is an error. What no shape shows (heads, eps, image size) must be stated
// or has the default of the reference's configuration class.

import type { ClipConfig, TextConfig, VisionConfig } from '../native.js'
import { ropeInvFreq, type Rope } from './rope.js'
import { towerRows } from './tower-rows.js'
import type { StoredModel } from './model-tensors.js'
import { corrupt } from './model-error.js'
import { invalidArgument } from '../errors.js'

type Stated = number | undefined

/** What a file says about its LLaMA decoder. */
export interface StatedText {
  /** The file that says it, for errors. */
  readonly where: string
  readonly hiddenSize: Stated
  readonly intermediateSize: Stated
  readonly layers: Stated
  readonly heads: number
  readonly kvHeads: Stated
  readonly headDim: Stated
  readonly rmsNormEps: number
  readonly contextLength: number
  /** Positions a row sees, itself included; `undefined`: all. */
  readonly slidingWindow: Stated
  readonly ropeLayout: TextConfig['ropeLayout']
  /** Asked once the head size is known. */
  readonly rope: (headDim: number) => Rope | Promise<Rope>
}

/** What a file says about its tower, CLIP's or SigLIP's. */
export interface StatedVision {
  readonly tower: 'clip' | 'siglip'
  readonly where: string
  readonly hiddenSize: Stated
  readonly intermediateSize: Stated
  /** Encoder layers of the whole tower; `featureLayer` counts in them. */
  readonly layers: Stated
  /** As `vision_feature_layer`: k >= 0 runs k layers, k < 0 runs N + 1 + k. `undefined`: all. */
  readonly featureLayer: Stated
  readonly heads: number
  readonly imageSize: Stated
  readonly patchSize: Stated
  readonly layerNormEps: number
  readonly activation: VisionConfig['activation']
  readonly dropClassRow: boolean
  /** Linear layers of the projector. `undefined`: as many as are stored. */
  readonly projectorLayers: Stated
}

/** What a file says about CLIP's text tower. */
export interface StatedClipText {
  readonly where: string
  readonly hiddenSize: Stated
  readonly intermediateSize: Stated
  readonly layers: Stated
  readonly heads: number
  readonly contextLength: Stated
  readonly layerNormEps: number
  readonly activation: VisionConfig['activation']
}

/** Native code takes the frequencies; a file that is written takes what they were made of. */
export interface DescribedText extends TextConfig {
  readonly rope: Rope
}

export async function textConfig(stated: StatedText, model: StoredModel): Promise<DescribedText> {
  const embeddings = 'language_model.embed_tokens.weight'
  const hiddenSize = agreed(stated.where, 'hidden size', stated.hiddenSize, model.dimension(embeddings, 1, 2))
  const layers = layerCount(
    stated.where,
    stated.layers,
    model.countLayers('language_model.layers', 'input_layernorm.weight'),
  )
  const first = 'language_model.layers.0'
  const headDim = stated.headDim ?? quotient(stated.where, 'hidden size', hiddenSize, 'heads', stated.heads)
  const kvRows = model.dimension(`${first}.self_attn.k_proj.weight`, 0, 2)
  const kvHeads = agreed(
    stated.where,
    'number of key/value heads',
    stated.kvHeads,
    quotient(stated.where, 'key rows', kvRows, 'rows per head', headDim),
  )
  if (headDim % 2 !== 0) throw corrupt(stated.where, `a head size of ${headDim} cannot be rotated in pairs`)
  quotient(stated.where, 'heads', stated.heads, 'key/value heads', kvHeads)
  const rope = await stated.rope(headDim)
  return {
    hiddenSize,
    intermediateSize: agreed(
      stated.where,
      'intermediate size',
      stated.intermediateSize,
      model.dimension(`${first}.mlp.gate_proj.weight`, 0, 2),
    ),
    layers,
    heads: stated.heads,
    kvHeads,
    headDim,
    // A vocabulary that was resized after the configuration was written is common, and harmless: the table's rows count.
    vocabSize: model.dimension(embeddings, 0, 2),
    rmsNormEps: stated.rmsNormEps,
    ropeLayout: stated.ropeLayout,
    rope,
    ropeInvFreq: ropeInvFreq(headDim, rope),
    contextLength: stated.contextLength,
    ...(stated.slidingWindow !== undefined && { slidingWindow: stated.slidingWindow }),
  }
}

/** @param layerOption The caller's own choice of feature layer, before the file's. */
export function visionConfig(stated: StatedVision, model: StoredModel, layerOption: number | undefined): VisionConfig {
  return { ...towerConfig(stated, model, layerOption), projectorLayers: projectorLayers(stated, model) }
}

/** A tower without a projector. */
export function towerConfig(stated: StatedVision, model: StoredModel, layerOption?: number): VisionConfig {
  const hiddenSize = agreed(
    stated.where,
    'vision hidden size',
    stated.hiddenSize,
    model.dimension('vision_tower.embeddings.position_embedding.weight', 1, 2),
  )
  const patchSize = agreed(
    stated.where,
    'patch size',
    stated.patchSize,
    model.dimension('vision_tower.embeddings.patch_embedding.weight', 3, 4),
  )
  const imageSize = checkedImageSize(stated, model, patchSize)
  quotient(stated.where, 'vision hidden size', hiddenSize, 'heads', stated.heads)
  const stored = model.countLayers('vision_tower.encoder.layers', 'layer_norm1.weight')
  return {
    ...(stated.tower === 'siglip' && { tower: stated.tower }),
    hiddenSize,
    intermediateSize: intermediateSize(stated, model, stored),
    layers: layersToRun(stated, stored, layerOption),
    heads: stated.heads,
    imageSize,
    patchSize,
    layerNormEps: stated.layerNormEps,
    activation: stated.activation,
    dropClassRow: stated.dropClassRow,
  }
}

export function clipTextConfig(stated: StatedClipText, model: StoredModel): ClipConfig['text'] {
  const { where } = stated
  const tokens = 'text_model.embeddings.token_embedding.weight'
  const hiddenSize = agreed(where, 'text hidden size', stated.hiddenSize, model.dimension(tokens, 1, 2))
  const positions = model.dimension('text_model.embeddings.position_embedding.weight', 0, 2)
  quotient(where, 'text hidden size', hiddenSize, 'heads', stated.heads)
  return {
    hiddenSize,
    intermediateSize: agreed(
      where,
      'text intermediate size',
      stated.intermediateSize,
      model.dimension('text_model.encoder.layers.0.mlp.fc1.weight', 0, 2),
    ),
    layers: layerCount(where, stated.layers, model.countLayers('text_model.encoder.layers', 'layer_norm1.weight')),
    heads: stated.heads,
    vocabSize: model.dimension(tokens, 0, 2),
    contextLength: agreed(where, 'number of text positions', stated.contextLength, positions),
    layerNormEps: stated.layerNormEps,
    activation: stated.activation,
  }
}

/** Image size S with the patches that the position table has rows for. */
function checkedImageSize(stated: StatedVision, model: StoredModel, patchSize: number): number {
  const rows = model.dimension('vision_tower.embeddings.position_embedding.weight', 0, 2)
  const patches = stated.tower === 'siglip' ? rows : rows - 1
  const imageSize = stated.imageSize ?? patchSize * Math.round(Math.sqrt(patches))
  const wanted = towerRows({ tower: stated.tower, imageSize, patchSize })
  if (wanted === rows) return imageSize
  const asked = `images of ${imageSize} in patches of ${patchSize} ask for ${wanted} positions`
  throw corrupt(
    stated.where,
    `${asked}, but the position table has ${rows}: weights and configuration are of different towers`,
  )
}

/** Of the tower's first layer; a tower that runs no layer has none to show it. */
function intermediateSize(stated: StatedVision, model: StoredModel, storedLayers: number): number {
  if (storedLayers === 0)
    return stated.intermediateSize ?? model.dimension('vision_tower.embeddings.position_embedding.weight', 1, 2)
  return agreed(
    stated.where,
    'vision intermediate size',
    stated.intermediateSize,
    model.dimension('vision_tower.encoder.layers.0.mlp.fc1.weight', 0, 2),
  )
}

function layersToRun(stated: StatedVision, stored: number, option: number | undefined): number {
  const whole = stated.layers ?? stored
  const index = option ?? stated.featureLayer ?? whole
  const count = index < 0 ? whole + 1 + index : index
  const possible = `from ${-whole - 1} to ${whole} for the ${whole} layers of this tower`
  if ((count < 0 || count > whole) && option !== undefined)
    throw invalidArgument('visionFeatureLayer', possible, option)
  if (count < 0 || count > whole)
    throw corrupt(stated.where, `the vision feature layer is ${index}, expected one ${possible}`)
  return layerCount(stated.where, count, stored)
}

/** One (linear) or more, exact GELU between them. */
function projectorLayers(stated: StatedVision, model: StoredModel): number {
  let stored = 0
  while (model.has(`multi_modal_projector.linear_${stored + 1}.weight`)) stored++
  if (stored === 0)
    throw corrupt(stated.where, 'the weights lack the projector (multi_modal_projector.linear_1, or mm_projector)')
  return agreed(stated.where, 'number of projector layers', stated.projectorLayers, stored)
}

function layerCount(where: string, stated: Stated, stored: number): number {
  if (stated !== undefined && stated > stored)
    throw corrupt(where, `${stated} layers are to run, but the weights hold ${stored}; is a file missing or truncated?`)
  return stated ?? stored
}

function agreed(where: string, what: string, stated: Stated, shown: number): number {
  if (stated === undefined || stated === shown) return shown
  throw corrupt(
    where,
    `the ${what} is given as ${stated}, but the weights have ${shown}: configuration and weights are of different models`,
  )
}

function quotient(where: string, what: string, dividend: number, by: string, divisor: number): number {
  if (dividend % divisor === 0) return dividend / divisor
  throw corrupt(where, `${what} (${dividend}) cannot be divided by ${by} (${divisor})`)
}
