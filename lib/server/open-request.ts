// One request from its arrival to the last byte of its answer: its id, what stops it, its place among those under way,
// and what log and metrics hear of it.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { ApiError, reasons } from './api-error.js'
import type { InFlight, Place } from './in-flight.js'
import type { Metrics } from './metrics.js'
import type { BeginSpan, RequestSpan } from './request-spans.js'
import type { Spent } from './route.js'
import type { LogEntry } from './server-options.js'

/** What a request reports to. */
export interface Watchers {
  readonly inFlight: InFlight
  readonly metrics: Metrics
  readonly log: (entry: Omit<LogEntry, 'time'>) => void
  /** Undefined where nobody wants spans. */
  readonly beginSpan: BeginSpan | undefined
}

/** Milliseconds in which a client may take what it is told at the deadline. */
const lastWordsMs = 10_000

/** Ids that clients may give themselves. */
const sensibleId = /^[\w.:-]{1,100}$/

export class OpenRequest {
  readonly id: string
  readonly incoming: IncomingMessage
  /** The route's path, as it stands in the table of routes; few, whatever clients ask for. */
  route = 'other'
  client = ''
  readonly #outgoing: ServerResponse
  readonly #watchers: Watchers
  readonly #start = performance.now()
  readonly #stop = new AbortController()
  readonly #onEnd: () => void
  readonly #span: RequestSpan | undefined
  #timer: NodeJS.Timeout | undefined
  #place: Place | undefined
  #firstTokenMs: number | undefined
  #spent: Spent | undefined
  #error: ApiError | undefined

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, watchers: Watchers, onEnd: () => void) {
    const given = incoming.headers['x-request-id']
    this.id = typeof given === 'string' && sensibleId.test(given) ? given : randomUUID()
    this.incoming = incoming
    this.#outgoing = outgoing
    this.#watchers = watchers
    this.#onEnd = onEnd
    this.#span = watchers.beginSpan?.(incoming, this.id)
    outgoing.setHeader('x-request-id', this.id)
    outgoing.once('close', () => {
      this.#end()
    })
  }

  /** Aborts when there is a reason to stop, which is an ApiError. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Takes a place among those under way and sets the deadline. */
  enter(deadlineMs: number): Place {
    this.#place = this.#watchers.inFlight.enter()
    this.#timer = setTimeout(() => {
      this.stop(new ApiError(reasons.deadline, `the answer took longer than the ${deadlineMs} ms that are allowed`))
    }, deadlineMs)
    return this.#place
  }

  /** Stops the work for a reason that the client is told, and lets go of a client that does not listen. */
  stop(reason: ApiError): void {
    if (this.#stop.signal.aborted) return
    this.#stop.abort(reason)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#outgoing.destroy(), lastWordsMs)
  }

  readonly firstToken = (): void => {
    if (this.#firstTokenMs !== undefined) return
    this.#firstTokenMs = performance.now() - this.#start
    this.#span?.firstToken()
    this.#watchers.metrics.observe(
      'llava_time_to_first_token_seconds',
      { route: this.route },
      this.#firstTokenMs / 1000,
    )
  }

  readonly spend = (spent: Spent): void => {
    this.#spent = spent
    const { metrics } = this.#watchers
    metrics.count('llava_prompt_tokens_total', {}, spent.promptTokens)
    metrics.count('llava_cached_prompt_tokens_total', {}, spent.cachedTokens)
    metrics.count('llava_completion_tokens_total', {}, spent.completionTokens)
  }

  fail(error: ApiError): void {
    this.#error = error
  }

  #end(): void {
    const left = !this.#outgoing.writableFinished
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (left && !this.#stop.signal.aborted)
      this.#stop.abort(new ApiError(reasons.clientLeft, 'the client left before its answer was whole'))
    this.#place?.leave()
    this.#onEnd()
    this.#report(left)
  }

  #report(left: boolean): void {
    const { metrics, log } = this.#watchers
    const ms = performance.now() - this.#start
    const { route, client } = this
    const status = left && !this.#outgoing.headersSent ? reasons.clientLeft[0] : this.#outgoing.statusCode
    metrics.count('llava_requests_total', { route, status })
    metrics.observe('llava_request_seconds', { route }, ms / 1000)
    const error = this.#error?.code ?? (left ? reasons.clientLeft[2] : undefined)
    this.#span?.end({ route, status, error, spent: this.#spent })
    log({
      level: status >= 500 ? 'error' : 'info',
      event: 'request',
      id: this.id,
      method: this.incoming.method,
      route,
      status,
      ms: rounded(ms),
      ...(client !== '' && { client }),
      ...(left && { left }),
      ...(this.#firstTokenMs !== undefined && { firstTokenMs: rounded(this.#firstTokenMs) }),
      ...this.#spent,
      ...(this.#error !== undefined && { error: this.#error.code }),
      ...(status >= 500 && this.#error !== undefined && { stack: framesOf(this.#error.cause) }),
    })
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10
}

/** Where an error arose, without its message, which may hold what somebody asked. */
function framesOf(error: unknown): readonly string[] {
  const { stack = '' } = Object(error) as { readonly stack?: string }
  return stack
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .map((line) => line.trim())
}
