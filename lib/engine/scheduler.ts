// All calls that want rows of the decoder, in passes that they share: weights are read once for all rows of a pass. A call that asks while a pass runs is
// part of the next one, so that answers join and leave at any time (continuous batching: Yu et al. 2022, Orca). There are two lines of passes, side by side:
// of few rows a call, which are tokens of answers, drafts and short questions, and of many, which are prompts. A pass of few runs between two products of a
// pass of many, as of a tower (native/binding/runner.h), so that answers go on while long prompts are read and these lose nothing by it.

import type { NativeModel } from '../native.js'
import { PassLine, type Advance, type Call, type PassCount, type Widths } from './pass-line.js'
import { rowCount } from './segments.js'
import { fewRows, mostRows, sharesOfFew, sharesOfMany } from './step-plan.js'

export interface SchedulerOptions extends Widths {
  /** Whether a row's sums depend on whether few rows or many share its pass; see step-plan.ts. */
  readonly apart: boolean
  /** Rows of a pass, at most; default those of a CPU. */
  readonly most?: number
}

/** Passes through the decoder since the model was opened. */
export interface Passes {
  /** Of tokens of answers, drafts and short questions. */
  readonly tokens: PassCount
  /** Of prompts of more than 32 rows. */
  readonly prompts: PassCount
}

export class Scheduler {
  readonly #few: PassLine
  readonly #many: PassLine

  constructor(native: Pick<NativeModel, 'forward'>, options: SchedulerOptions) {
    const { apart, most = mostRows } = options
    this.#few = new PassLine(native, options, (calls) => sharesOfFew(calls, apart ? fewRows : most))
    const ofMany = (calls: readonly Call[]) => sharesOfMany(calls, most)
    this.#many = new PassLine(native, options, ofMany, () => {
      this.endTurn()
    })
  }

  get passes(): Passes {
    return { tokens: this.#few.count, prompts: this.#many.count }
  }

  /** A tower, or a pass of many rows, is done: passes of few rows that wait for their turn within it go on. */
  endTurn(): void {
    this.#few.endTurn()
  }

  /**
   * Computes the rows, together with those of other calls. Resolves to the compute time of its passes in milliseconds. A call that fails, or whose job
   * stops, leaves its sequence as it was.
   */
  advance(request: Advance): Promise<number> {
    const { sequence, segments, job } = request
    const rows = rowCount(segments)
    return new Promise((resolve, reject) => {
      job.check()
      if (rows === 0) {
        resolve(0)
        return
      }
      const line = rows > fewRows ? this.#many : this.#few
      const call: Call = {
        ...request,
        rows,
        before: sequence.length,
        resolve: (computeMs) => {
          release()
          resolve(computeMs)
        },
        reject: (reason) => {
          release()
          reject(reason)
        },
        done: 0,
        computeMs: 0,
        inPass: false,
      }
      const release = job.onStop((reason) => {
        if (!call.inPass) line.fail(call, reason) // a pass says it itself
      })
      line.join(call)
    })
  }
}
