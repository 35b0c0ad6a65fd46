// Ranks of merges by the two ids they join: a hash table in three typed arrays, open addressing.
// A Map with the pair as one number is several times slower here: products of two ids are past 31 bits, so every key is an object.

/** Largest share of the slots that is taken; more makes the runs of neighbouring slots long. */
const fullest = 0.5

export class PairRanks {
  readonly #left: Int32Array
  readonly #right: Int32Array
  readonly #rank: Int32Array
  readonly #mask: number

  /** @param capacity Most pairs that will be set. */
  constructor(capacity: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(1, capacity) / fullest))
    this.#left = new Int32Array(slots).fill(-1)
    this.#right = new Int32Array(slots)
    this.#rank = new Int32Array(slots)
    this.#mask = slots - 1
  }

  /** The later of two ranks of one pair stays. */
  set(left: number, right: number, rank: number): void {
    const slot = this.#slotOf(left, right)
    this.#left[slot] = left
    this.#right[slot] = right
    this.#rank[slot] = rank
  }

  /** The pair's rank, or -1. */
  get(left: number, right: number): number {
    const slot = this.#slotOf(left, right)
    return this.#left[slot] === -1 ? -1 : (this.#rank[slot] as number)
  }

  /** Every pair with its rank, in no order. */
  *entries(): Generator<readonly [left: number, right: number, rank: number]> {
    for (const [slot, left] of this.#left.entries()) {
      if (left !== -1) yield [left, this.#right[slot] as number, this.#rank[slot] as number]
    }
  }

  /** The pair's slot, or the empty one where it would stand. */
  #slotOf(left: number, right: number): number {
    // Multiplicative hashing with two odd constants; the high bits are the mixed ones.
    const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)
    let slot = (mixed ^ (mixed >>> 15)) & this.#mask
    while (this.#left[slot] !== -1 && (this.#left[slot] !== left || this.#right[slot] !== right))
      slot = (slot + 1) & this.#mask
    return slot
  }
}
