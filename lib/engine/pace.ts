// How long a pass of many rows takes: a part that every pass takes, in which the weights are read and brought into the kernels' form, and a part for each row.
// Fitted to the last passes; they tell the parts apart where their sizes differ.

interface Pass {
  readonly rows: number
  readonly ms: number
}

/** Passes that count: the machine's speed moves, and so does the length of the texts. */
const remembered = 32

/** Sizes that differ by this much tell the parts apart. */
const telling = 1.5

export class Pace {
  readonly #passes: Pass[] = []
  #fixedMs = 0
  #msPerRow = 0

  observe(rows: number, ms: number): void {
    this.#passes.push({ rows, ms })
    if (this.#passes.length > remembered) this.#passes.shift()
    this.#fit()
  }

  /**
   * Rows of a pass of about `ms`; 0 while nothing is known. Never so few that the part that every pass takes is more than a third of it: such passes would
   * keep everybody waiting for longer than they are worth.
   */
  rowsWithin(ms: number): number {
    if (this.#msPerRow === 0) return 0
    return Math.round(Math.max(ms - this.#fixedMs, 2 * this.#fixedMs) / this.#msPerRow)
  }

  /** Least squares of relative errors; where all passes are alike, the fixed part stays what it was. */
  #fit(): void {
    const sizes = this.#passes.map(({ rows }) => rows)
    if (Math.max(...sizes) >= telling * Math.min(...sizes)) {
      let [w, x, y, xx, xy] = [0, 0, 0, 0, 0]
      for (const { rows, ms } of this.#passes) {
        const weight = 1 / (ms * ms + 1e-6)
        w += weight
        x += weight * rows
        y += weight * ms
        xx += weight * rows * rows
        xy += weight * rows * ms
      }
      const slope = (w * xy - x * y) / (w * xx - x * x)
      this.#fixedMs = slope > 0 ? Math.max(0, (y - slope * x) / w) : 0
    }
    const { rows, ms } = this.#passes.reduce((sum, pass) => ({ rows: sum.rows + pass.rows, ms: sum.ms + pass.ms }))
    const fixed = this.#fixedMs * this.#passes.length
    this.#msPerRow = fixed < ms ? (ms - fixed) / rows : ms / rows
  }
}
