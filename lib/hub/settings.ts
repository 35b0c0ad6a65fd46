// What the environment says of the hub, and how downloads go about it. HTTP_PROXY, HTTPS_PROXY and NO_PROXY are read where connections are made.

import { readFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { LlavaError } from '../errors.js'

export interface HubSettings {
  /** HF_ENDPOINT, or the hub itself; without a slash at its end. */
  readonly endpoint: string
  /** HF_TOKEN, or what `hf auth login` has written. */
  readonly token?: string
  /** HF_HUB_CACHE, or `hub` in HF_HOME, or that of huggingface_hub. Absolute. */
  readonly cacheDirectory: string
  /** Parts of a file that are downloaded at once. */
  readonly connections: number
  /** Bytes of a part. */
  readonly partBytes: number
  /** Milliseconds before the second try; each one after it waits twice as long as the one before. */
  readonly retryMs: number
  /** Milliseconds without a byte after which a connection counts as broken. */
  readonly silenceMs: number
}

export async function hubSettings(): Promise<HubSettings> {
  const { HUB_URL, getHFHubCachePath } = await import('@huggingface/hub')
  const token = process.env['HF_TOKEN']?.trim() || (await savedToken())
  return {
    endpoint: endpointOf(process.env['HF_ENDPOINT']?.trim() || HUB_URL),
    ...(token !== '' && { token }),
    cacheDirectory: path.resolve(getHFHubCachePath()),
    connections: 4, // enough for a line whose round trips are long; more is what the hub calls abuse
    partBytes: 32 << 20, // seconds of a fast line: a request each is no burden, and the bytes are still in memory when they are hashed
    retryMs: 500,
    silenceMs: 30_000,
  }
}

/**
 * The token that `hf auth login` keeps, as huggingface_hub finds it; empty where there is none, or
 * HF_HUB_DISABLE_IMPLICIT_TOKEN says to send none.
 */
async function savedToken(): Promise<string> {
  if (/^(?:1|on|yes|true)$/i.test(process.env['HF_HUB_DISABLE_IMPLICIT_TOKEN'] ?? '')) return ''
  const caches = process.env['XDG_CACHE_HOME'] || path.join(os.homedir(), '.cache')
  const home = process.env['HF_HOME'] || path.join(caches, 'huggingface')
  const file = expanded(process.env['HF_TOKEN_PATH'] || path.join(home, 'token'))
  return (await readFile(file, 'utf8').catch(() => '')).trim()
}

/** With the home directory for the tilde that a file of settings leaves there. */
function expanded(location: string): string {
  return location.replace(/^~(?=[/\\]|$)/, os.homedir())
}

function endpointOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return text.replace(/\/+$/, '')
  throw new LlavaError(
    'INVALID_ARGUMENT',
    `HF_ENDPOINT should be an http or https address, and is ${JSON.stringify(text)}`,
  )
}
