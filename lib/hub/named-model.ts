// A model by its path, or by the name it was pulled under. What is on the disk comes first: a name counts where no file or directory is called so.

import { access } from 'node:fs/promises'
import path from 'node:path'
import { LlavaError } from '../errors.js'
import { RepositoryCache } from './cache.js'
import { nearestNames, parseModelName, type ModelName } from './model-name.js'
import { hubSettings } from './settings.js'
import { chooseModel, type ModelChoice } from './model-choice.js'
import { describeModel } from '../weights/describe-model.js'
import type { DescribeOptions, ModelDescription } from '../weights/model-description.js'
import { packageFile } from '../package-files.js'
import { shardNames } from '../weights/shards.js'

/** The name of the model that comes with the package, which is pulled nowhere. */
export const defaultName = 'default'

/** Where it is. */
export const defaultModel = packageFile('models/default.gguf')

/** Describes the model at a path or of a name. */
export async function describeNamedModel(location: string, options: DescribeOptions): Promise<ModelDescription> {
  if (typeof location !== 'string' || (await exists(location))) return describeModel(location, options)
  if (location === defaultName) return describeModel(defaultModel, options)
  const name = parseModelName(location)
  if (name === undefined && isBareWord(location)) throw unknownName(location)
  if (name === undefined) return describeModel(location, options)
  const { cacheDirectory } = await hubSettings()
  return describePulled(name, await findPulled(name, cacheDirectory), options)
}

/** Describes a model that was found. A checkpoint's directory is called after the commit, which is no name. */
export async function describePulled(
  name: ModelName,
  { model, mmproj }: FoundModel,
  options: DescribeOptions,
): Promise<ModelDescription> {
  const described = await describeModel(model, { ...(mmproj !== undefined && { mmproj }), ...options })
  if (described.format !== 'hf-directory') return described
  return { ...described, card: { ...described.card, name: path.posix.basename(name.repository) } }
}

export interface FoundModel {
  /** The language model's file, or the directory of a checkpoint. */
  readonly model: string
  readonly mmproj?: string
}

/** The files of a model that has been pulled. @throws LlavaError MODEL_NOT_FOUND, or INVALID_ARGUMENT where several have been. */
export async function findPulled(name: ModelName, cacheDirectory: string): Promise<FoundModel> {
  return placesOf(await findChoice(name, cacheDirectory))
}

export function placesOf({ cache, commit, choice: { model, mmproj } }: FoundChoice): FoundModel {
  return { model: cache.file(commit, model), ...(mmproj !== undefined && { mmproj: cache.file(commit, mmproj) }) }
}

export interface FoundChoice {
  readonly cache: RepositoryCache
  readonly commit: string
  readonly choice: ModelChoice
}

/** Which files of the cache a name stands for. @throws as `findPulled` does. */
export async function findChoice({ text, repository, file }: ModelName, cacheDirectory: string): Promise<FoundChoice> {
  const cache = await RepositoryCache.of(repository, cacheDirectory)
  const { commit, paths } = (await cache.published()) ?? { commit: '', paths: [] }
  try {
    if (file !== undefined && !paths.includes(file))
      throw new LlavaError('MODEL_NOT_FOUND', `${text}: ${file} is not there`)
    const wanted = { ...(file !== undefined && { file }) }
    const choice = await chooseModel(text, paths, wanted, (index) => shardNames(index, cache.file(commit, index)))
    return { cache, commit, choice }
  } catch (cause) {
    if (!(cause instanceof LlavaError && cause.code === 'MODEL_NOT_FOUND')) throw cause
    const problem = 'no file or directory is called so, and no model of this name has been pulled'
    throw new LlavaError('MODEL_NOT_FOUND', `${text}: ${problem}; to download it, run \`llava pull ${text}\``, {
      cause,
    })
  }
}

/** Whether this is meant as a name rather than as a path: neither separators nor the extension of a model's file. */
function isBareWord(location: string): boolean {
  return /^\w[\w.:-]*$/.test(location) && !/\.(?:gguf|safetensors|bin|json|pth?|ckpt)$/i.test(location)
}

function unknownName(location: string): LlavaError {
  const names = nearestNames(location)
  const problem = `no file or directory is called so, and it is no name of a model; did you mean ${names[0]}?`
  const known = `The names known are ${names.join(' and ')}`
  const advice = '`llava pull owner/name` downloads any other model of the hub'
  return new LlavaError('MODEL_NOT_FOUND', `${location}: ${problem} ${known}; ${advice}`)
}

async function exists(location: string): Promise<boolean> {
  return access(location).then(
    () => true,
    () => false,
  )
}
