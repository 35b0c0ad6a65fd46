// Opens a model's files far enough to say what it is. No weight is read.

import path from 'node:path'
import { readdir, stat } from 'node:fs/promises'
import { invalidArgument, LlavaError } from '../errors.js'
import { describeGguf } from './gguf-model.js'
import { describeHfDirectory } from './hf-directory.js'
import { readGgufHeader } from './gguf.js'
import type { DescribeOptions, ModelDescription } from './model-description.js'
import { notFound, unsupported } from './model-error.js'
import { firstParts } from './gguf-split.js'
import { imageAspectRatios } from './preprocessing.js'

/**
 * Describes the model at `location`: a checkpoint directory (Hugging Face's or the original LLaVA's), a GGUF file or the first of its parts, or a
 * directory with one GGUF language model.
 * @throws LlavaError MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, or INVALID_ARGUMENT where the caller has to choose a file.
 */
export async function describeModel(location: string, options: DescribeOptions = {}): Promise<ModelDescription> {
  checkOptions(location, options)
  const absolute = path.resolve(location)
  if (!(await isDirectory(absolute))) return describeFile(absolute, options)
  const names = new Set(await readdir(absolute))
  const ggufs = [...names].filter((name) => name.toLowerCase().endsWith('.gguf')).sort()
  const isCheckpoint =
    names.has('config.json') &&
    (ggufs.length === 0 || [...names].some((name) => /\.(?:safetensors|bin)(?:\.index\.json)?$/.test(name)))
  if (isCheckpoint) return describeHfDirectory(absolute, names, options)
  if (ggufs.length > 0) return describeGguf(await onlyLanguageModel(absolute, ggufs), options)
  throw notFound(absolute, 'neither config.json with weights nor a .gguf file is in this directory')
}

function checkOptions(
  location: string,
  { mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio }: DescribeOptions,
): void {
  if (typeof location !== 'string' || location === '')
    throw invalidArgument('path', 'the path of a model file or directory', location)
  if (mmproj !== undefined && typeof mmproj !== 'string')
    throw invalidArgument('mmproj', 'the path of a GGUF file', mmproj)
  if (visionTower !== undefined && typeof visionTower !== 'string')
    throw invalidArgument('visionTower', 'the path of a CLIP directory', visionTower)
  if (adapter !== undefined && typeof adapter !== 'string')
    throw invalidArgument('adapter', 'the path of an adapter', adapter)
  if (visionFeatureLayer !== undefined && !Number.isInteger(visionFeatureLayer))
    throw invalidArgument('visionFeatureLayer', 'a whole number', visionFeatureLayer)
  if (imageAspectRatio !== undefined && !imageAspectRatios.includes(imageAspectRatio))
    throw invalidArgument('imageAspectRatio', `one of ${imageAspectRatios.join(', ')}`, imageAspectRatio)
}

async function isDirectory(location: string): Promise<boolean> {
  try {
    return (await stat(location)).isDirectory()
  } catch (cause) {
    throw notFound(location, 'there is no such file or directory', cause)
  }
}

function describeFile(file: string, options: DescribeOptions): Promise<ModelDescription> {
  if (/\.(?:safetensors|json|bin|pth?|ckpt)$/i.test(file))
    throw unsupported(
      file,
      'one file of a checkpoint',
      'the directory that holds the whole checkpoint, or a .gguf file',
    )
  return describeGguf(file, options)
}

/** Of a directory's GGUF files, the one that is not a vision half. */
async function onlyLanguageModel(directory: string, names: readonly string[]): Promise<string> {
  const paths = firstParts(names).map((name) => path.join(directory, name))
  const headers = await Promise.all(paths.map(readGgufHeader))
  const models = headers
    .filter((header) => header.metadata.get('general.architecture') !== 'clip')
    .map((header) => header.path)
  const [only] = models
  if (only === undefined)
    throw notFound(directory, `it holds the vision half of a pair (${names.join(', ')}) and no language model`)
  if (models.length === 1) return only
  throw new LlavaError(
    'INVALID_ARGUMENT',
    `${directory}: several language models are there; open one of them by its path: ${models.map((model) => path.basename(model)).join(', ')}`,
  )
}
