// Calls that share passes, one after another: what waits when a pass begins is in it, what comes meanwhile in the next one. Which rows a pass holds is its
// line's to say (step-plan.ts).
//
//   waiting ──(a pass takes a share of its rows)──▶ waiting ──(its last row)──▶ resolved
//      └── its job stops, or its step fails ──▶ rejected, its sequence as it was before the call

import { setImmediate as turn } from 'node:timers/promises'
import {
  guarded,
  nativeFailure,
  type NativeCandidates,
  type NativeModel,
  type NativeSegment,
  type NativeSequence,
  type NativeStep,
} from '../native.js'
import { allocate } from './allocate.js'
import { CandidateRows } from './candidate-rows.js'
import type { Job } from './job.js'
import { segmentRange } from './segments.js'
import { fewRows, type Share } from './step-plan.js'

/** Rows to append to a sequence. */
export interface Advance {
  readonly sequence: NativeSequence
  readonly segments: readonly NativeSegment[]
  /** What is wanted of them: logits [V] or hidden states [D], after the last row or after each. */
  readonly output: 'logits' | 'hidden'
  readonly wanted: 'last' | 'all'
  /** Receives it: [1 or rows, V or D]; `null` where the candidates will do. */
  readonly out: Float32Array | null
  /** Receives the likeliest tokens after each of these rows. */
  readonly candidates?: CandidateRows | undefined
  /** Receives the attention weights of the last row, [layers, heads, positions]: all positions that there are then. */
  readonly attention?: Float32Array | undefined
  readonly job: Job
  /** Hears after each of its passes how many rows are done. */
  readonly onProgress?: ((rows: number) => void) | undefined
}

/** Of rows of output. */
export interface Widths {
  readonly vocabSize: number
  /** Candidates are ids below it. */
  readonly candidateIds: number
  readonly hiddenSize: number
}

/** An Advance on its way. */
export interface Call extends Advance {
  readonly rows: number
  /** Positions of the sequence at the beginning. */
  readonly before: number
  readonly resolve: (computeMs: number) => void
  readonly reject: (reason: Error) => void
  done: number
  computeMs: number
  inPass: boolean
}

/** One call's rows in a pass. */
interface Part {
  readonly call: Call
  readonly rows: number
  /** Rows of output. */
  readonly outputs: number
}

/** Passes that there were: what shared them says how large batches are. */
export interface PassCount {
  readonly passes: number
  /** Texts that had rows in them, each counted once a pass. */
  readonly texts: number
  readonly rows: number
}

/**
 * Readers of candidates that work one after another without a turn of the event loop between: each for some tens of
 * microseconds.
 */
const readersATurn = 8

/** From the plan of a pass to where native code has it: more than a timer of a millisecond's resolution is late by. */
const planningMs = 2

export class PassLine {
  readonly #native: Pick<NativeModel, 'forward'>
  readonly #widths: Widths
  readonly #plan: (calls: readonly Call[]) => readonly Share[]
  readonly #onPass: () => void
  /** In the order of asking. */
  readonly #waiting: Call[] = []
  #running = false
  #count: PassCount = { passes: 0, texts: 0, rows: 0 }
  /** When other work that passes of this line run within lets the next one run, on the clock of `performance.now()`. */
  #nextTurn = 0
  /** Ends the wait for it. */
  #wake: (() => void) | undefined
  /** Output of passes that several calls want rows of. */
  #outputs = new Float32Array(0)

  /**
   * @param plan the shares of the next pass, of one call at least
   * @param onPass hears of the end of each pass
   */
  constructor(
    native: Pick<NativeModel, 'forward'>,
    widths: Widths,
    plan: (calls: readonly Call[]) => readonly Share[],
    onPass: () => void = () => undefined,
  ) {
    this.#native = native
    this.#widths = widths
    this.#plan = plan
    this.#onPass = onPass
  }

  get count(): PassCount {
    return this.#count
  }

  join(call: Call): void {
    this.#waiting.push(call)
    if (this.#running) return
    this.#running = true
    queueMicrotask(() => void this.#run()) // calls made in the same breath share the first pass
  }

  /** Other work is over: the next pass need not wait for its turn within it. */
  endTurn(): void {
    this.#nextTurn = 0
    this.#wake?.()
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#untilTurn()
      const parts = this.#parts()
      if (parts.length === 0) break
      await this.#pass(parts)
      this.#onPass()
      // Whoever got its rows asks for the next ones before the next pass is planned.
      if (parts.length > 1 || this.#waiting.length > 0) await turn()
    }
    this.#running = false
  }

  /** Waits until shortly before the next pass may run: it is planned so late that whoever asks meanwhile is in it. */
  async #untilTurn(): Promise<void> {
    const left = this.#nextTurn - performance.now() - planningMs
    if (left <= 0) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, left)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }

