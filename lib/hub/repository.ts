// What a repository of the hub holds at one commit. The protocol is known to the library of the hub's makers; every word of an answer that becomes a path, a
// length or a checksum is checked here, as whoever runs a server may write what they like.

import type { ListFileEntry } from '@huggingface/hub'
import { LlavaError } from '../errors.js'
import type { HubHttp } from './hub-http.js'
import { Retries } from './retries.js'
import type { HubSettings } from './settings.js'

export interface HubFile {
  /** With slashes, inside the repository. */
  readonly path: string
  readonly nbytes: number
  /**
   * What its bytes are verified by, and their name in the cache: their SHA-256, or the SHA-1 of git's blob for a file
   * that git itself holds.
   */
  readonly etag: string
}

export interface Repository {
  /** `owner/name` */
  readonly name: string
  /** 40 hexadecimal digits. */
  readonly commit: string
  /** As the model's card states it. */
  readonly license?: string
  /** Those that were wanted. */
  readonly files: readonly HubFile[]
}

/** Four seconds of waiting: somebody may sit there, and nothing has been achieved yet that could be lost. */
const listingTries = 4

/** @param wanted Whether a file of this path is of use; of others, nothing is checked and nothing kept. */
export async function readRepository(
  name: string,
  wanted: (path: string) => boolean,
  http: HubHttp,
  { endpoint, retryMs }: HubSettings,
  signal: AbortSignal,
): Promise<Repository> {
  const { listFiles, modelInfo } = await import('@huggingface/hub')
  const get = async (url: string, { headers = {} }: { readonly headers?: Record<string, string> } = {}) => {
    const answer = await new Retries(retryMs, signal, listingTries).run(() => http.text(url, headers, signal))
    return new Response(answer.text, { headers: answer.headers })
  }
  const asked = { hubUrl: endpoint, fetch: get as unknown as typeof fetch }
  try {
    const { sha, cardData } = await modelInfo({
      ...asked,
      name,
      revision: 'main',
      additionalFields: ['sha', 'cardData'],
    })
    const commit = matching(sha, /^[0-9a-f]{40}$/, `the commit of ${name}`)
    const files: HubFile[] = []
    for await (const entry of listFiles({ ...asked, repo: name, revision: commit, recursive: true })) {
      if (entry.type === 'file' && wanted(entry.path)) files.push(checkedFile(name, entry))
    }
    const license = licenseOf(cardData)
    return { name, commit, ...(license !== undefined && { license }), files }
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof LlavaError) throw error
    throw new LlavaError('DOWNLOAD_FAILED', `${endpoint}: its answer is none of a hub of models; check HF_ENDPOINT`, {
      cause: error,
    })
  }
}

function checkedFile(repository: string, { path, size, oid, lfs }: ListFileEntry): HubFile {
  const what = `${repository}/${path}`
  const leaves = path.split('/').some((part) => part === '' || part === '.' || part === '..')
  if (leaves || /[\\:\0]/.test(path))
    throw new LlavaError(
      'DOWNLOAD_FAILED',
      `${JSON.stringify(what)}: a file of this name would leave the cache; nothing of the repository is downloaded`,
    )
  const nbytes = lfs?.size ?? size
  if (!Number.isSafeInteger(nbytes) || nbytes < 0) throw answered(what, 'no length')
  if (lfs === undefined) return { path, nbytes, etag: matching(oid, /^[0-9a-f]{40}$/, `the SHA-1 of ${what}`) }
  return { path, nbytes, etag: matching(lfs.oid, /^[0-9a-f]{64}$/, `the SHA-256 of ${what}`) }
}

function licenseOf(card: unknown): string | undefined {
  const { license, license_name: name } = (card ?? {}) as {
    readonly license?: unknown
    readonly license_name?: unknown
  }
  return [name, license].find((one) => typeof one === 'string')
}

function matching(value: unknown, pattern: RegExp, what: string): string {
  if (typeof value === 'string' && pattern.test(value)) return value
  throw answered(what, JSON.stringify(value) ?? 'nothing')
}

function answered(what: string, value: string): LlavaError {
  return new LlavaError('DOWNLOAD_FAILED', `${what}: the hub gives ${value} for it`)
}
