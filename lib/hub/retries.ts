// What is tried again, how often, and how long after.

import { setTimeout as sleep } from 'node:timers/promises'
import type { LlavaError } from '../errors.js'

/** A failure that may pass by itself: a connection that broke, a server that is busy. */
export class PassingFailure extends Error {
  /** What it is if it does not pass. */
  readonly failure: LlavaError
  /** Milliseconds after which the server says that it will. */
  readonly afterMs: number | undefined

  constructor(failure: LlavaError, afterMs?: number) {
    super(failure.message, { cause: failure })
    this.failure = failure
    this.afterMs = afterMs
  }
}

/** Tries in a row that come to nothing before a download is given up: half a minute of waiting, with half a second before the second. */
const tries = 7

/** The longest wait that a server may ask for; a longer one is told to the caller instead. */
const longestWaitMs = 60_000

export class Retries {
  readonly #retryMs: number
  readonly #signal: AbortSignal
  readonly #tries: number
  #failures = 0

  constructor(retryMs: number, signal: AbortSignal, most = tries) {
    this.#retryMs = retryMs
    this.#signal = signal
    this.#tries = most
  }

  /** Something came of the last try. */
  reset(): void {
    this.#failures = 0
  }

  /** Waits until the next try, or throws what ends them. */
  async waitOrThrow(error: unknown): Promise<void> {
    this.#signal.throwIfAborted()
    if (!(error instanceof PassingFailure)) throw error
    const waitMs = error.afterMs ?? this.#retryMs * 2 ** this.#failures
    if (++this.#failures >= this.#tries || waitMs > longestWaitMs) throw error.failure
    await sleep(waitMs, undefined, { signal: this.#signal })
  }

  /** Tries until it works. */
  async run<T>(attempt: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await attempt()
      } catch (error) {
        await this.waitOrThrow(error)
      }
    }
  }
}
