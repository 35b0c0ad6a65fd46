// How far a call is, for those who show it.

/** How far a call is. An answer's stage begins with `done: 0`; pictures that come encoded count as done. */
export interface Progress {
  /**
   * Of opening a model with `weights: 'copied'`, `weights`: bytes copied. Of an answer, in this order: `image`: pictures encoded; `prompt`: positions read;
   * `generate`: tokens written, of all answers together.
   */
  readonly stage: 'weights' | 'image' | 'prompt' | 'generate'
  readonly done: number
  /** For `generate`, the most there can be: an answer may end before. */
  readonly total: number
}

/** Called on the way, often; what it throws fails the call. */
export type ProgressListener = (progress: Progress) => void

/** How far `embedMany` or `askMany` is. */
export interface ManyProgress {
  readonly stage: 'inputs'
  /** Inputs that are done, those that failed among them; the first call says 0. */
  readonly done: number
  /** Inputs in all; absent where nobody knows: of a generator. */
  readonly total?: number
}

/** Called for each input that is done; what it throws ends the iteration. */
export type ManyProgressListener = (progress: ManyProgress) => void

/** Ten times a second: as often as people can see. */
const everyMs = 100

/** Tells when a listener may hear of progress again. */
export class ProgressThrottle {
  #saidMs = -Infinity

  get due(): boolean {
    return performance.now() - this.#saidMs >= everyMs
  }

  /** It was told now. */
  said(): void {
    this.#saidMs = performance.now()
  }
}
