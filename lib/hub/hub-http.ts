// Requests to the hub and to where it redirects: through the proxies of the environment, with the token for the hub alone, and failures in words.

import type * as undici from 'undici'
import { LlavaError, type LlavaErrorCode } from '../errors.js'
import { PassingFailure } from './retries.js'
import type { HubSettings } from './settings.js'

export type HubResponse = undici.Response

const logIn = 'run `hf auth login` or set HF_TOKEN, for an account that may read it'

export class HubHttp implements AsyncDisposable {
  readonly #fetch: typeof undici.fetch
  readonly #dispatcher: undici.EnvHttpProxyAgent
  readonly #settings: HubSettings

  private constructor({ fetch, EnvHttpProxyAgent }: typeof undici, settings: HubSettings) {
    const { silenceMs } = settings
    this.#fetch = fetch
    this.#dispatcher = new EnvHttpProxyAgent({
      headersTimeout: silenceMs,
      bodyTimeout: silenceMs,
      connect: { timeout: silenceMs },
    })
    this.#settings = settings
  }

  static async open(settings: HubSettings): Promise<HubHttp> {
    return new HubHttp(await import('undici'), settings)
  }

  /** One try. @throws PassingFailure where another may do better, else LlavaError. */
  async get(url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HubResponse> {
    const response = await this.#request(
      url,
      { 'user-agent': 'llava-native', ...headers, ...this.#authorization(url) },
      signal,
    )
    if (response.ok) return response
    await discard(response)
    throw this.#refusal(url, response)
  }

  /** One try for a text, all of it. */
  async text(
    url: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<{ readonly text: string; readonly headers: Headers }> {
    const response = await this.get(url, headers, signal)
    try {
      return { text: await response.text(), headers: new Headers([...response.headers]) }
    } catch (cause) {
      signal.throwIfAborted()
      throw brokenConnection(url, cause)
    }
  }

  async #request(url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HubResponse> {
    try {
      return await this.#fetch(url, { headers, signal, dispatcher: this.#dispatcher })
    } catch (cause) {
      signal.throwIfAborted()
      throw brokenConnection(url, cause)
    }
  }

  /** For the hub alone: fetch drops it at a redirect to another origin, and a listing may name the next page anywhere. */
  #authorization(url: string): Readonly<Record<string, string>> {
    const { token, endpoint } = this.#settings
    return token !== undefined && new URL(url).origin === new URL(endpoint).origin
      ? { authorization: `Bearer ${token}` }
      : {}
  }

  /** What an answer that is none means, as an error to throw. */
  #refusal(url: string, { status, headers, url: answered }: HubResponse): Error {
    const words = headers.get('x-error-message')
    const cause = new Error(`status ${status}${words === null ? '' : `: ${words}`}`)
    const failure = (code: LlavaErrorCode, problem: string) =>
      new LlavaError(code, `${nameOf(url)}: ${problem} (status ${status})`, { cause })
    if (status === 408 || status === 429 || status >= 500) {
      const afterMs = retryAfterMs(headers)
      const problem = status === 429 ? 'there were too many requests' : 'the server cannot answer now'
      const soon = afterMs === undefined ? 'later' : `in ${Math.ceil(afterMs / 1000)} s`
      return new PassingFailure(failure('DOWNLOAD_FAILED', `${problem}; try again ${soon}`), afterMs)
    }
    const elsewhere = new URL(answered).origin !== new URL(this.#settings.endpoint).origin
    // an address that the hub signs expires; asked again, it signs another
    if (elsewhere)
      return new PassingFailure(failure('DOWNLOAD_FAILED', 'where the hub redirects to refuses; try again later'))
    if (status === 401 || status === 403) return failure('ACCESS_DENIED', this.#accessAdvice)
    if (status === 404 || status === 410)
      return failure('MODEL_NOT_FOUND', 'the hub has nothing of this name; check its spelling')
    return failure('DOWNLOAD_FAILED', 'the server refuses')
  }

  get #accessAdvice(): string {
    const hidden = 'the hub shows this to some accounts only, if it is there at all; check its spelling'
    const refused = 'the account of the token may not read this; accept the terms on the page of the model with it'
    return `${this.#settings.token === undefined ? hidden : refused}, or ${logIn}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispatcher.destroy()
  }
}

/** Leaves a body unread. */
export async function discard({ body }: HubResponse): Promise<void> {
  await body?.cancel().catch(() => undefined) // it may have broken by itself
}

/** What a connection that broke, or never came to be, is told as. */
export function brokenConnection(url: string, cause: unknown): PassingFailure {
  const advice =
    'check the network, and HTTPS_PROXY and HF_ENDPOINT if they are to be used; what has been downloaded is kept'
  return new PassingFailure(
    new LlavaError('DOWNLOAD_FAILED', `${nameOf(url)}: the connection failed (${rootOf(cause)}); ${advice}`, { cause }),
  )
}

/** fetch says "fetch failed"; what failed stands beneath. */
function rootOf(error: unknown): string {
  let root = error as Error & { readonly code?: string; readonly errors?: readonly Error[] }
  for (let next: unknown = root; next instanceof Error; next = next.cause ?? root.errors?.[0]) root = next
  return root.message === '' ? (root.code ?? root.name) : root.message
}

/** The address without what may be secret in it. */
function nameOf(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

/** Seconds, or a date. */
function retryAfterMs(headers: HubResponse['headers']): number | undefined {
  const after = headers.get('retry-after')
  if (after === null) return undefined
  const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
