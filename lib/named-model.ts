// A model by its path, or by the name it was pulled under. What is on the disk comes first: a name counts where no file or directory is called so.

import { access } from 'node:fs/promises'
import { LlavaError } from './errors.js'
import { chooseGguf } from './gguf-choice.js'
import { RepositoryCache } from './hub/cache.js'
import { parseModelName, type ModelName } from './hub/model-name.js'
import { hubSettings } from './hub/settings.js'
import { describeModel, type DescribeOptions, type ModelDescription } from './weights/model-description.js'

/** Describes the model at a path or of a name. */
export async function describeNamedModel(location: string, options: DescribeOptions): Promise<ModelDescription> {
  const name = typeof location === 'string' ? parseModelName(location) : undefined
  if (name === undefined || (await exists(location))) return describeModel(location, options)
  const { cacheDirectory } = await hubSettings()
  const { model, mmproj } = await findPulled(name, cacheDirectory)
  return describeModel(model, { ...(mmproj !== undefined && { mmproj }), ...options })
}

export interface FoundModel {
  /** The language model's file. */
  readonly model: string
  readonly mmproj?: string
}

/** The files of a model that has been pulled. @throws LlavaError MODEL_NOT_FOUND, or INVALID_ARGUMENT where several have been. */
export async function findPulled({ text, repository, file }: ModelName, cacheDirectory: string): Promise<FoundModel> {
  const cache = await RepositoryCache.of(repository, cacheDirectory)
  const { commit, paths } = (await cache.published()) ?? { commit: '', paths: [] }
  try {
    const { language: [model = ''], vision: [mmproj] = [] } = chooseGguf(text, paths, { ...(file !== undefined && { file }) })
    return { model: cache.file(commit, model), ...(mmproj !== undefined && { mmproj: cache.file(commit, mmproj) }) }
  } catch (cause) {
    if (!(cause instanceof LlavaError && cause.code === 'MODEL_NOT_FOUND')) throw cause
    const problem = 'no file or directory is called so, and no model of this name has been pulled'
    throw new LlavaError('MODEL_NOT_FOUND', `${text}: ${problem}; to download it, run \`llava pull ${text}\``, { cause })
  }
}

async function exists(location: string): Promise<boolean> {
  return access(location).then(
    () => true,
    () => false,
  )
}
