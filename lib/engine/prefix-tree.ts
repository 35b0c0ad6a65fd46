// What prompts began with before: keys and values of beginnings, kept as a radix tree over position keys (RadixAttention: Zheng et al. 2023). A node holds a
// sequence from the first position to its end, and shares pages with its parent's; a prompt goes on from a fork of the deepest one that it begins with.
//
//        root ── system + picture ─┬─ question 1 + answer 1
//                                  └─ question 2 + answer 2
//
// The least recently used leaves are let go when there is no room. Of prompts that begin alike and come at once, the first is computed and the others wait
// for it. Bits: where a row's sums depend on whether few rows or many are computed (`apart`; step-plan.ts), the prompt alone says how each of its rows is: as
// many, but for few tokens behind its last picture, which have a call of their own. Only rows of many are kept, never tokens of answers, and where some of these
// are left to compute, many are: so each row has the bits that it would have without the tree, and few words about a picture that is known are few rows.

import type { CacheUse } from './picture-cache.js'
import type { Job } from './job.js'
import { commonLength, positionKeys, sharedPositions } from './position-keys.js'
import { pages, pageTokens, segmentRange } from './segments.js'
import { fewRows } from './step-plan.js'
import { withResolvers } from './with-resolvers.js'
import type { NativeSegment, NativeSequence } from '../native.js'

/** A prompt on its way, on top of what was kept. */
export interface Begun {
  /** Holds the positions that were kept. The caller's. */
  readonly sequence: NativeSequence
  /** What is left to compute, in calls one after another: one position at least, as the last one's logits are needed. */
  readonly calls: readonly (readonly NativeSegment[])[]
  /** Positions that need no computing. */
  readonly cached: number
  /** The prompt stands in the sequence: keeps it, and lets those go on that wait for it. */
  prompted(): void
  /** These tokens stand there too: keeps them. The sequence stays the caller's. */
  answered(tokenIds: readonly number[]): void
  /** The prompt is over, whatever became of it; to be called in any case. */
  end(): void
}

/** What a tree needs of the engine. */
export interface Sequences {
  createSequence(): NativeSequence
  fork(sequence: NativeSequence): NativeSequence
}

export interface PrefixTreeOptions {
  /** Bytes of keys and values, at most; 0 keeps nothing. */
  readonly limit: number
  readonly bytesOfPage: number
  /** Whether a row's sums depend on how many are computed. */
  readonly apart: boolean
}

interface Node {
  /** Keys from the parent's end on. */
  keys: Int32Array
  readonly end: number
  readonly sequence: NativeSequence
  parent: Node | undefined
  readonly children: Map<number, Node>
}

/** A prompt that is being computed. */
interface Leader {
  readonly keys: Int32Array
  /** Never rejected. */
  readonly done: Promise<void>
}

/** It takes that many positions in common to wait for another prompt: about what a pass of its own costs. */
const worthWaiting = pageTokens

export class PrefixTree {
  readonly #sequences: Sequences
  readonly #options: PrefixTreeOptions
  readonly #roots = new Map<number, Node>()
  /** All nodes, the least recently used first; a parent always after its children. */
  readonly #recent = new Set<Node>()
  /**
   * Prompts under way, by how they begin: only of those that share as much as is worth waiting for one may wait for
   * another.
   */
  readonly #leaders = new Map<string, Set<Leader>>()
  #bytes = 0
  #hits = 0
  #misses = 0

  constructor(sequences: Sequences, options: PrefixTreeOptions) {
    this.#sequences = sequences
    this.#options = options
  }

