// Listens, answers, and ends in good order.

import { readFileSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createAdaptorServer, type HttpBindings } from '@hono/node-server'
import { LlavaError } from '../index.js'
import { ApiError, reasons } from './api-error.js'
import { ApiKeys } from './api-keys.js'
import { createApp } from './app.js'
import { healthRoutes } from './health-routes.js'
import { InFlight } from './in-flight.js'
import { metricHelp, metricsRoute } from './metrics-route.js'
import { Metrics } from './metrics.js'
import { OpenRequest } from './open-request.js'
import { openapiRoute } from './openapi.js'
import { openRequestSpans, type BeginSpan } from './request-spans.js'
import type { Route, Served } from './route.js'
import { apiRoutes } from './routes.js'
import { checkServerOptions, type CheckedOptions, type LogEntry, type ServerOptions } from './server-options.js'

/**
 * Milliseconds that connections are kept for a next request: longer than the minute that most balancers keep theirs.
 */
const keepAliveMs = 75_000

/** Milliseconds that what is stopped at the end may take to say so. */
const lastWordsMs = 10_000

/**
 * Serves opened models over HTTP, in OpenAI's and Ollama's APIs; resolves once it listens.
 *
 * ```
 * using llava = await LLaVA.open()
 * await using server = await serve({ models: { default: llava } })
 * console.log(server.url)
 * ```
 *
 * Fails with INVALID_ARGUMENT, or where the address cannot be had (`cause` is Node's error).
 */
export async function serve(options: ServerOptions): Promise<LlavaServer> {
  const checked = checkServerOptions(options)
  const server = new LlavaServer(checked, checked.spans ? await openRequestSpans(packageVersion()) : undefined)
  await server[listen]()
  return server
}

const listen = Symbol('listen')

export class LlavaServer implements AsyncDisposable {
  readonly #options: CheckedOptions
  readonly #server: Server
  readonly #inFlight: InFlight
  readonly #beginSpan: BeginSpan | undefined
  readonly #open = new Set<OpenRequest>()
  /** Connections, those that have not said anything yet too, which Node does not count as idle ones. */
  readonly #sockets = new Set<Socket>()
  readonly #metrics = new Metrics(metricHelp)
  #closing: Promise<void> | undefined
  /** Called when nothing is under way. */
  #quiet: () => void = () => undefined

  /** Made by `serve`. */
  constructor(options: CheckedOptions, beginSpan: BeginSpan | undefined) {
    this.#options = options
    this.#beginSpan = beginSpan
    const { models, limits, remotePictures } = options
    this.#inFlight = new InFlight(limits)
    const served: Served = { models, limits, remotePictures, since: new Date(), version: packageVersion() }
    const openRoutes = healthRoutes(() => this.#closing === undefined)
    const described = (): readonly Route[] => [...openRoutes, ...routes]
    const routes: readonly Route[] = [
      ...apiRoutes,
      metricsRoute(this.#metrics, this.#inFlight),
      openapiRoute(described, served.version),
    ]
    const begin = (bindings: HttpBindings) => this.#begin(bindings)
    const app = createApp({ served, options, keys: new ApiKeys(options.apiKeys), routes, openRoutes, begin })
    this.#server = createAdaptorServer({
      fetch: app.fetch,
      overrideGlobalObjects: false,
      serverOptions: {
        headersTimeout: limits.headersMs,
        requestTimeout: Math.max(limits.receiveMs, limits.headersMs),
        connectionsCheckingInterval: Math.min(1000, limits.headersMs, limits.receiveMs),
        keepAliveTimeout: keepAliveMs,
      },
    }) as Server
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  /** `http://127.0.0.1:8080`, where it listens. */
  get url(): string {
    const { address, family, port } = this.#server.address() as AddressInfo
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
  }

  /** Requests with a body that are under way, and the bytes of these bodies. */
  get load(): { readonly requests: number; readonly bodyBytes: number } {
    const { requests, bodyBytes } = this.#inFlight
    return { requests, bodyBytes }
  }

  /**
   * Takes no further requests and waits for those under way; what is left after `limits.drainMs`, or when `signal`
   * aborts, is stopped. A second call waits for the same end.
   */
  close(signal?: AbortSignal): Promise<void> {
    return (this.#closing ??= this.#end(signal))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async [listen](): Promise<void> {
    const { host, port } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const why = listenFailures.get(cause.code) ?? cause.message
        reject(new LlavaError('INVALID_ARGUMENT', `cannot listen at ${host}, port ${port}: ${why}`, { cause }))
      })
      this.#server.listen(port, host, resolve)
    })
    this.#log({ level: 'info', event: 'listening', url: this.url, models: Object.keys(this.#options.models) })
  }

  #begin({ incoming, outgoing }: HttpBindings): OpenRequest {
    if (this.#closing !== undefined) outgoing.shouldKeepAlive = false
    const watchers = {
      inFlight: this.#inFlight,
      metrics: this.#metrics,
      log: (entry: Omit<LogEntry, 'time'>) => {
        this.#log(entry)
      },
      beginSpan: this.#beginSpan,
    }
    const request: OpenRequest = new OpenRequest(incoming, outgoing, watchers, () => {
      this.#open.delete(request)
      if (this.#open.size === 0) this.#quiet()
      if (this.#closing !== undefined) incoming.socket.destroySoon()
    })
    this.#open.add(request)
    return request
  }

  async #end(signal: AbortSignal | undefined): Promise<void> {
    const quiet = new Promise<void>((resolve) => {
      this.#quiet = resolve
      if (this.#open.size === 0) resolve()
    })
    const unconnected = new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve()
      })
    })
    const closed = Promise.all([quiet, unconnected])
    const busy = new Set([...this.#open].map(({ incoming }) => incoming.socket))
    for (const socket of this.#sockets) if (!busy.has(socket)) socket.destroySoon()
    this.#log({ level: 'info', event: 'draining', requests: this.#open.size })
    await within(closed, this.#options.limits.drainMs, signal)
    for (const request of this.#open)
      request.stop(new ApiError(reasons.shuttingDown, 'this server ends', { retryAfter: 1 }))
    await within(closed, lastWordsMs)
    this.#server.closeAllConnections()
    await closed
    this.#log({ level: 'info', event: 'closed' })
  }

  #log(entry: Omit<LogEntry, 'time'>): void {
    this.#options.log?.({ time: new Date().toISOString(), ...entry } as LogEntry)
  }
}

const listenFailures: ReadonlyMap<string | undefined, string> = new Map([
  ['EADDRINUSE', 'another program listens there'],
  ['EADDRNOTAVAIL', 'this machine has no such address'],
  ['EACCES', 'this user may not listen there'],
  ['ENOTFOUND', 'no such host is known'],
])

/** Waits for `done`, but no longer than so many milliseconds, nor than until `signal` aborts. */
async function within(done: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<void> {
  let over: () => void = () => undefined
  const timer = setTimeout(() => {
    over()
  }, ms)
  const stopped = new Promise<void>((resolve) => {
    over = resolve
  })
  if (signal?.aborted === true) over()
  signal?.addEventListener('abort', over, { once: true })
  try {
    await Promise.race([done, stopped])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', over)
  }
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string
  }
  return version
}
