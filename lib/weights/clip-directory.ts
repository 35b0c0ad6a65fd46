// A CLIP checkpoint (a directory as transformers saves it): all of it for embeddings, or its vision tower for an original LLaVA, which comes without one.

import path from 'node:path'
import { readdir } from 'node:fs/promises'
import { LlavaError } from '../errors.js'
import { readScalar, type StatedClip } from './clip-description.js'
import { readClipVocabulary, readSiglipVocabulary } from './clip-vocabulary.js'
import { Fields, readJsonFields } from './fields.js'
import { statedClipLayers, statedSiglipText, statedSiglipTower, statedTower } from './hf-config.js'
import { corrupt, notFound, unsupported } from './model-error.js'
import { fromClip, fromSiglip } from './names.js'
import type { OriginalVision } from './original-config.js'
import { imageProcessorFromConfig } from './preprocessing.js'
import { readWeights } from './shards.js'
import type { StatedClipText } from './sizes.js'
import { threeParts, type StoredTensor } from './stored-tensor.js'

/**
 * What a directory as transformers saves a CLIPModel or a SiglipModel states. @throws LlavaError MODEL_NOT_FOUND,
 * MODEL_CORRUPT or MODEL_UNSUPPORTED.
 */
export async function statedClipModel(directory: string): Promise<StatedClip> {
  const config = await readJsonFields(path.join(directory, 'config.json'))
  const kind = config?.raw('model_type')
  if (config !== undefined && kind === 'siglip') return statedSiglipModel(directory, config)
  if (config !== undefined && kind !== 'clip' && kind !== 'clip_vision_model')
    throw unsupported(config.where, `as CLIP, model type ${JSON.stringify(kind ?? null)}`, 'clip, siglip')
  const clip = await openClip(directory)
  if (clip.text === undefined)
    throw unsupported(clip.path, 'a vision tower without its text tower', 'whole CLIP checkpoints (CLIPModel)')
  const stored = await readTowerWeights(clip)
  const processor = await readClipPreprocessor(clip)
  return {
    path: clip.path,
    name: path.basename(clip.path),
    stored,
    canonicalName: fromClip,
    vision: statedTower(clip.vision),
    text: statedText(clip.text),
    tokenizer: await readClipVocabulary(clip.path),
    imageProcessor: (vision) => imageProcessorFromConfig(processor, vision, undefined),
    logitScale: await readScalar(stored, 'logit_scale'),
  }
}

async function statedSiglipModel(directory: string, config: Fields): Promise<StatedClip> {
  const part = (key: string): Fields => config.object(key) ?? Fields.fromJson(`${config.where}, ${key}`, {})
  const vision = statedSiglipTower(part('vision_config'))
  if (part('vision_config').boolean('vision_use_head') === false)
    throw unsupported(config.where, 'a SigLIP without its pooling head (`vision_use_head`)', 'SiglipModel with it')
  const clip = { path: directory, names: new Set(await readdir(directory)) }
  const stored = (await readTowerWeights(clip)).flatMap(splitAttention)
  const processor = await readClipPreprocessor(clip)
  return {
    path: directory,
    name: path.basename(directory),
    stored,
    canonicalName: fromSiglip,
    vision,
    text: statedSiglipText(part('text_config')),
    tokenizer: await readSiglipVocabulary(directory),
    imageProcessor: (tower) => imageProcessorFromConfig(processor, tower, undefined),
    logitScale: await readScalar(stored, 'logit_scale'),
    logitBias: await readScalar(stored, 'logit_bias'),
  }
}

/** The pooling head's torch.nn.MultiheadAttention has query, key and value in one. */
function splitAttention(tensor: StoredTensor): readonly StoredTensor[] {
  const [, module, kind] = /^(.*\.head\.attention)\.in_proj_(weight|bias)$/.exec(tensor.name) ?? []
  if (module === undefined) return [tensor]
  return threeParts(
    tensor,
    ['q', 'k', 'v'].map((each) => `${module}.${each}_proj.${kind}`),
  )
}

/** A directory with a CLIP configuration; its weights have not been looked at. */
export interface ClipDirectory {
  readonly path: string
  readonly names: ReadonlySet<string>
  readonly vision: Fields
  /** Absent for a vision tower by itself. */
  readonly text?: Fields
}

export async function readTowerWeights({
  path: directory,
  names,
}: Pick<ClipDirectory, 'path' | 'names'>): Promise<readonly StoredTensor[]> {
  const tensors = await readWeights(directory, names)
  if (tensors === undefined)
    throw notFound(directory, 'neither model.safetensors nor pytorch_model.bin is in this CLIP directory')
  return tensors
}