  /** `bytes`: those that the pages take at most; some are shared. */
  get use(): CacheUse {
    const { limit } = this.#options
    return { entries: this.#recent.size, bytes: this.#bytes, limit, hits: this.#hits, misses: this.#misses }
  }

  /** Begins a prompt, once those that begin like it have been computed. */
  async begin(segments: readonly NativeSegment[], job: Job): Promise<Begun> {
    const keys = positionKeys(segments)
    for (let leader = this.#leaderOf(keys); leader !== undefined; leader = this.#leaderOf(keys))
      await job.race(leader.done)
    const { node, shared } = this.#find(keys)
    const cached = node === undefined ? 0 : this.#usable(keys, shared)
    if (cached > 0) this.#hits++
    else this.#misses++
    const sequence =
      cached > 0 && node !== undefined ? this.#sequences.fork(node.sequence) : this.#sequences.createSequence()
    try {
      if (cached > 0) sequence.truncate(cached)
      return this.#begun(keys, sequence, this.#calls(segments, keys, cached), cached)
    } catch (error) {
      sequence.dispose()
      throw error
    }
  }

  /** The calls that compute a prompt for which nothing is looked up, and of which nothing will be kept. */
  callsOf(segments: readonly NativeSegment[]): Begun['calls'] {
    return this.#calls(segments, positionKeys(segments), 0)
  }

  /** Keeps what a sequence begins with: the positions of `keys`. Where there is no memory for it, nothing is kept. */
  keep(keys: Int32Array, sequence: NativeSequence): void {
    if (this.#options.limit === 0 || (this.#options.apart && keys.length <= fewRows)) return
    let own: NativeSequence | undefined
    try {
      own = this.#sequences.fork(sequence)
      if (own.length > keys.length) own.truncate(keys.length)
      if (this.#insert(keys, own)) own = undefined
    } catch {
      // a cache is of no need
    } finally {
      own?.dispose()
    }
    this.#makeRoom()
  }

  /** Forgets all; what runs goes on. */
  clear(): void {
    for (const node of this.#recent) node.sequence.dispose()
    this.#recent.clear()
    this.#roots.clear()
    this.#bytes = 0
  }

  #begun(keys: Int32Array, sequence: NativeSequence, calls: Begun['calls'], cached: number): Begun {
    let lead = (): void => undefined
    if (this.#options.limit > 0 && keys.length >= worthWaiting) {
      const { promise: done, resolve } = withResolvers()
      const leader: Leader = { keys, done }
      const beginning = beginningOf(keys)
      const alike = this.#leaders.get(beginning) ?? new Set()
      lead = () => {
        alike.delete(leader)
        if (alike.size === 0 && this.#leaders.get(beginning) === alike) this.#leaders.delete(beginning)
        resolve()
      }
      this.#leaders.set(beginning, alike.add(leader))
    }
    return {
      sequence,
      calls,
      cached,
      prompted: () => {
        this.keep(keys.subarray(0, this.#fewFrom(keys)), sequence)
        lead()
      },
      answered: (tokenIds) => {
        if (this.#options.apart) return
        const all = new Int32Array(sequence.length)
        all.set(keys)
        all.set(tokenIds.slice(0, all.length - keys.length), keys.length)
        this.keep(all, sequence)
      },
      end: () => {
        lead()
      },
    }
  }

  /** A prompt under way that shares more with this one than the tree does. */
  #leaderOf(keys: Int32Array): Leader | undefined {
    const alike = keys.length < worthWaiting ? undefined : this.#leaders.get(beginningOf(keys))
    if (alike === undefined) return undefined
    const { shared } = this.#find(keys)
    for (const leader of alike)
      if (
        this.#usable(keys, sharedPositions(keys, commonLength(keys, leader.keys))) >=
        this.#usable(keys, shared) + worthWaiting
      )
        return leader
    return undefined
  }

  /** Of positions that are shared, those that need no computing. */
  #usable(keys: Int32Array, shared: number): number {
    const fewFrom = this.#fewFrom(keys)
    if (shared >= fewFrom && fewFrom < keys.length) return fewFrom
    return Math.max(0, Math.min(shared, fewFrom - (this.#options.apart ? fewRows + 1 : 1)))
  }

  /** Where the rows begin that are computed as few: behind the last picture, if many rows are before and few tokens follow; else there are none. */
  #fewFrom(keys: Int32Array): number {
    if (!this.#options.apart) return keys.length
    let end = keys.length
    while (end > 0 && keys.length - end <= fewRows && (keys[end - 1] as number) >= 0) end--
    return end > fewRows && keys.length - end <= fewRows ? end : keys.length
  }

  #calls(segments: readonly NativeSegment[], keys: Int32Array, cached: number): Begun['calls'] {
    const fewFrom = this.#fewFrom(keys)
    return [segmentRange(segments, cached, fewFrom), segmentRange(segments, fewFrom)].filter((call) => call.length > 0)
  }

  /** The node that holds the most positions that `keys` begins with, and how many these are. */
  #find(keys: Int32Array): { readonly node: Node | undefined; readonly shared: number } {
    let node: Node | undefined
    let at = 0
    for (let next = this.#roots.get(keys[0] as number); next !== undefined;) {
      const length = commonLength(next.keys, keys.subarray(at))
      node = next
      at += length
      if (length < next.keys.length) break
      next = next.children.get(keys[at] as number)
    }
    if (node !== undefined) this.#touch(node)
    return { node, shared: sharedPositions(keys, at) }
  }

  /** Takes `sequence`, which holds `keys`; false: all of it is there. */
  #insert(keys: Int32Array, sequence: NativeSequence): boolean {
    let parent: Node | undefined
    let at = 0
    for (let next = this.#roots.get(keys[0] as number); next !== undefined;) {
      const length = commonLength(next.keys, keys.subarray(at))
      const ends = length < next.keys.length // in the middle of the node
      parent = ends ? this.#split(next, length) : next
      at += length
      if (at === keys.length) {
        this.#touch(parent)
        return false
      }
      next = ends ? undefined : next.children.get(keys[at] as number)
    }
    const leaf: Node = { keys: keys.slice(at), end: keys.length, sequence, parent, children: new Map() }
    this.#siblings(leaf).set(keys[at] as number, leaf)
    this.#bytes += this.#bytesOf(leaf)
    this.#touch(leaf)
    return true
  }

  /** A node of the first `length` positions of `node`, which becomes its child. */
  #split(node: Node, length: number): Node {
    const start = node.end - node.keys.length
    const sequence = this.#sequences.fork(node.sequence)
    sequence.truncate(start + length)
    const upper: Node = {
      keys: node.keys.slice(0, length),
      end: start + length,
      sequence,
      parent: node.parent,
      children: new Map(),
    }
    this.#siblings(upper).set(upper.keys[0] as number, upper)
    this.#bytes -= this.#bytesOf(node)
    node.keys = node.keys.slice(length)
    node.parent = upper
    upper.children.set(node.keys[0] as number, node)
    this.#bytes += this.#bytesOf(node) + this.#bytesOf(upper)
    this.#touch(node)
    return upper
  }

  #siblings({ parent }: Node): Map<number, Node> {
    return parent === undefined ? this.#roots : parent.children
  }

  /** Of the pages that a node does not share with its parent, the one they meet in included. */
  #bytesOf({ keys, end }: Node): number {
    const first = Math.floor((end - keys.length) / pageTokens)
    return (pages(end) - first) * this.#options.bytesOfPage
  }

  #touch(node: Node): void {
    for (let at: Node | undefined = node; at !== undefined; at = at.parent) {
      this.#recent.delete(at)
      this.#recent.add(at)
    }
  }

  #makeRoom(): void {
    for (const node of this.#recent) {
      if (this.#bytes <= this.#options.limit) return
      this.#recent.delete(node)
      this.#siblings(node).delete(node.keys[0] as number)
      this.#bytes -= this.#bytesOf(node)
      node.sequence.dispose()
    }
  }
}

/** Of prompts that are no shorter. */
function beginningOf(keys: Int32Array): string {
  return keys.subarray(0, worthWaiting).join()
}
