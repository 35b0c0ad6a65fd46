// An answer as it is written: an AsyncIterable of text whose end is an Answer; also as a web stream, and as events.
// Work begins when somebody looks (the first `next`, reading `answer`, a listener), runs ahead of a slow reader, and stops natively when the reader leaves.

import { EventEmitter } from 'node:events'
import { withResolvers } from '../engine/with-resolvers.js'
import { LlavaError } from '../errors.js'
import type { Answer } from './answer.js'
import type { GeneratedToken } from './generation.js'
import { callback, oneOf } from '../options.js'

/** Does the work: calls `emit` with text and `emitToken` with tokens; `onCancel` takes what stops it, after which it resolves to what there is. */
export type ChatWork = (
  emit: (text: string) => void,
  onCancel: (cancel: () => void) => void,
  emitToken: (token: GeneratedToken) => void,
) => Promise<Answer>

/** The events of a ChatStream and what their listeners get. */
export interface ChatStreamEvents<Value = unknown> {
  /** A token was chosen; the text it adds, if any, follows. */
  readonly token: GeneratedToken
  /** The next piece of text: what the iteration gives. */
  readonly text: string
  /** The answer is complete, or was cancelled. This or `error` is the last event. */
  readonly done: Answer<Value>
  /** The answer failed with this. */
  readonly error: unknown
}

const eventNames = oneOf('token', 'text', 'done', 'error')

/**
 * The streamed answer of `LLaVA.chat`. Iterate it once for the text; the pieces joined are `(await stream.answer).text`.
 *
 * Leaving the `for await` early, or `cancel()`, stops the work, and `answer` then resolves to the part there is with `finishReason: 'cancelled'`.
 * A failure, or an abort by the call's signal, is thrown by the iteration and rejects `answer`; not reading `answer` is fine.
 *
 * ```
 * for await (const text of stream) process.stdout.write(text)
 * return new Response(stream.toReadableStream().pipeThrough(new TextEncoderStream()))
 * stream.on('text', (text) => show(text)).on('done', ({ usage }) => count(usage)).on('error', report)
 * ```
 */
export class ChatStream<Value = unknown> implements AsyncIterable<string, undefined> {
  readonly #work: ChatWork
  readonly #pieces: string[] = []
  #result: Promise<Answer<Value>> | undefined
  #over = false
  #iterated = false
  #cancelled = false
  #cancelWork: (() => void) | undefined
  #news = withResolvers()
  readonly #events = new EventEmitter()

  /** Made by `LLaVA.chat`. */
  constructor(work: ChatWork) {
    this.#work = work
  }

