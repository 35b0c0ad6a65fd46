// A binary heap of neighbouring symbols that may join: lowest order first, ties to the leftmost pair.
// Each entry is (order, left, last, rule); `last` is the last initial symbol the pair covers, by which a stale entry is told.

export class PairHeap {
  readonly #order: Float64Array
  readonly #left: Int32Array
  readonly #last: Int32Array
  readonly #rule: Int32Array
  #size = 0

  constructor(capacity: number) {
    this.#order = new Float64Array(capacity)
    this.#left = new Int32Array(capacity)
    this.#last = new Int32Array(capacity)
    this.#rule = new Int32Array(capacity)
  }

  get size(): number {
    return this.#size
  }

  get left(): number {
    return this.#left[0] as number
  }

  get last(): number {
    return this.#last[0] as number
  }

  get rule(): number {
    return this.#rule[0] as number
  }

  push(order: number, left: number, last: number, rule: number): void {
    let hole = this.#size++
    while (hole > 0) {
      const parent = (hole - 1) >> 1
      if (!this.#before(order, left, parent)) break
      this.#move(parent, hole)
      hole = parent
    }
    this.#put(hole, order, left, last, rule)
  }

  /** Drops the top entry, which `left`, `last` and `rule` show. */
  pop(): void {
    const end = --this.#size
    const order = this.#order[end] as number
    const left = this.#left[end] as number
    let hole = 0
    for (;;) {
      let child = 2 * hole + 1
      if (child >= end) break
      if (child + 1 < end && this.#before(this.#order[child + 1] as number, this.#left[child + 1] as number, child))
        child++
      if (this.#before(order, left, child)) break
      this.#move(child, hole)
      hole = child
    }
    this.#put(hole, order, left, this.#last[end] as number, this.#rule[end] as number)
  }

  #before(order: number, left: number, entry: number): boolean {
    const other = this.#order[entry] as number
    return order < other || (order === other && left < (this.#left[entry] as number))
  }

  #move(from: number, to: number): void {
    this.#put(
      to,
      this.#order[from] as number,
      this.#left[from] as number,
      this.#last[from] as number,
      this.#rule[from] as number,
    )
  }

  #put(at: number, order: number, left: number, last: number, rule: number): void {
    this.#order[at] = order
    this.#left[at] = left
    this.#last[at] = last
    this.#rule[at] = rule
  }
}
