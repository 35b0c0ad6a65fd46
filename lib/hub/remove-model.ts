// Deletes what has been pulled: a model by its name, all of it, or one of its files.

import { LlavaError, invalidArgument } from '../errors.js'
import { partPaths } from './gguf-choice.js'
import { RepositoryCache } from './cache.js'
import { parseModelName, type ModelName } from './model-name.js'
import { carryOut, checkRemovable, planRemoval, type Removal } from './removal.js'
import { hubSettings } from './settings.js'
import { calledFrom } from '../engine/job.js'
import { weightsOf } from './model-choice.js'
import { defaultName, findChoice } from './named-model.js'
import { callback, checkOptions, type OptionCheck } from '../options.js'

export interface RemoveOptions {
  /** Called before anything is deleted; a false answer ends the call with ABORTED. */
  readonly confirm?: (plan: RemovalPlan) => boolean | Promise<boolean>
}

export interface RemovalPlan {
  /** `owner/name` */
  readonly repository: string
  /** The files' paths in the repository; those of downloads that were left before their end have none yet. */
  readonly files: readonly string[]
  /** Bytes that the disk has free afterwards. */
  readonly freedBytes: number
}

export interface RemovedModel extends RemovalPlan {
  /** As it was given. */
  readonly name: string
}

const removeChecks = { confirm: callback } satisfies Record<keyof RemoveOptions, OptionCheck>

/**
 * Deletes a model that has been pulled, with every version of it and what was left of its downloads; of `name:file`,
 * that file alone. What another reference of the repository than `main` names stays, as other programs have asked for
 * it.
 *
 * Fails with MODEL_NOT_FOUND, BUSY (another process is downloading the model), OUTPUT_FAILED, INVALID_ARGUMENT or
 * ABORTED.
 */
export async function removeModel(name: string, options: RemoveOptions = {}): Promise<RemovedModel> {
  checkOptions('removeModel()', options, removeChecks)
  if (typeof name !== 'string') throw invalidArgument('name', 'the name of a model', name)
  const callSite = new Error()
  try {
    return await remove(name, options)
  } catch (error) {
    throw calledFrom(callSite, error)
  }
}

async function remove(name: string, { confirm }: RemoveOptions): Promise<RemovedModel> {
  if (name === defaultName)
    throw new LlavaError('INVALID_ARGUMENT', `${name} comes with the package; only what was pulled is deleted`)
  const asked = parseModelName(name)
  if (asked === undefined) throw notPulled(name)
  const { cacheDirectory } = await hubSettings()
  const cache = await RepositoryCache.of(asked.repository, cacheDirectory)
  const wanted = await filesOf(asked, cache, cacheDirectory)
  const removal = await planRemoval(cache, wanted)
  if (removal.names.length + removal.blobs.length === 0) throw notPulled(name)
  const plan = planOf(asked.repository, removal)
  if ((await confirm?.(plan)) === false) throw new LlavaError('ABORTED', `${name}: the removal was not confirmed`)
  await checkRemovable(name, cache)
  await carryOut(removal, cache)
  return { name, ...plan }
}

/**
 * Paths of a file and what belongs to it: the other parts of a split one, all of a checkpoint. Undefined where no file
 * is named.
 */
async function filesOf(
  asked: ModelName,
  cache: RepositoryCache,
  cacheDirectory: string,
): Promise<ReadonlySet<string> | undefined> {
  const { text, file } = asked
  if (file === undefined) return undefined
  const paths = (await cache.published())?.paths ?? []
  if (!paths.includes(file)) throw notPulled(text)
  if (file !== weightsOf(paths)) return new Set(partPaths(file))
  return new Set((await findChoice(asked, cacheDirectory)).choice.files)
}

function planOf(repository: string, { names, nbytes }: Removal): RemovalPlan {
  return { repository, files: [...new Set(names.map((name) => name.path))].sort(), freedBytes: nbytes }
}

function notPulled(name: string): LlavaError {
  const advice = '`llava list` shows those that have, and a file that is not of the cache is yours to delete'
  return new LlavaError('MODEL_NOT_FOUND', `${name}: no model of this name has been pulled; ${advice}`)
}
