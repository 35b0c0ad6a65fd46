// Pictures of all callers through one tower, in batches (batches.ts): their pixels one after another in one array.

import type { NativeCancellation } from '../native.js'
import { Batches, type Encoded } from './batches.js'
import type { Job } from './job.js'

/**
 * Pictures of one batch, by the rows of one of them in the tower, and by those of a pass at most. Four fifths of a pass fill the device's products; more would
 * only make the first picture wait for the last, but for the `least` that are better had together. On a CPU four fifths are 1,024 rows, and there are 16
 * pictures at most; 32 is what native code takes at once (model/passes.h).
 */
export function batchSize(rowsOfPicture: number, rowsOfPass: number, least = 1): number {
  const most = Math.min(rowsOfPass / 80, 32)
  return Math.min(Math.max(Math.floor((rowsOfPass * 4) / 5 / rowsOfPicture), least), most)
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

export class PictureBatches<Kind extends string, Result> {
  readonly #batches: Batches<Float32Array, Kind, Result>
  /** Pixels of a batch. */
  #staged = new Float32Array(0)

  /**
   * @param size pictures of a batch, at most
   * @param createFlag makes what stops a batch
   */
  constructor(tower: Tower<Kind, Result>, size: number, createFlag?: () => NativeCancellation) {
    this.#batches = new Batches(
      {
        encode: (pictures, kinds, cancellation) =>
          tower.encode(this.#pixels(pictures), pictures.length, kinds, cancellation),
        free: (result) => {
          tower.free(result)
        },
        weightOf: () => 1,
        limit: () => size,
      },
      createFlag,
    )
  }

  /** pixel_values [3, S, S] to `kinds` of it. */
  encode(pixelValues: Float32Array, kinds: readonly Kind[], job: Job): Promise<Encoded<Result>> {
    return this.#batches.encode(pixelValues, kinds, job)
  }

  /** [pictures, 3, S, S] */
  #pixels(pictures: readonly Float32Array[]): Float32Array {
    const [first] = pictures
    if (first !== undefined && pictures.length === 1) return first
    const length = pictures.reduce((sum, pixels) => sum + pixels.length, 0)
    if (this.#staged.length < length) this.#staged = new Float32Array(length)
    let at = 0
    for (const pixels of pictures) {
      this.#staged.set(pixels, at)
      at += pixels.length
    }
    return this.#staged.subarray(0, length)
  }
}
