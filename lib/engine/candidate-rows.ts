// The likeliest tokens after each of several positions: what crosses from native code where an answer does not need all
// logits.

import type { Candidates } from '../native.js'

export class CandidateRows {
  readonly rows: number
  /** Of each row. */
  readonly count: number
  /** [rows, count] */
  readonly ids: Int32Array
  /** [rows, count] */
  readonly logits: Float32Array
  /** [rows]; `null`: not wanted. */
  readonly logSumExp: Float64Array | null

  constructor(rows: number, count: number, scored: boolean) {
    this.rows = rows
    this.count = count
    this.ids = new Int32Array(rows * count)
    this.logits = new Float32Array(rows * count)
    this.logSumExp = scored ? new Float64Array(rows) : null
  }

  /** Views of one row. */
  row(row: number): Candidates {
    const [from, end] = [row * this.count, (row + 1) * this.count]
    return {
      ids: this.ids.subarray(from, end),
      logits: this.logits.subarray(from, end),
      logSumExp: this.logSumExp?.[row] ?? Number.NaN,
    }
  }

  /** Takes over rows [from, from + rows) of `other`, which holds no fewer of each, to row `to` and on. */
  copy(other: CandidateRows, from: number, rows: number, to: number): void {
    for (let row = 0; row < rows; row++) {
      const { ids, logits, logSumExp } = other.row(from + row)
      this.ids.set(ids.subarray(0, this.count), (to + row) * this.count)
      this.logits.set(logits.subarray(0, this.count), (to + row) * this.count)
      if (this.logSumExp !== null) this.logSumExp[to + row] = logSumExp
    }
  }
}
