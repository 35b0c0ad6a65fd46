// One file from the hub into the cache: several parts at once where the server sends parts, else from its beginning on; verified, then named.

import { LlavaError } from '../errors.js'
import { brokenConnection, discard, type HubHttp, type HubResponse } from './hub-http.js'
import { IncompleteFile, type Part } from './incomplete-file.js'
import { Retries, type PassingFailure } from './retries.js'
import type { HubFile } from './repository.js'
import type { HubSettings } from './settings.js'

export interface FileRequest {
  readonly file: HubFile
  /** Where the hub has it. */
  readonly url: string
  /** Where it is kept until it is whole. */
  readonly incomplete: string
  /** Where it is when it is. */
  readonly target: string
  readonly signal: AbortSignal
  /** Called with the bytes that came, and first with those that were there. */
  readonly onBytes: (nbytes: number) => void
}

/** Resolves once the whole file is at `target`. What has come before a failure is kept for the next time. */
export async function downloadFile(request: FileRequest, http: HubHttp, settings: HubSettings): Promise<void> {
  const { file, incomplete, target, signal, onBytes } = request
  const partial = await IncompleteFile.open(incomplete, file, settings.partBytes)
  try {
    onBytes(partial.received)
    await new Transfer(request, partial, http, settings).run()
    if ((await partial.checksum(signal)) !== file.etag) {
      await partial.discard()
      const kind = file.etag.length === 64 ? 'SHA-256' : 'SHA-1 of git'
      const problem = `its bytes are not those that the hub lists (${kind})`
      throw new LlavaError('MODEL_CORRUPT', `${request.url}: ${problem}; nothing of it was kept, try again`)
    }
    await partial.commit(target)
  } finally {
    await partial.close()
  }
}

/** The server sends whole files only. */
class NoRanges extends Error {}

class Transfer {
  readonly #request: FileRequest
  readonly #partial: IncompleteFile
  readonly #http: HubHttp
  readonly #settings: HubSettings

  constructor(request: FileRequest, partial: IncompleteFile, http: HubHttp, settings: HubSettings) {
    this.#request = request
    this.#partial = partial
    this.#http = http
    this.#settings = settings
  }

  async run(): Promise<void> {
    try {
      await this.#inParts()
    } catch (error) {
      if (!(error instanceof NoRanges)) throw error
      await this.#asAWhole()
    }
  }

  /** The next part to each connection that is free. The first failure ends all, and none is left running. */
  async #inParts(): Promise<void> {
    const stop = new AbortController()
    const signal = AbortSignal.any([this.#request.signal, stop.signal])
    const waiting = this.#partial.parts.filter(({ at, end }) => at < end)
    const connection = async (): Promise<void> => {
      for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) await this.#part(part, signal)
    }
    const connections = Array.from({ length: this.#settings.connections }, connection)
    try {
      await Promise.all(connections)
    } finally {
      stop.abort()
      await Promise.allSettled(connections)
    }
  }

  async #part(part: Part, signal: AbortSignal): Promise<void> {
    await this.#persist(
      signal,
      () => part.end - part.at,
      () => this.#range(part, signal),
    )
  }

  async #asAWhole(): Promise<void> {
    const { signal, file } = this.#request
    await this.#persist(
      signal,
      () => file.nbytes - this.#partial.received,
      () => this.#whole(signal),
    )
  }

  /** Tries until nothing is missing; only tries in a row that bring nothing are counted. */
  async #persist(signal: AbortSignal, missing: () => number, attempt: () => Promise<void>): Promise<void> {
    const retries = new Retries(this.#settings.retryMs, signal)
    for (let before = missing(); before > 0; before = missing()) {
      try {
        await attempt()
        if (missing() === before) throw this.#broken('it ended too early')
      } catch (error) {
        if (missing() < before) retries.reset()
        await retries.waitOrThrow(error)
      }
    }
  }

  async #range(part: Part, signal: AbortSignal): Promise<void> {
    const { url, file } = this.#request
    const first = part.at
    const response = await this.#http.get(
      url,
      { range: `bytes=${first}-${part.end - 1}`, 'accept-encoding': 'identity' },
      signal,
    )
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '') ?? []
    const fits = response.status === 206 && Number(start) === first && (total === '*' || Number(total) === file.nbytes)
    if (fits) return this.#receive(response, first, part.end, signal)
    await discard(response)
    if (response.status === 200) throw new NoRanges()
    throw this.#broken(
      `it sends ${response.headers.get('content-range') ?? 'an unnamed range'} of ${file.nbytes} bytes`,
    )
  }

  async #whole(signal: AbortSignal): Promise<void> {
    const { url, file } = this.#request
    const response = await this.#http.get(url, { 'accept-encoding': 'identity' }, signal)
    const stated = response.headers.get('content-length')
    if (stated === null || Number(stated) === file.nbytes) return this.#receive(response, 0, file.nbytes, signal)
    await discard(response)
    throw this.#broken(`it calls ${file.nbytes} bytes ${stated}`)
  }

  /** Takes the bytes of a body that begins at `position`, none of them from `end` on. */
  async #receive(response: HubResponse, position: number, end: number, signal: AbortSignal): Promise<void> {
    const body = (response.body ?? []) as unknown as AsyncIterable<Uint8Array>
    const iterator = body[Symbol.asyncIterator]()
    try {
      while (position < end) {
        const next = await this.#next(iterator, signal)
        if (next.done === true) return
        const bytes = next.value.subarray(0, end - position)
        this.#request.onBytes(await this.#partial.put(position, bytes))
        position += bytes.length
      }
    } finally {
      await iterator.return?.().catch(() => undefined) // a server that sends more is not listened to
    }
  }

  async #next(iterator: AsyncIterator<Uint8Array>, signal: AbortSignal): Promise<IteratorResult<Uint8Array>> {
    try {
      return await iterator.next()
    } catch (cause) {
      signal.throwIfAborted()
      throw brokenConnection(this.#request.url, cause)
    }
  }

  #broken(what: string): PassingFailure {
    return brokenConnection(this.#request.url, new Error(what))
  }
}
