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
