// Models from the hub: which files a name stands for, whether they fit, then each of them downloaded, verified, and published together.

import { LlavaError, invalidArgument } from './errors.js'
import { chooseGguf, pullTypes, type GgufChoice, type PullType } from './gguf-choice.js'
import { RepositoryCache } from './hub/cache.js'
import { downloadFile } from './hub/download-file.js'
import { HubHttp } from './hub/hub-http.js'
import { IncompleteFile } from './hub/incomplete-file.js'
import { withLock } from './hub/lock.js'
import { parseModelName, wellKnownNames, type ModelName } from './hub/model-name.js'
import { readRepository, type HubFile, type Repository } from './hub/repository.js'
import { hubSettings, type HubSettings } from './hub/settings.js'
import { calledFrom, Job } from './job.js'
import { abortSignal, callback, checkOptions, oneOf, text, type OptionCheck } from './options.js'
import { checkRoom } from './weights/partial-file.js'

export interface PullOptions {
  /** Type of the language model's file; default four bits, of which `q4_k_m` before others. */
  readonly type?: PullType
  /** The file's path in the repository, if its type does not single it out. */
  readonly file?: string
  /** Called before anything is downloaded, and not if nothing has to be; a false answer ends the call with ABORTED. */
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
  /** The path to open, absolute: the language model, which finds its vision half beside it. */
  readonly model: string
  /** Absent where the repository has no vision half. */
  readonly mmproj?: string
  readonly files: readonly PulledFile[]
  readonly elapsedMs: number
}

export interface PulledFile {
  /** Absolute. */
  readonly path: string
  readonly nbytes: number
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
 * Downloads a GGUF pair from the hub into the cache that huggingface_hub shares: `llava-1.5-7b`, `llava-1.5-13b`, or `owner/name`, each with `:file` if one
 * is meant. `LLaVA.open` then takes the same name. HF_TOKEN, HF_ENDPOINT, HF_HUB_CACHE, HF_HOME and the proxy variables are heeded.
 *
 * A file gets its name once its SHA-256 is the hub's, and a model its name once all of its files have theirs.
 *
 * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT (other bytes than the hub lists), ACCESS_DENIED, DOWNLOAD_FAILED, OUTPUT_FAILED, INVALID_ARGUMENT or ABORTED.
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
export async function pullFrom(settings: HubSettings, name: string, options: PullOptions, signal: AbortSignal): Promise<PulledModel> {
  const start = performance.now()
  const asked = nameOf(name, options)
  signal.throwIfAborted()
  await using http = await HubHttp.open(settings)
  const repository = await readRepository(asked.repository, http, settings, signal)
  const cache = await RepositoryCache.of(asked.repository, settings.cacheDirectory)
  const { choice, files } = filesOf(asked, repository, options)
  const plan = await planOf(asked, repository, files, cache, settings)
  await cache.prepare()
  await checkRoom(cache.blobs, plan.missingBytes)
  if (plan.missingBytes > 0 && (await options.confirm?.(plan)) === false) throw new LlavaError('ABORTED', `${name}: the download was not confirmed`)
  await downloadAll(files, repository, cache, http, settings, new PullCount(files, options.onProgress), signal)
  await cache.publish(repository.commit, files.toReversed()) // the language model last: without it, a vision half is no model
  return pulled(plan, repository, cache, choice, files, performance.now() - start)
}

function nameOf(name: string, { file }: PullOptions): ModelName {
  const parsed = typeof name === 'string' ? parseModelName(name) : undefined
  if (parsed === undefined) throw invalidArgument('name', `${wellKnownNames.join(', ')} or owner/name, with :file if one is meant`, name)
  if (file === undefined) return parsed
  if (parsed.file !== undefined && parsed.file !== file)
    throw new LlavaError('INVALID_ARGUMENT', `${name} names a file, and \`file\` another one (${file}); leave one of them out`)
  return { ...parsed, file }
}

/** The language model first. */
function filesOf(asked: ModelName, { files }: Repository, { type }: PullOptions): { readonly choice: GgufChoice; readonly files: readonly HubFile[] } {
  const { repository, file } = asked
  const wanted = { ...(type !== undefined && { type }), ...(file !== undefined && { file }) }
  const choice = chooseGguf(repository, files.map(({ path }) => path), wanted)
  const paths = [...choice.language, ...(choice.vision ?? [])]
  return { choice, files: paths.map((path) => files.find((one) => one.path === path) as HubFile) }
}

async function planOf(asked: ModelName, repository: Repository, files: readonly HubFile[], cache: RepositoryCache, settings: HubSettings): Promise<PullPlan> {
  const license = repository.license ?? asked.license
  const planned = files.map(async (file) => ({
    path: file.path,
    nbytes: file.nbytes,
    received: (await cache.has(file)) ? file.nbytes : await IncompleteFile.receivedAt(cache.incomplete(file.sha256), file.nbytes),
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

async function downloadAll(
  files: readonly HubFile[],
  { name, commit }: Repository,
  cache: RepositoryCache,
  http: HubHttp,
  settings: HubSettings,
  count: PullCount,
  signal: AbortSignal,
): Promise<void> {
  for (const file of files) {
    const place = { incomplete: cache.incomplete(file.sha256), target: cache.blob(file.sha256) }
    const url = `${settings.endpoint}/${name}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`
    const counted = count.of(file)
    if (!(await cache.has(file))) {
      await withLock(cache.lock(file.sha256), { signal, onWait: counted.wait }, async (locked) => {
        if (!(await cache.has(file))) await downloadFile({ file, url, ...place, signal: locked, onBytes: counted.add }, http, settings)
      })
    }
    counted.end()
  }
}

function pulled(
  { license }: PullPlan,
  { name, commit }: Repository,
  cache: RepositoryCache,
  { language, vision }: GgufChoice,
  files: readonly HubFile[],
  elapsedMs: number,
): PulledModel {
  const mmproj = vision?.[0]
  return {
    repository: name,
    commit,
    ...(license !== undefined && { license }),
    model: cache.file(commit, language[0] ?? ''),
    ...(mmproj !== undefined && { mmproj: cache.file(commit, mmproj) }),
    files: files.map(({ path, nbytes, sha256 }) => ({ path: cache.file(commit, path), nbytes, sha256 })),
    elapsedMs,
  }
}

/** Counts bytes for the caller, who hears of them ten times a second and at the end of each file. */
class PullCount {
  readonly #listener: PullOptions['onProgress']
  readonly #total: number
  #before = 0
  #said = -Infinity

  constructor(files: readonly HubFile[], listener: PullOptions['onProgress']) {
    this.#listener = listener
    this.#total = files.reduce((sum, { nbytes }) => sum + nbytes, 0)
  }

  of({ path, nbytes }: HubFile): { readonly wait: () => void; readonly add: (nbytes: number) => void; readonly end: () => void } {
    const before = this.#before
    let received = 0
    return {
      wait: () => {
        this.#say(path, 'wait', before)
      },
      add: (added) => {
        received += added
        if (performance.now() - this.#said >= 100) this.#say(path, 'download', before + received)
      },
      end: () => {
        this.#before = before + nbytes
        this.#say(path, 'download', this.#before)
      },
    }
  }

  #say(file: string, stage: PullProgress['stage'], done: number): void {
    this.#said = performance.now()
    this.#listener?.({ file, stage, done, total: this.#total })
  }
}
