// Models from the hub: which files a name stands for, whether they fit, then each of them downloaded, verified, and published together.
// A checkpoint's config.json and its index of shards, which are small, come first: a model of another kind is refused
// before gigabytes of it are here, and what is asked for is known.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { LlavaError, invalidArgument } from '../errors.js'
import { pullTypes, type PullType } from './gguf-choice.js'
import { RepositoryCache } from './cache.js'
import { downloadFile } from './download-file.js'
import { HubHttp } from './hub-http.js'
import { IncompleteFile } from './incomplete-file.js'
import { withLock } from './lock.js'
import { parseModelName, wellKnownNames, type ModelName } from './model-name.js'
import { readRepository, type HubFile, type Repository } from './repository.js'
import { hubSettings, type HubSettings } from './settings.js'
import { calledFrom, Job } from '../engine/job.js'
import { chooseModel, isModelFile, type ModelChoice } from './model-choice.js'
import { abortSignal, callback, checkOptions, oneOf, text, type OptionCheck } from '../options.js'
import { Fields, readJson } from '../weights/fields.js'
import { readHfConfig } from '../weights/hf-config.js'
import { checkRoom } from '../partial-file.js'
import { shardNames } from '../weights/shards.js'
import { ProgressThrottle } from '../progress.js'

export interface PullOptions {
  /** Type of the language model's file; default four bits, of which `q4_k_m` before others. */
  readonly type?: PullType
  /** The file's path in the repository, if its type does not single it out. */
  readonly file?: string
  /**
   * Called before anything is downloaded but config.json and the index of a checkpoint, and not if nothing has to be; a
   * false answer ends the call with ABORTED.
   */
  readonly confirm?: (plan: PullPlan) => boolean | Promise<boolean>
  /** Called some times a second; what it throws fails the call. */
  readonly onProgress?: (progress: PullProgress) => void
  /** Stops the download; what has come is kept, and the next call goes on from there. */
  readonly signal?: AbortSignal
}

export interface PullPlan {
  /** `owner/name` */
  readonly repository: string
  /** As the model's card states it; for a well-known model whose card states none, that of its weights. */
  readonly license?: string
  /** Where downloads are kept. */
  readonly cacheDirectory: string
  readonly files: readonly PlannedFile[]
  /** Bytes to download. */
  readonly missingBytes: number
}

export interface PlannedFile {
  /** In the repository. */
  readonly path: string
  readonly nbytes: number
  /** Bytes of it that are here. */
  readonly received: number
}

export interface PullProgress {
  /** Its path in the repository. */
  readonly file: string
  /** `wait`: another process is downloading it. */
  readonly stage: 'download' | 'wait'
  /** Bytes of all files here, and all there are. */
  readonly done: number
  readonly total: number
}

export interface PulledModel {
  readonly repository: string
  readonly commit: string
  readonly license?: string
  /**
   * The path to open, absolute: the language model, which finds its vision half beside it; of a checkpoint, the
   * directory.
   */
  readonly model: string
  /** Absent where the repository has no vision half, and of a checkpoint. */
  readonly mmproj?: string
  readonly files: readonly PulledFile[]
  readonly elapsedMs: number
}

export interface PulledFile {
  /** Absolute. */
  readonly path: string
  readonly nbytes: number
  /**
   * The one that the hub lists; for a small file, of which it lists git's SHA-1, the one of the bytes that were
   * verified by that.
   */
  readonly sha256: string
}

const pullChecks = {
  type: oneOf(...pullTypes),
  file: text,
  confirm: callback,
  onProgress: callback,
  signal: abortSignal,
} satisfies Record<keyof PullOptions, OptionCheck>

