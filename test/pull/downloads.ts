// A pull of a test's own: a server, a cache in a folder that goes with it, and settings that make megabytes of kilobytes.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { HubSettings } from '../../lib/hub/settings.js'
import { pullFrom, type PulledModel, type PullOptions } from '../../lib/hub/pull.js'
import { HubServer, repository, sha256, type Files } from './hub-server.js'

export const partBytes = 16 << 10

/** Of thirteen parts, the last one short. */
export const language = randomBytes(200_000)
export const vision = randomBytes(20_000)

export const pair: Files = {
  'tiny-Q8_0.gguf': randomBytes(1000),
  'tiny-Q4_K_M.gguf': language,
  'tiny-mmproj-f16.gguf': vision,
}

export interface Place {
  readonly server: HubServer
  readonly folder: string
  readonly settings: HubSettings
  /** Pulls the pair. */
  readonly pull: (options?: PullOptions, settings?: Partial<HubSettings>, signal?: AbortSignal) => Promise<PulledModel>
  /** The pair's folder in the cache. */
  readonly cached: string
  /** All files of the cache, in order. */
  readonly listed: () => Promise<readonly string[]>
}

export async function withServer(work: (place: Place) => Promise<void>, files = pair): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    using server = await HubServer.start(files)
    const settings = {
      endpoint: server.endpoint,
      cacheDirectory: folder,
      connections: 4,
      partBytes,
      retryMs: 1,
      silenceMs: 5000,
    }
    const signal = new AbortController().signal
    await work({
      server,
      folder,
      settings,
      pull: (options = {}, changed = {}, stop = signal) =>
        pullFrom({ ...settings, ...changed }, repository, options, stop),
      cached: path.join(folder, 'models--owner--tiny-GGUF'),
      listed: async () => {
        const entries = await readdir(folder, { recursive: true, withFileTypes: true })
        return entries
          .filter((entry) => !entry.isDirectory())
          .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
          .sort()
      },
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Whether the pair is there under its names, byte for byte. */
export async function isWhole({ model, mmproj = '' }: PulledModel): Promise<boolean> {
  return (await readFile(model)).equals(language) && (await readFile(mmproj)).equals(vision)
}

/** The files of a directory, as a repository. */
export async function filesOf(directory: string): Promise<Files> {
  const names = await readdir(directory)
  const files = names.map(async (name) => [name, await readFile(path.join(directory, name))] as const)
  return Object.fromEntries(await Promise.all(files))
}

export const blobOf = (bytes: Buffer): string => path.join('models--owner--tiny-GGUF', 'blobs', sha256(bytes))

/** Nothing of this machine's own settings. */
export function environment({ server, folder }: Place): NodeJS.ProcessEnv {
  const proxies = ['http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']
  const unset = ['HF_TOKEN', 'HF_HOME', ...proxies].map((name) => [name, ''])
  const own = { HF_ENDPOINT: `${server.endpoint}/`, HF_HUB_CACHE: folder, HF_TOKEN_PATH: path.join(folder, 'no-token') }
  return { ...Object.fromEntries(unset), ...own } as NodeJS.ProcessEnv
}
