// The tokens that may come next: those whose bytes the automaton can take. Many are a bit each; few are a list.

import type { Automaton, State } from './automaton.js'
import type { Vocabulary } from './vocabulary.js'

export interface Mask {
  /** A bit for each id; absent where `ids` says it. */
  readonly bits: Uint32Array | undefined
  /** Ascending. */
  readonly ids: Int32Array | undefined
  readonly nbytes: number
}

/** A list of so many ids takes no more memory than bits do. */
const few = (count: number) => count >> 5

/** Nodes between two pauses: some hundredths of a millisecond where their states are known, some tenths where they are made. */
const nodesPerPause = 64

/** Walks the trie along the automaton: where no text goes on, nothing below is looked at. It pauses on the way. */
export function* maskOf(state: State, automaton: Automaton, vocabulary: Vocabulary): Generator<undefined, Mask> {
  const { bytes, depth, end, firstId, ids, count } = vocabulary
  const bits = new Uint32Array((count + 31) >> 5)
  const path: State[] = [state]
  let allowed = 0
  let visited = 0
  for (let node = 0; node < bytes.length;) {
    if (++visited % nodesPerPause === 0) yield
    const at = depth[node]!
    const next = automaton.step(path[at - 1]!, bytes[node]!)
    if (next === null) {
      node = end[node]!
      continue
    }
    path[at] = next
    for (let place = firstId[node]!; place < firstId[node + 1]!; place++) {
      const id = ids[place]!
      bits[id >> 5]! |= 1 << (id & 31)
      allowed++
    }
    node++
  }
  if (allowed > few(count)) return { bits, ids: undefined, nbytes: bits.byteLength }
  return listed(bits, allowed)
}

function listed(bits: Uint32Array, count: number): Mask {
  const ids = new Int32Array(count)
  let place = 0
  for (const [word, set] of bits.entries())
    for (let left = set; left !== 0; left &= left - 1) ids[place++] = 32 * word + 31 - Math.clz32(left & -left)
  return { bits: undefined, ids, nbytes: ids.byteLength }
}

/** Rules out, in z [V], every id that the mask does not allow. */
export function applyMask({ bits, ids }: Mask, z: Float32Array): void {
  if (ids !== undefined) {
    const kept = ids.length === 0 ? ids : Float32Array.from(ids, (id) => z[id]!)
    z.fill(-Infinity)
    for (const [place, id] of ids.entries()) z[id] = kept[place]!
    return
  }
  for (const [word, set] of bits!.entries())
    for (let left = ~set; left !== 0; left &= left - 1) z[32 * word + 31 - Math.clz32(left & -left)] = -Infinity
  z.fill(-Infinity, 32 * bits!.length)
}

/** Whether some logit of z [V] is more than -Infinity. */
export function anyLeft(z: Float32Array): boolean {
  for (let id = 0; id < z.length; id++) if (z[id] !== -Infinity) return true
  return false
}