export function readClipPreprocessor({ path: directory }: Pick<ClipDirectory, 'path'>): Promise<Fields | undefined> {
  return readJsonFields(path.join(directory, 'preprocessor_config.json'))
}

/**
 * The CLIP directory that an original LLaVA's `mm_vision_tower` stands for: the caller's own choice, else one of that name in or beside the
 * directories `near`, else the only one there whose tower is `width` wide.
 */
export async function findClip(
  { where, towerName }: OriginalVision,
  near: readonly string[],
  width: number,
  chosen: string | undefined,
): Promise<ClipDirectory> {
  if (chosen !== undefined) return openClip(path.resolve(chosen))
  const places = [...new Set(near.flatMap((directory) => [directory, path.dirname(directory)]))]
  for (const place of towerName === '' ? [] : places) {
    const named = await tryClip(path.join(place, towerName))
    if (named !== undefined) return named
  }
  const [only, ...others] = (await Promise.all(places.map(clipsIn)))
    .flat()
    .filter(({ vision }) => (vision.integer('hidden_size') ?? defaultWidth) === width)
  if (only === undefined)
    throw notFound(
      where,
      `its vision tower is not in this checkpoint; put the CLIP checkpoint "${towerName}" inside or beside it, or name its directory as \`visionTower\``,
    )
  if (others.length === 0) return only
  const paths = [only, ...others].map((clip) => clip.path).join(', ')
  throw new LlavaError(
    'INVALID_ARGUMENT',
    `${where}: several CLIP checkpoints fit its vision tower; name one of them as \`visionTower\`: ${paths}`,
  )
}

// CLIPVisionConfig's.
const defaultWidth = 768

async function openClip(directory: string): Promise<ClipDirectory> {
  const config = await readJsonFields(path.join(directory, 'config.json'))
  if (config === undefined) throw notFound(directory, 'there is no CLIP checkpoint here (config.json is missing)')
  const parts = clipParts(config)
  if (parts === undefined)
    throw unsupported(
      config.where,
      `as vision tower, model type ${JSON.stringify(config.raw('model_type') ?? null)}`,
      'clip, clip_vision_model',
    )
  return { path: directory, names: new Set(await readdir(directory)), ...parts }
}

/** `undefined` for a directory that is no CLIP checkpoint, whatever else it is. */
async function tryClip(directory: string): Promise<ClipDirectory | undefined> {
  try {
    return await openClip(directory)
  } catch (error) {
    if (error instanceof LlavaError || (error as NodeJS.ErrnoException).code !== undefined) return undefined
    throw error
  }
}

async function clipsIn(place: string): Promise<readonly ClipDirectory[]> {
  const entries = await readdir(place, { withFileTypes: true }).catch(() => [])
  const folders = entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink()).map(({ name }) => name)
  const found: ClipDirectory[] = []
  for (const folder of folders.sort()) {
    const clip = await tryClip(path.join(place, folder))
    if (clip !== undefined) found.push(clip)
  }
  return found
}

/** Early files keep what differs from the defaults in `vision_config_dict`, which wins over `vision_config`. */
function clipParts(config: Fields): Pick<ClipDirectory, 'vision' | 'text'> | undefined {
  const kind = config.raw('model_type')
  if (kind === 'clip_vision_model') return { vision: config }
  if (kind !== 'clip') return undefined
  const part = (key: string): Fields =>
    (config.object(key) ?? Fields.fromJson(`${config.where}, ${key}`, {})).merged(config.object(`${key}_dict`))
  return { vision: part('vision_config'), text: part('text_config') }
}

function statedText(text: Fields): StatedClipText {
  return { ...statedClipLayers(text, 8), contextLength: text.integer('max_position_embeddings') }
}

/** OpenAI's towers are the ones whose configuration is known without a file: heads of 64, QuickGELU, and everything else shows in the tensors. */
export function statedEmbeddedTower(
  { where, towerName }: OriginalVision,
  width: number,
): ReturnType<typeof statedTower> {
  if (!/^clip-vit-(?:base|large)-patch\d+(?:-\d+)?$/.test(towerName))
    throw unsupported(
      where,
      `a tower "${towerName}" in the checkpoint without its configuration`,
      'its CLIP directory as `visionTower`, or an OpenAI CLIP',
    )
  if (width % 64 !== 0) throw corrupt(where, `a tower of width ${width} is not "${towerName}"`)
  return statedTower(Fields.fromJson(`${where}, mm_vision_tower`, { num_attention_heads: width / 64 }))
}
