// One call's reasons to stop: its AbortSignal, a reader who left, a model that was disposed. The first reason wins and reaches native code at once.

import { setMaxListeners } from 'node:events'
import { LlavaError } from '../errors.js'

/** The flag that the compute threads look at. */
interface Cancellation {
  cancel(): void
}

export class Job {
  readonly cancellation: Cancellation
  readonly #signal: AbortSignal | undefined
  readonly #abort = () => {
    this.stop(() => new LlavaError('ABORTED', 'the call was aborted by its signal', { cause: this.#signal?.reason }))
  }
  readonly #waiting = new Set<(reason: unknown) => void>()
  readonly #stopped = new AbortController()
  #reason: (() => unknown) | undefined
  #cancelled = false

  constructor(signal: AbortSignal | undefined, cancellation: Cancellation) {
    this.#signal = signal
    this.cancellation = cancellation
    // A call of many inputs has a listener for each, which is no leak. Not 0: Node 20 then knows no limit to tell fetch.
    setMaxListeners(Infinity, this.#stopped.signal)
    if (signal?.aborted === true) this.#abort()
    else signal?.addEventListener('abort', this.#abort, { once: true })
  }

  /** Aborts when the work has to stop, whatever the reason. */
  get stopped(): AbortSignal {
    return this.#stopped.signal
  }

  /** Nobody reads on: the work stops, and what there is by then is the result. */
  get cancelled(): boolean {
    return this.#cancelled
  }

  cancel(): void {
    if (this.#reason !== undefined) return // it stops already, for another reason or because nobody reads on
    this.#cancelled = true
    this.stop(() => new LlavaError('ABORTED', 'the reader left'))
  }

  /** `reason` is made where it is thrown, so that its stack names the caller. */
  stop(reason: () => unknown): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.cancellation.cancel()
    this.#stopped.abort()
    for (const listener of [...this.#waiting]) listener(reason())
  }

  /** Calls `listener` with the reason once the work has to stop; returns what takes it away. */
  onStop(listener: (reason: unknown) => void): () => void {
    this.#waiting.add(listener)
    return () => this.#waiting.delete(listener)
  }

  /** Throws the reason to stop, if there is one. */
  check(): void {
    if (this.#reason !== undefined) throw this.#reason()
  }

  /** The reason to stop where there is one, else `error` itself. */
  explain(error: unknown): unknown {
    return this.#reason === undefined ? error : this.#reason()
  }

  /**
   * Waits for work that cannot be stopped (decoding a picture, opening files), but no longer than this call lives.
   * `late` receives a result that came after that.
   */
  async race<T>(work: Promise<T>, late?: (result: T) => void): Promise<T> {
    let reject: (reason: unknown) => void = () => undefined
    const stopped = new Promise<never>((_, no) => {
      reject = no
    })
    const release = this.onStop(reject)
    try {
      this.check()
      return await Promise.race([work, stopped])
    } catch (error) {
      if (this.#reason !== undefined) void work.then(late, () => undefined)
      throw error
    } finally {
      release()
    }
  }

  /** Lets go of the signal. */
  end(): void {
    this.#signal?.removeEventListener('abort', this.#abort)
  }
}

/** Adds to an error's stack the frames of the call it belongs to, where it lacks them: what happens behind an `await` does not know its caller. */
export function calledFrom(callSite: Error, error: unknown): unknown {
  if (!(error instanceof LlavaError)) return error
  const known = new Set(error.stack?.split('\n'))
  const frames = callSite.stack?.split('\n').slice(1) ?? []
  error.stack = [error.stack ?? String(error), ...frames.filter((frame) => !known.has(frame))].join('\n')
  return error
}

/** Several parts of one call: the first failure stops the others, and is thrown when all have stopped. */
export async function allOrNone<T>(parts: readonly Promise<T>[], job: Job): Promise<T[]> {
  for (const part of parts)
    part.catch((error: unknown) => {
      job.stop(() => error)
    })
  await Promise.allSettled(parts)
  return await Promise.all(parts)
}