  /** The whole answer, once it is there. */
  get answer(): Promise<Answer<Value>> {
    return (this.#result ??= this.#begin())
  }

  /** Stops the work; the iteration ends without an error. */
  cancel(): void {
    this.#cancelled = true
    this.#cancelWork?.()
  }

  /**
   * Calls `listener` at every `event` from now on. Events come while the text is also iterated, or without that; the first listener starts the work.
   * What a listener of `token` or `text` throws fails the answer; what one of `done` throws, when there is an answer, goes to those of `error`.
   * Without a listener of `error`, a failure is only in `answer` and the iteration.
   */
  on<Event extends keyof ChatStreamEvents>(
    event: Event,
    listener: (value: ChatStreamEvents<Value>[Event]) => void,
  ): this {
    eventNames('event', event)
    callback('listener', listener)
    this.#events.on(event, listener)
    queueMicrotask(() => void this.answer) // listeners added in the same breath hear everything
    return this
  }

  /** Takes a listener away. */
  off<Event extends keyof ChatStreamEvents>(
    event: Event,
    listener: (value: ChatStreamEvents<Value>[Event]) => void,
  ): this {
    this.#events.off(event, listener)
    return this
  }

  /** The text as a web stream, in place of iterating: cancelling it stops the work, a failure errors it. */
  toReadableStream(): ReadableStream<string> {
    const pieces = this[Symbol.asyncIterator]()
    return new ReadableStream<string>(
      {
        async pull(controller) {
          const { done, value } = await pieces.next()
          if (done === true) controller.close()
          else controller.enqueue(value)
        },
        async cancel() {
          await pieces.return?.()
        },
      },
      { highWaterMark: 0 }, // nothing is fetched before it is read
    )
  }

  /** The text as the body of an HTTP response (`text/plain`), in place of iterating: what the AI SDK's text protocol reads. A client that leaves stops the work. */
  toTextStreamResponse(init: ResponseInit = {}): Response {
    const body = this.toReadableStream().pipeThrough(new TextEncoderStream())
    return new Response(body, withHeaders(init, { 'content-type': 'text/plain; charset=utf-8' }))
  }

  /**
   * The text as server-sent events in the AI SDK's UI message protocol, which `useChat` reads, in place of iterating. A client that leaves stops the work; a
   * failure is an event whose text is the error's code, as its message may name files of the server.
   */
  toUIMessageStreamResponse(init: ResponseInit = {}): Response {
    const events = uiMessageEvents(this)
    const body = new ReadableStream<string>(
      {
        async pull(controller) {
          const { done, value } = await events.next()
          if (done === true) controller.close()
          else controller.enqueue(`data: ${value}\n\n`)
        },
        async cancel() {
          await events.return()
        },
      },
      { highWaterMark: 0 },
    )
    const headers = {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-vercel-ai-ui-message-stream': 'v1',
      'x-accel-buffering': 'no', // nginx would keep the events back
    }
    return new Response(body.pipeThrough(new TextEncoderStream()), withHeaders(init, headers))
  }

  [Symbol.asyncIterator](): AsyncIterator<string, undefined> {
    if (this.#iterated)
      throw new LlavaError('INVALID_ARGUMENT', 'a ChatStream can be iterated once; the whole text is in its `answer`')
    this.#iterated = true
    return {
      next: () => this.#next(),
      return: async () => {
        this.cancel()
        await this.#settled()
        this.#pieces.length = 0
        return { done: true, value: undefined }
      },
    }
  }

  /** Stops the work and waits until it has stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
    await this.#settled()
  }

  async #next(): Promise<IteratorResult<string, undefined>> {
    const answer = this.answer
    while (this.#pieces.length === 0) {
      if (this.#over) {
        await answer
        return { done: true, value: undefined }
      }
      await this.#news.promise
    }
    return { done: false, value: this.#pieces.shift() as string }
  }

  #begin(): Promise<Answer<Value>> {
    const result = this.#work(
      (text) => {
        this.#pieces.push(text)
        this.#tell()
        this.#events.emit('text', text)
      },
      (cancel) => {
        this.#cancelWork = cancel
        if (this.#cancelled) cancel()
      },
      (token) => this.#events.emit('token', token),
    ).finally(() => {
      this.#over = true
      this.#tell()
    }) as Promise<Answer<Value>> // whoever makes the stream says what its work gives
    // whoever awaits `answer`, iterates or listens sees a failure; nobody has to
    void result
      .then((answer) => void this.#events.emit('done', answer))
      .catch((error: unknown) => this.#events.listenerCount('error') > 0 && this.#events.emit('error', error))
      .catch(() => undefined) // what a listener of `error` throws is its own loss
    return result
  }

  #tell(): void {
    this.#news.resolve()
    this.#news = withResolvers()
  }

  async #settled(): Promise<void> {
    await this.#result?.catch(() => undefined)
  }
}

/** The caller's headers, and these where it has none of the name. */
function withHeaders(init: ResponseInit, defaults: Readonly<Record<string, string>>): ResponseInit {
  const headers = new Headers(init.headers)
  for (const [name, value] of Object.entries(defaults)) if (!headers.has(name)) headers.set(name, value)
  return { ...init, headers }
}

/** One message of one step of one text (AI SDK, "Stream Protocols"). */
async function* uiMessageEvents(pieces: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  const id = '0'
  for (const type of ['start', 'start-step']) yield JSON.stringify({ type })
  yield JSON.stringify({ type: 'text-start', id })
  try {
    for await (const delta of pieces) yield JSON.stringify({ type: 'text-delta', id, delta })
    yield JSON.stringify({ type: 'text-end', id })
    for (const type of ['finish-step', 'finish']) yield JSON.stringify({ type })
  } catch (error) {
    yield JSON.stringify({ type: 'error', errorText: error instanceof LlavaError ? error.code : 'INTERNAL' })
  }
  yield '[DONE]'
}
