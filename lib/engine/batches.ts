// Items of all callers through one tower, in batches: those that came while a batch was under way are the next one, so
// that weights are read once for
// many items, and nobody waits for company.

import { guarded, newCancellation, type NativeCancellation } from '../native.js'
import type { Job } from './job.js'

/** What becomes of an item. */
export interface Encoded<Result> {
  readonly result: Result
  /** Its share of the batch's compute time, in milliseconds. */
  readonly computeMs: number
}

/** How items are encoded. */
export interface BatchWork<Item, Kind, Result> {
  encode(
    items: readonly Item[],
    kinds: readonly Kind[],
    cancellation: NativeCancellation,
  ): Promise<{ readonly results: readonly Result[]; readonly computeMs: number }>
  /** Frees a result that nobody waits for any more. */
  free(result: Result): void
  /** What an item weighs, and what the items of a batch may weigh together; one goes in any case. */
  weightOf(item: Item): number
  limit(kinds: readonly Kind[]): number
}

interface Call<Item, Kind, Result> {
  readonly item: Item
  readonly kinds: readonly Kind[]
  readonly job: Job
  /** Whether somebody still waits. */
  waits: boolean
  readonly resolve: (encoded: Encoded<Result>) => void
  readonly reject: (reason: Error) => void
}

export class Batches<Item, Kind extends string, Result> {
  readonly #work: BatchWork<Item, Kind, Result>
  readonly #createFlag: () => NativeCancellation
  readonly #waiting: Call<Item, Kind, Result>[] = []
  #running = false

  /** @param createFlag makes what stops a batch */
  constructor(work: BatchWork<Item, Kind, Result>, createFlag: () => NativeCancellation = newCancellation) {
    this.#work = work
    this.#createFlag = createFlag
  }

  /**
   * The caller owns the result. A call that stops is over at once, whoever else is in its batch. Only calls of the same
   * kinds share one.
   */
  encode(item: Item, kinds: readonly Kind[], job: Job): Promise<Encoded<Result>> {
    return new Promise((resolve, reject) => {
      job.check()
      const call: Call<Item, Kind, Result> = {
        item,
        kinds,
        job,
        waits: true,
        resolve: (encoded) => {
          leave()
          resolve(encoded)
        },
        reject: (reason) => {
          leave()
          reject(reason)
        },
      }
      const release = job.onStop((reason) => {
        call.reject(reason as Error)
      })
      const leave = () => {
        call.waits = false
        release()
      }
      this.#waiting.push(call)
      if (this.#running) return
      this.#running = true
      queueMicrotask(() => void this.#run()) // calls of one breath share the first batch
    })
  }

  async #run(): Promise<void> {
    for (let calls = this.#next(); calls.length > 0; calls = this.#next()) await this.#encode(calls)
    this.#running = false
  }

  /** The next batch: those that want the same as the one that has waited longest. */
  #next(): readonly Call<Item, Kind, Result>[] {
    const waiting = this.#waiting.splice(0).filter(({ waits }) => waits)
    const [first] = waiting
    if (first === undefined) return []
    const wanted = first.kinds.join()
    let room = this.#work.limit(first.kinds)
    const batch: Call<Item, Kind, Result>[] = []
    for (const call of waiting) {
      if (call.kinds.join() !== wanted) continue
      room -= this.#work.weightOf(call.item)
      if (room < 0 && batch.length > 0) break
      batch.push(call)
    }
    this.#waiting.push(...waiting.filter((call) => !batch.includes(call)))
    return batch
  }

  /** A batch that fails, so that nobody knows whose fault it is, is run once more for each item alone. */
  async #encode(calls: readonly Call<Item, Kind, Result>[]): Promise<void> {
    const [first] = calls
    if (first === undefined) return
    const releases: (() => void)[] = []
    try {
      const cancellation = this.#createFlag()
      const cancelIfAlone = () => {
        if (calls.every(({ waits }) => !waits)) cancellation.cancel()
      }
      for (const { job } of calls) releases.push(job.onStop(cancelIfAlone))
      const items = calls.map(({ item }) => item)
      const { results, computeMs } = await guarded(() => this.#work.encode(items, first.kinds, cancellation))
      for (const [n, call] of calls.entries()) {
        const result = results[n] as Result
        if (call.waits) call.resolve({ result, computeMs: computeMs / calls.length })
        else this.#work.free(result)
      }
    } catch (error) {
      for (const call of calls.filter(({ waits }) => waits)) {
        if (calls.length === 1) call.reject(call.job.explain(error) as Error)
        else await this.#encode([call])
      }
    } finally {
      for (const release of releases) release()
    }
  }
}
