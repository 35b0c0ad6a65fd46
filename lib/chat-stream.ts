// An answer as it is written: an AsyncIterable of text whose end is an Answer.
// Work begins when somebody looks (the first `next`, or reading `answer`), runs ahead of a slow reader, and stops natively when the reader leaves.

import { LlavaError } from './errors.js'
import type { Answer } from './answer.js'

/** Does the work: calls `emit` with text; `onCancel` takes what stops it, after which it resolves to what there is. */
export type ChatWork = (emit: (text: string) => void, onCancel: (cancel: () => void) => void) => Promise<Answer>

/**
 * The streamed answer of `LLaVA.chat`. Iterate it once for the text; the pieces joined are `(await stream.answer).text`.
 *
 * Leaving the `for await` early, or `cancel()`, stops the work, and `answer` then resolves to the part there is with `finishReason: 'cancelled'`.
 * A failure, or an abort by the call's signal, is thrown by the iteration and rejects `answer`; not reading `answer` is fine.
 */
export class ChatStream implements AsyncIterable<string, undefined> {
  readonly #work: ChatWork
  readonly #pieces: string[] = []
  #result: Promise<Answer> | undefined
  #over = false
  #iterated = false
  #cancelled = false
  #cancelWork: (() => void) | undefined
  #news: PromiseWithResolver = promiseWithResolver()

  /** Made by `LLaVA.chat`. */
  constructor(work: ChatWork) {
    this.#work = work
  }

  /** The whole answer, once it is there. */
  get answer(): Promise<Answer> {
    return (this.#result ??= this.#begin())
  }

  /** Stops the work; the iteration ends without an error. */
  cancel(): void {
    this.#cancelled = true
    this.#cancelWork?.()
  }

  [Symbol.asyncIterator](): AsyncIterator<string, undefined> {
    if (this.#iterated) throw new LlavaError('INVALID_ARGUMENT', 'a ChatStream can be iterated once; the whole text is in its `answer`')
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

  #begin(): Promise<Answer> {
    const result = this.#work(
      (text) => {
        this.#pieces.push(text)
        this.#tell()
      },
      (cancel) => {
        this.#cancelWork = cancel
        if (this.#cancelled) cancel()
      },
    ).finally(() => {
      this.#over = true
      this.#tell()
    })
    result.catch(() => undefined) // whoever awaits `answer` or iterates sees it; nobody has to
    return result
  }

  #tell(): void {
    this.#news.resolve()
    this.#news = promiseWithResolver()
  }

  async #settled(): Promise<void> {
    await this.#result?.catch(() => undefined)
  }
}

interface PromiseWithResolver {
  readonly promise: Promise<void>
  readonly resolve: () => void
}

function promiseWithResolver(): PromiseWithResolver {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>((yes) => {
    resolve = yes
  })
  return { promise, resolve }
}
