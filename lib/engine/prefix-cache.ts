// Keys and values kept from one prompt to the next: what a new prompt begins with and the last one began with too is not computed again.
// Prompts are compared position by position: tokens by their ids, rows of pictures by the picture they belong to, as numbers of which
//   id ≥ 0 is a token, and −k (k = 1, 2, …) a row of the k-th picture that this process kept.
// Pictures all have the same number of rows, so that two prompts that agree up to some position agree on which row of a picture stands there.

import type { Engine } from './engine.js'
import { segmentRange } from './segments.js'
import type { NativeImageFeatures, NativeSegment, NativeSequence } from '../native.js'

/** A prompt on top of what was kept. */
export interface Resumed {
  /** Holds the positions that were kept. The caller hands it to `settle`, whatever becomes of it. */
  readonly sequence: NativeSequence
  /** What is left to compute: one position at least, as the last one's logits are needed. */
  readonly rest: readonly NativeSegment[]
  /** Positions that need no computing. */
  readonly cached: number
}

export class PrefixCache {
  readonly #engine: Engine
  #sequence: NativeSequence | undefined
  /** What `#sequence` holds. */
  #keys: Int32Array
  /** The prompt that runs now. */
  #prompt: Int32Array = new Int32Array(0)

  constructor(engine: Engine, sequence?: NativeSequence, keys: Int32Array = new Int32Array(0)) {
    this.#engine = engine
    this.#sequence = sequence
    this.#keys = keys
  }

  /** Begins a prompt. What was kept is kept until `settle`: the prompt runs on a fork, which shares memory with it. */
  resume(segments: readonly NativeSegment[]): Resumed {
    const prompt = (this.#prompt = positionKeys(segments))
    const cached = Math.min(sharedLength(prompt, this.#keys), prompt.length - 1)
    const sequence = this.#sequence === undefined ? this.#engine.createSequence() : this.#engine.fork(this.#sequence)
    sequence.truncate(cached)
    return { sequence, rest: segmentRange(segments, cached), cached }
  }

  /**
   * Takes the sequence of the prompt that ran, to which `tokenIds` were appended one by one, in place of what was kept, or (`discard`) frees it. Of a
   * prompt that failed it holds what was computed till then.
   */
  settle(sequence: NativeSequence, tokenIds: readonly number[], discard: boolean): void {
    if (discard) {
      sequence.dispose()
      return
    }
    this.#sequence?.dispose()
    this.#sequence = sequence
    this.#keys = Int32Array.from([...this.#prompt, ...tokenIds]).slice(0, sequence.length)
  }

  /** A cache of its own with the same contents; memory is shared until one of the two goes on. */
  fork(): PrefixCache {
    return new PrefixCache(this.#engine, this.#sequence && this.#engine.fork(this.#sequence), this.#keys)
  }

  dispose(): void {
    this.#sequence?.dispose()
    this.#sequence = undefined
    this.#keys = new Int32Array(0)
  }
}

const pictureKeys = new WeakMap<NativeImageFeatures, number>()
let lastPictureKey = 0

function positionKeys(segments: readonly NativeSegment[]): Int32Array {
  return Int32Array.from(
    segments.flatMap((segment) =>
      'tokens' in segment ? [...segment.tokens] : new Array<number>(segment.count).fill(pictureKey(segment.image)),
    ),
  )
}

function pictureKey(image: NativeImageFeatures): number {
  const key = pictureKeys.get(image) ?? --lastPictureKey
  pictureKeys.set(image, key)
  return key
}

function sharedLength(a: Int32Array, b: Int32Array): number {
  const shorter = Math.min(a.length, b.length)
  for (let position = 0; position < shorter; position++) if (a[position] !== b[position]) return position
  return shorter
}
