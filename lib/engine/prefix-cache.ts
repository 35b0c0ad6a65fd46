// Keys and values that a conversation keeps from one prompt to the next: what a new prompt begins with and the last one began with too is not computed again.
// Its first prompt begins with what the engine kept of others (prefix-tree.ts).

import type { Engine } from './engine.js'
import type { Job } from './job.js'
import { commonLength, positionKeys, sharedPositions } from './position-keys.js'
import type { Begun } from './prefix-tree.js'
import { segmentRange } from './segments.js'
import type { NativeSegment, NativeSequence } from '../native.js'

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
  async begin(segments: readonly NativeSegment[], job: Job): Promise<Begun> {
    const prompt = (this.#prompt = positionKeys(segments))
    if (this.#sequence === undefined) return this.#engine.prefixes.begin(segments, job)
    const shared = sharedPositions(prompt, commonLength(prompt, this.#keys))
    const cached = Math.min(shared, prompt.length - 1)
    const sequence = this.#engine.fork(this.#sequence)
    sequence.truncate(cached)
    return {
      sequence,
      calls: [segmentRange(segments, cached)],
      cached,
      prompted: () => undefined,
      answered: () => undefined,
      end: () => undefined,
    }
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

  /** What is kept, and what it holds; nothing before the first answer. */
  get kept(): { readonly sequence: NativeSequence; readonly keys: Int32Array } | undefined {
    return this.#sequence && { sequence: this.#sequence, keys: this.#keys }
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
