// The models that can be opened by name: the one that comes with the package, then what has been pulled. Other things
// that the hub's cache holds, for other programs, are passed over.

import { lstat, stat } from 'node:fs/promises'
import { isGguf, languageFiles, typeOf } from './gguf-choice.js'
import { RepositoryCache } from './cache.js'
import { unnamedBytes } from './contents.js'
import { parseModelName, shortestName, type ModelName } from './model-name.js'
import { hubSettings } from './settings.js'
import { weightsOf } from './model-choice.js'
import { defaultModel, defaultName, findChoice } from './named-model.js'
import { isOpenable } from '../weights/openable.js'

export interface ListedModel {
  /**
   * What `LLaVA.open` takes: `default`, the well-known name of its repository, or `owner/name`; with `:file` where
   * several of its files are models.
   */
  readonly name: string
  /** `owner/name`; absent for the model that comes with the package. */
  readonly repository?: string
  readonly commit?: string
  /** As the name of its file has it: `q4_k_m`; of a checkpoint `safetensors` or `pytorch`. Absent where it has none. */
  readonly type?: string
  /** Whether all of it is here. If not, `pullModel` goes on with it. */
  readonly complete: boolean
  /** Absolute, what is opened; absent unless it is complete. */
  readonly path?: string
  /** Absolute; absent unless it is complete. */
  readonly files?: readonly string[]
  /** Bytes on the disk. */
  readonly nbytes: number
  /** When it was pulled, or the last bytes of it came; absent for the model that comes with the package. */
  readonly pulledAt?: Date
}

/**
 * Every model that a name stands for, and downloads that were left before their end. Fails with MODEL_NOT_FOUND where
 * the cache cannot be read.
 */
export async function listModels(): Promise<readonly ListedModel[]> {
  const { cacheDirectory } = await hubSettings()
  const models = [await packaged()]
  for (const repository of await RepositoryCache.repositories(cacheDirectory)) {
    const name = parseModelName(shortestName(repository))
    if (name === undefined) continue
    models.push(...(await complete(name, cacheDirectory)), ...(await incomplete(name, cacheDirectory)))
  }
  return models
}

async function packaged(): Promise<ListedModel> {
  const { size } = await stat(defaultModel)
  return { name: defaultName, complete: true, path: defaultModel, files: [defaultModel], nbytes: size }
}

/** Each language model of a repository, and its checkpoint. */
async function complete(name: ModelName, cacheDirectory: string): Promise<readonly ListedModel[]> {
  const cache = await RepositoryCache.of(name.repository, cacheDirectory)
  const paths = (await cache.published())?.paths ?? []
  const weights = weightsOf(paths)
  const files = [...languageFiles(paths), ...(weights === undefined ? [] : [weights])]
  const models = files.map(async (file) => {
    const alone = files.length === 1 ? await described(name, cacheDirectory) : undefined
    return alone ?? described({ ...name, text: `${name.text}:${file}`, file }, cacheDirectory)
  })
  return (await Promise.all(models)).filter((model) => model !== undefined)
}

/** Undefined where it cannot be opened. */
async function described(name: ModelName, cacheDirectory: string): Promise<ListedModel | undefined> {
  const found = await findChoice(name, cacheDirectory).catch(() => undefined)
  if (found === undefined) return undefined
  const { cache, commit, choice } = found
  const location = cache.file(commit, choice.model)
  if (!(await isOpenable(location))) return undefined
  const files = choice.files.map((file) => cache.file(commit, file))
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size))
  const type = typeOfFile(choice.files[0] ?? '')
  return {
    name: name.text,
    repository: name.repository,
    commit,
    ...(type !== undefined && { type }),
    complete: true,
    path: location,
    files,
    nbytes: sizes.reduce((sum, size) => sum + size, 0),
    pulledAt: (await lstat(files[0] ?? '')).mtime,
  }
}

function typeOfFile(file: string): string | undefined {
  if (isGguf(file)) return typeOf(file)
  return file.startsWith('model.safetensors') ? 'safetensors' : 'pytorch'
}

/** The repository's downloads that have begun, as one. */
async function incomplete(name: ModelName, cacheDirectory: string): Promise<readonly ListedModel[]> {
  const cache = await RepositoryCache.of(name.repository, cacheDirectory)
  const begun = await cache.begun()
  if (begun.length === 0) return []
  const nbytes = begun.reduce((sum, one) => sum + one.nbytes, await unnamedBytes(cache))
  const pulledAt = new Date(Math.max(...begun.map((one) => one.at.getTime())))
  return [{ name: name.text, repository: name.repository, complete: false, nbytes, pulledAt }]
}