/**
 * Downloads a GGUF pair from the hub, or the checkpoint of a repository without GGUF, into the cache that
 * huggingface_hub shares: `llava-1.5-7b`, `llava-1.5-13b`, or `owner/name`, each with `:file` if one is meant.
 * `LLaVA.open` then takes the same name. HF_TOKEN or the token of `hf auth login`, HF_ENDPOINT, HF_HUB_CACHE, HF_HOME
 * and the proxy variables are heeded.
 *
 * A file gets its name once its checksum is the hub's, and a model its name once all of its files have theirs.
 *
 * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT (other bytes than the hub lists), MODEL_UNSUPPORTED (a checkpoint of
 * another kind), ACCESS_DENIED, DOWNLOAD_FAILED, OUTPUT_FAILED, INVALID_ARGUMENT or ABORTED.
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  checkOptions('pullModel()', options, pullChecks)
  const callSite = new Error()
  const job = new Job(options.signal, { cancel: () => undefined })
  try {
    return await pullFrom(await hubSettings(), name, options, job.stopped)
  } catch (error) {
    throw calledFrom(callSite, job.explain(error))
  } finally {
    job.end()
  }
}

/** `pullModel` with settings that are not the environment's. */
export async function pullFrom(
  settings: HubSettings,
  name: string,
  options: PullOptions,
  signal: AbortSignal,
): Promise<PulledModel> {
  const start = performance.now()
  const asked = nameOf(name, options)
  signal.throwIfAborted()
  await using http = await HubHttp.open(settings)
  const repository = await readRepository(asked.repository, isModelFile, http, settings, signal)
  const cache = await RepositoryCache.of(asked.repository, settings.cacheDirectory)
  const route: Route = { repository, cache, http, settings, signal }
  const choice = await choiceOf(asked, options, route)
  const files = choice.files.map((file) => fileOf(repository, file))
  const plan = await planOf(asked, files, route)
  await cache.prepare()
  await checkRoom(cache.blobs, plan.missingBytes)
  if (plan.missingBytes > 0 && (await options.confirm?.(plan)) === false)
    throw new LlavaError('ABORTED', `${name}: the download was not confirmed`)
  await downloadAll(files, new PullCount(files, options.onProgress), route)
  await cache.publish(repository.commit, files.toReversed()) // the first file last: without it, the others are no model
  return await pulled(plan, choice, files, route, performance.now() - start)
}

/** Where files come from, and where they go. */
interface Route {
  readonly repository: Repository
  readonly cache: RepositoryCache
  readonly http: HubHttp
  readonly settings: HubSettings
  readonly signal: AbortSignal
}

function nameOf(name: string, { file }: PullOptions): ModelName {
  const parsed = typeof name === 'string' ? parseModelName(name) : undefined
  if (parsed === undefined)
    throw invalidArgument('name', `${wellKnownNames.join(', ')} or owner/name, with :file if one is meant`, name)
  if (file === undefined) return parsed
  if (parsed.file !== undefined && parsed.file !== file)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${name} names a file, and \`file\` another one (${file}); leave one of them out`,
    )
  return { ...parsed, file }
}

async function choiceOf(asked: ModelName, { type }: PullOptions, route: Route): Promise<ModelChoice> {
  const { repository: where, file } = asked
  const wanted = { ...(type !== undefined && { type }), ...(file !== undefined && { file }) }
  const paths = route.repository.files.map(({ path }) => path)
  const readIndex = async (index: string) => shardNames(index, await fetched(index, route))
  const choice = await chooseModel(where, paths, wanted, readIndex)
  const config = 'config.json'
  if (choice.files.includes(config)) await checkKind(`${where}/${config}`, await fetched(config, route))
  return choice
}

/** Downloads one small file ahead of the others, and says where it is. */
async function fetched(path: string, route: Route): Promise<string> {
  const file = fileOf(route.repository, path)
  await route.cache.prepare()
  await downloadAll([file], new PullCount([file], undefined), route)
  return route.cache.blob(file.etag)
}

/** Throws MODEL_UNSUPPORTED where a configuration is of a model that is not computed here. */
async function checkKind(what: string, file: string): Promise<void> {
  readHfConfig(Fields.fromJson(what, await readJson(file)))
}

