// config.json of the original LLaVA (LlavaLlamaForCausalLM): a LLaMA configuration with the keys `mm_…` beside it.

import type { Fields } from './fields.js'
import { unsupported } from './model-error.js'

/** What the original checkpoint says about pictures; the tower itself is a CLIP checkpoint elsewhere. */
export interface OriginalVision {
  readonly where: string
  /** `mm_vision_tower`: a Hugging Face name or a path on the trainer's machine. Only its last part is ever looked for. */
  readonly towerName: string
  /** Width of the tower's rows. */
  readonly towerWidth: number | undefined
  readonly featureLayer: number
  readonly dropClassRow: boolean
  readonly projectorLayers: number
  readonly aspectRatio: 'pad' | 'crop'
  /** Each image stands between `<im_start>` and `<im_end>`. */
  readonly startAndEnd: boolean
}

export function readOriginalVision(config: Fields): OriginalVision {
  const tower = config.string('mm_vision_tower') ?? config.string('vision_tower')
  const featureLayer = config.raw('mm_vision_select_layer')
  if (featureLayer !== undefined && !Number.isInteger(featureLayer))
    throw config.mistake('mm_vision_select_layer', 'a whole number')
  return {
    where: config.where,
    towerName: towerName(config, tower),
    towerWidth: config.integer('mm_hidden_size'),
    featureLayer: config.required('mm_vision_select_layer', featureLayer as number | undefined),
    dropClassRow: dropsClassRow(config),
    projectorLayers: projectorLayers(config),
    aspectRatio: aspectRatio(config),
    startAndEnd: config.boolean('mm_use_im_start_end') === true,
  }
}

function towerName(config: Fields, tower: string | undefined): string {
  const name =
    config
      .required('mm_vision_tower', tower)
      .split(/[/\\]/)
      .findLast((part) => part !== '') ?? ''
  if (/siglip/i.test(name)) throw unsupported(config.where, `vision tower "${name}"`, 'CLIP towers')
  return name === '.' || name === '..' ? '' : name
}

function dropsClassRow(config: Fields): boolean {
  const feature = config.string('mm_vision_select_feature') ?? 'patch'
  if (feature === 'patch' || feature === 'cls_patch') return feature === 'patch'
  throw unsupported(config.where, `\`mm_vision_select_feature\` "${feature}"`, 'patch, cls_patch')
}

/** `linear`, the first LLaVA's, or `mlpNx_gelu`: N linear layers with exact GELU between them. */
function projectorLayers(config: Fields): number {
  const kind = config.string('mm_projector_type') ?? 'linear'
  if (kind === 'linear') return 1
  const [, layers] = /^mlp([1-9]\d?)x_gelu$/.exec(kind) ?? []
  if (layers === undefined) throw unsupported(config.where, `\`mm_projector_type\` "${kind}"`, 'linear, mlpNx_gelu')
  return Number(layers)
}

/** Everything but `pad` and the tiles of 1.6 goes straight to CLIP's own processor, which crops. */
function aspectRatio(config: Fields): 'pad' | 'crop' {
  const aspect = config.string('image_aspect_ratio') ?? 'square'
  if (/^anyres/.test(aspect))
    throw unsupported(
      config.where,
      `\`image_aspect_ratio\` "${aspect}" (LLaVA 1.6, which tiles its pictures)`,
      'pad, square',
    )
  return aspect === 'pad' ? 'pad' : 'crop'
}
