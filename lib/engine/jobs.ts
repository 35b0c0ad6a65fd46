// The public calls that run on a model: each stops with its signal or the model's end, and says why.

import { LlavaError } from '../errors.js'
import { newCancellation } from '../native.js'
import { calledFrom, Job } from './job.js'

export class Jobs {
  readonly #what: string
  readonly #running = new Map<Job, Promise<unknown>>()

  /** @param what they run on, for the error when it is disposed of */
  constructor(what: string) {
    this.#what = what
  }

  /** Runs one call; `callSite` was made as near to it as can be, as a stack has few frames. */
  async run<T>(
    signal: AbortSignal | undefined,
    work: (job: Job) => Promise<T>,
    callSite: Error = new Error(),
  ): Promise<T> {
    const job = new Job(signal, newCancellation())
    const running = runJob(job, work)
    this.#running.set(job, running)
    try {
      return await running
    } catch (error) {
      throw calledFrom(callSite, job.explain(error))
    } finally {
      this.#running.delete(job)
      job.end()
    }
  }

  /** The same for a call that gives its results on the way. It stops when its reader leaves. */
  async *runEach<T>(
    signal: AbortSignal | undefined,
    work: (job: Job) => AsyncGenerator<T, void, undefined>,
    callSite: Error = new Error(),
  ): AsyncGenerator<T, void, undefined> {
    const job = new Job(signal, newCancellation())
    this.#running.set(job, Promise.resolve()) // its reader may be slow, or gone: nobody waits for it
    try {
      job.check()
      yield* work(job)
    } catch (error) {
      throw calledFrom(callSite, job.explain(error))
    } finally {
      job.cancel()
      this.#running.delete(job)
      job.end()
    }
  }

  /** Stops all of them with DISPOSED. */
  stop(): void {
    for (const job of this.#running.keys()) job.stop(() => this.disposedError())
  }

  disposedError(): LlavaError {
    return new LlavaError('DISPOSED', `this ${this.#what} has been disposed of`)
  }

  /** Waits until all of them have stopped. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#running.values()])
  }
}

async function runJob<T>(job: Job, work: (job: Job) => Promise<T>): Promise<T> {
  job.check()
  return work(job)
}
