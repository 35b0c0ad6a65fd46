// Pictures of all callers through one tower, in batches: those that came while a batch was under way are the next one, so that weights are read once for
// many pictures, and nobody waits for company.

import { guarded, newCancellation, type NativeCancellation } from '../native.js'
import type { Job } from './job.js'

/**
 * Pictures of one batch, by the rows of one of them in the tower, and by those of a pass at most. Four fifths of a pass fill the device's products; more would
 * only make the first picture wait for the last. On a CPU these are 1,024 rows and 16 pictures; 32 is what native code takes at once (model/passes.h).
 */
export function batchSize(rowsOfPicture: number, rowsOfPass: number): number {
  const most = Math.min(rowsOfPass / 80, 32)
  return Math.min(Math.max(Math.floor((rowsOfPass * 4) / 5 / rowsOfPicture), 1), most)
}

/** A tower of native code. */
export interface Tower<Kind, Result> {
  /** pixelValues [count, 3, S, S], copied at the call, to what is asked for of each. */
  encode(
    pixelValues: Float32Array,
    count: number,
    kinds: readonly Kind[],
    cancellation: NativeCancellation,
  ): Promise<{ readonly results: readonly Result[]; readonly computeMs: number }>
  /** Frees a result that nobody waits for any more. */
  free(result: Result): void
}

/** What becomes of a picture. */
export interface Encoded<Result> {
  readonly result: Result
  /** Its share of the batch's compute time, in milliseconds. */
  readonly computeMs: number
}

interface Call<Kind, Result> {
  readonly pixelValues: Float32Array
  readonly kinds: readonly Kind[]
  readonly job: Job
  /** Whether somebody still waits. */
  waits: boolean
  readonly resolve: (encoded: Encoded<Result>) => void
  readonly reject: (reason: Error) => void
}

export class PictureBatches<Kind extends string, Result> {
  readonly #tower: Tower<Kind, Result>
  readonly #size: number
  readonly #createFlag: () => NativeCancellation
  readonly #waiting: Call<Kind, Result>[] = []
  /** Pixels of a batch. */
  #staged = new Float32Array(0)
  #running = false

  /**
   * @param size pictures of a batch, at most
   * @param createFlag makes what stops a batch
   */
  constructor(tower: Tower<Kind, Result>, size: number, createFlag: () => NativeCancellation = newCancellation) {
    this.#tower = tower
    this.#size = size
    this.#createFlag = createFlag
  }

  /** pixel_values [3, S, S] to `kinds` of it. The caller owns the result. A call that stops is over at once, whoever else is in its batch. */
  encode(pixelValues: Float32Array, kinds: readonly Kind[], job: Job): Promise<Encoded<Result>> {
    return new Promise((resolve, reject) => {
      job.check()
      const call: Call<Kind, Result> = {
        pixelValues,
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
      queueMicrotask(() => void this.#run()) // pictures of one breath share the first batch
    })
  }

  async #run(): Promise<void> {
    for (let calls = this.#next(); calls.length > 0; calls = this.#next()) await this.#encode(calls)
    this.#running = false
  }

  /** The next batch: those that want the same as the one that has waited longest. */
  #next(): readonly Call<Kind, Result>[] {
    const waiting = this.#waiting.splice(0).filter(({ waits }) => waits)
    const wanted = waiting[0]?.kinds.join()
    const same = waiting.filter(({ kinds }) => kinds.join() === wanted)
    const batch = same.slice(0, this.#size)
    this.#waiting.push(...waiting.filter((call) => !batch.includes(call)))
    return batch
  }

  /** A batch that fails, so that nobody knows whose fault it is, is run once more for each picture alone. */
  async #encode(calls: readonly Call<Kind, Result>[]): Promise<void> {
    const [first] = calls
    if (first === undefined) return
    const releases: (() => void)[] = []
    try {
      const cancellation = this.#createFlag()
      const cancelIfAlone = () => {
        if (calls.every(({ waits }) => !waits)) cancellation.cancel()
      }
      for (const { job } of calls) releases.push(job.onStop(cancelIfAlone))
      const { results, computeMs } = await guarded(() =>
        this.#tower.encode(this.#pixels(calls), calls.length, first.kinds, cancellation),
      )
      for (const [n, call] of calls.entries()) {
        const result = results[n] as Result
        if (call.waits) call.resolve({ result, computeMs: computeMs / calls.length })
        else this.#tower.free(result)
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

  /** [pictures, 3, S, S] */
  #pixels(calls: readonly Call<Kind, Result>[]): Float32Array {
    const [first] = calls
    if (first !== undefined && calls.length === 1) return first.pixelValues
    const length = calls.reduce((sum, { pixelValues }) => sum + pixelValues.length, 0)
    if (this.#staged.length < length) this.#staged = new Float32Array(length)
    let at = 0
    for (const { pixelValues } of calls) {
      this.#staged.set(pixelValues, at)
      at += pixelValues.length
    }
    return this.#staged.subarray(0, length)
  }
}
