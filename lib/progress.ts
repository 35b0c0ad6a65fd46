// How far a call is, for those who show it.

/** How far an answer is. A stage begins with `done: 0`; pictures that come encoded count as done. */
export interface Progress {
  /** `image`: pictures encoded; `prompt`: positions read; `generate`: tokens written, of all answers together. The stages come in this order. */
  readonly stage: 'image' | 'prompt' | 'generate'
  readonly done: number
  /** For `generate`, the most there can be: an answer may end before. */
  readonly total: number
}

/** Called on the way, often; what it throws fails the call. */
export type ProgressListener = (progress: Progress) => void