  #parts(): Part[] {
    const calls = this.#candidates()
    return this.#plan(calls).map(({ index, rows }) => {
      const call = calls[index] as Call
      const ends = call.done + rows === call.rows
      return { call, rows, outputs: call.wanted === 'all' ? rows : ends ? 1 : 0 }
    })
  }

  /**
   * The calls that may share the next pass: those that want the same kind of output as the one that has waited longest.
   * A call for many rows of output has its passes to itself: the head of the decoder sees only rows of output, and those
   * of others may be few.
   */
  #candidates(): readonly Call[] {
    const [first] = this.#waiting
    const manyOutputs = ({ wanted, rows }: Call) => wanted === 'all' && rows > fewRows
    if (first === undefined || manyOutputs(first)) return this.#waiting.slice(0, 1)
    return this.#waiting.filter((call) => call.output === first.output && !manyOutputs(call))
  }

  /** Runs the pass and settles its parts. One that fails as a whole, so that nobody knows whose fault it is, is run once more for each part alone. */
  async #pass(parts: readonly Part[]): Promise<void> {
    for (const { call } of parts) call.inPass = true
    const isHidden = parts[0]?.call.output === 'hidden'
    const width = isHidden ? this.#widths.hiddenSize : this.#widths.vocabSize
    const shared = sharesOutputs(parts)
    const candidates = candidatesOf(parts)
    let outputs: Float32Array | null
    let failures: readonly (Error | null)[]
    let computeMs: number
    let turnMs: number
    try {
      outputs = this.#outputsOf(parts, width)
      ;({ failures, computeMs, turnMs } = await guarded(() =>
        this.#native.forward(
          parts.map(stepOf),
          isHidden ? null : outputs,
          isHidden ? outputs : null,
          candidates && withColumns(candidates, this.#widths.candidateIds),
        ),
      ))
    } catch (error) {
      for (const part of parts) {
        if (parts.length === 1 || part.call.job.stopped.aborted) this.fail(part.call, part.call.job.explain(error))
        else await this.#pass([part])
      }
      return
    }
    this.#nextTurn = performance.now() + turnMs
    const { passes, texts, rows } = this.#count
    this.#count = {
      passes: passes + 1,
      texts: texts + parts.length,
      rows: parts.reduce((sum, part) => sum + part.rows, rows),
    }
    let [from, row, readers] = [0, 0, 0]
    for (const [n, part] of parts.entries()) {
      const { call, outputs: count } = part
      const failure = failures[n] ?? null
      const end = from + wholeRows(part) * width
      if (shared && failure === null && call.out !== null && outputs !== null)
        call.out.set(outputs.subarray(from, end), outputPlace(call) * width)
      from = end
      if (call.candidates !== undefined && candidates !== null && failure === null)
        call.candidates.copy(candidates, row, count, outputPlace(call))
      if (call.candidates !== undefined) row += count
      this.#settle(part, failure, computeMs)
      if (n + 1 === parts.length || count === 0) continue
      // its reader works with them here: others have their turn between
      if (call.out !== null || ++readers % readersATurn === 0) await turn()
    }
  }

  #settle({ call, rows }: Part, failure: Error | null, computeMs: number): void {
    call.inPass = false
    if (failure !== null) {
      this.fail(call, call.job.explain(nativeFailure(failure, new Error())))
      return
    }
    call.done += rows
    call.computeMs += computeMs
    this.#told(call)
  }

  /** Says how far the call is. */
  #told(call: Call): void {
    try {
      call.onProgress?.(call.done)
      call.job.check()
    } catch (error) {
      this.fail(call, error)
      return
    }
    if (call.done < call.rows) return
    this.#leave(call)
    call.resolve(call.computeMs)
  }

  /** It is over. */
  fail(call: Call, reason: unknown): void {
    this.#leave(call)
    if (call.done > 0) truncate(call.sequence, call.before)
    call.reject(reason as Error)
  }

  #leave(call: Call): void {
    const place = this.#waiting.indexOf(call)
    if (place >= 0) this.#waiting.splice(place, 1)
  }

  /** Where the pass writes: straight to the one call that wants rows, or for several to a place of its own. */
  #outputsOf(parts: readonly Part[], width: number): Float32Array | null {
    const length = parts.reduce((sum, part) => sum + wholeRows(part), 0) * width
    if (length === 0) return null
    if (sharesOutputs(parts)) {
      if (this.#outputs.length < length) this.#outputs = allocate(length)
      return this.#outputs.subarray(0, length)
    }
    const { call } = parts.find((part) => wholeRows(part) > 0) as Part
    const to = outputPlace(call) * width
    return (call.out as Float32Array).subarray(to, to + length)
  }
}

/** Rows of output that the call wants as they are. */
function wholeRows({ call, outputs }: Part): number {
  return call.out === null ? 0 : outputs
}

/** Room for the candidates of a pass: as many as whoever wants the most. */
function candidatesOf(parts: readonly Part[]): CandidateRows | null {
  let [rows, count, scored] = [0, 0, false]
  for (const { call, outputs } of parts) {
    if (call.candidates === undefined || outputs === 0) continue
    rows += outputs
    count = Math.max(count, call.candidates.count)
    scored ||= call.candidates.logSumExp !== null
  }
  return rows === 0 ? null : new CandidateRows(rows, count, scored)
}

function withColumns({ count, ids, logits, logSumExp }: CandidateRows, columns: number): NativeCandidates {
  return { count, columns, ids, logits, logSumExp }
}

/** Whether several calls get rows of the pass. */
function sharesOutputs(parts: readonly Part[]): boolean {
  return parts.filter((part) => wholeRows(part) > 0).length > 1
}

function stepOf({ call, rows, outputs }: Part): NativeStep {
  const ends = call.done + rows === call.rows
  return {
    sequence: call.sequence,
    segments: segmentRange(call.segments, call.done, call.done + rows),
    logits: outputs === 0 ? 'none' : call.wanted,
    form: call.candidates === undefined ? 'whole' : call.out === null ? 'candidates' : 'both',
    attention: ends ? call.attention : undefined,
    cancellation: call.job.cancellation,
  }
}

/** The row where a call's next output belongs. */
function outputPlace({ wanted, done }: Call): number {
  return wanted === 'all' ? done : 0
}

function truncate(sequence: NativeSequence, length: number): void {
  try {
    sequence.truncate(length)
  } catch {
    // the model is gone, and the sequence with it
  }
}