function fileOf({ files }: Repository, path: string): HubFile {
  return files.find((file) => file.path === path) as HubFile
}

async function planOf(
  asked: ModelName,
  files: readonly HubFile[],
  { repository, cache, settings }: Route,
): Promise<PullPlan> {
  const license = repository.license ?? asked.license
  const planned = files.map(async (file) => ({
    path: file.path,
    nbytes: file.nbytes,
    received: await receivedOf(file, cache),
  }))
  const all = await Promise.all(planned)
  return {
    repository: repository.name,
    ...(license !== undefined && { license }),
    cacheDirectory: settings.cacheDirectory,
    files: all,
    missingBytes: all.reduce((sum, { nbytes, received }) => sum + nbytes - received, 0),
  }
}

async function receivedOf(file: HubFile, cache: RepositoryCache): Promise<number> {
  if (await cache.has(file)) return file.nbytes
  return IncompleteFile.receivedAt(cache.incomplete(file.etag), file.nbytes)
}

async function downloadAll(files: readonly HubFile[], count: PullCount, route: Route): Promise<void> {
  const { cache, http, settings, signal } = route
  const { name, commit } = route.repository
  for (const file of files) {
    const place = { incomplete: cache.incomplete(file.etag), target: cache.blob(file.etag) }
    const url = `${settings.endpoint}/${name}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`
    const counted = count.of(file)
    if (!(await cache.has(file))) {
      await withLock(cache.lock(file.etag), { signal, onWait: counted.wait }, async (locked) => {
        if (!(await cache.has(file)))
          await downloadFile({ file, url, ...place, signal: locked, onBytes: counted.add }, http, settings)
      })
    }
    counted.end()
  }
}

async function pulled(
  { license }: PullPlan,
  { model, mmproj }: ModelChoice,
  files: readonly HubFile[],
  { repository: { name, commit }, cache }: Route,
  elapsedMs: number,
): Promise<PulledModel> {
  const entries = files.map(async (file) => {
    return { path: cache.file(commit, file.path), nbytes: file.nbytes, sha256: await sha256Of(file, cache) }
  })
  return {
    repository: name,
    commit,
    ...(license !== undefined && { license }),
    model: cache.file(commit, model),
    ...(mmproj !== undefined && { mmproj: cache.file(commit, mmproj) }),
    files: await Promise.all(entries),
    elapsedMs,
  }
}

/** The hub lists it, but for small files. */
async function sha256Of({ etag }: HubFile, cache: RepositoryCache): Promise<string> {
  if (etag.length === 64) return etag
  return createHash('sha256')
    .update(await readFile(cache.blob(etag)))
    .digest('hex')
}

/** Counts bytes for the caller, who hears of them ten times a second and at the end of each file. */
class PullCount {
  readonly #listener: PullOptions['onProgress']
  readonly #total: number
  readonly #throttle = new ProgressThrottle()
  #before = 0

  constructor(files: readonly HubFile[], listener: PullOptions['onProgress']) {
    this.#listener = listener
    this.#total = files.reduce((sum, { nbytes }) => sum + nbytes, 0)
  }

  of({ path, nbytes }: HubFile): {
    readonly wait: () => void
    readonly add: (nbytes: number) => void
    readonly end: () => void
  } {
    const before = this.#before
    let received = 0
    return {
      wait: () => {
        this.#say(path, 'wait', before)
      },
      add: (added) => {
        received += added
        if (this.#throttle.due) this.#say(path, 'download', before + received)
      },
      end: () => {
        this.#before = before + nbytes
        this.#say(path, 'download', this.#before)
      },
    }
  }

  #say(file: string, stage: PullProgress['stage'], done: number): void {
    this.#throttle.said()
    this.#listener?.({ file, stage, done, total: this.#total })
  }
}
