// Which rows the next pass through the decoder computes: those of all running answers, and beside them a slice of prompts that wait. Pure.
//
// Bits. A row of quantised weights is summed in one order whatever its company. Float weights under `fast` arithmetic are summed in one order up to
// `fewRows` rows, and in another from there on. So that a row's bits do not depend on who else asks, passes of such a model hold few rows or many, each
// call's rows as they would be computed alone: calls of few rows share passes of few, and no slice of a long prompt is few.

/**
 * Rows of a pass on a CPU, at most; a call's own rows are cut into runs of so many. The cancellation flag is read between layers, others get their turn between
 * passes.
 */
export const mostRows = 512

/** Rows of a token and its draft, at most, and what native code takes for few (ops/args.h, kFewRows). */
export const fewRows = 32

/** A call that waits for rows. */
export interface Waiting {
  /** Rows of the run that it is in, of which it may have been given some. */
  readonly run: number
  /** Of these, what is left to compute. */
  readonly left: number
}

/** Rows of one call in a pass. */
export interface Share {
  /** Its place among those that wait. */
  readonly index: number
  readonly rows: number
}

export interface PlanOptions {
  /** Rows of long runs in a pass that holds short ones too, at most. */
  readonly beside: number
  /** Rows of a pass, at most. */
  readonly most: number
  /** Whether answers are being written, also where none of them waits at the moment. */
  readonly answering: boolean
  /** Whether few rows and many may not share a pass. */
  readonly apart: boolean
  /** With `apart`: whether it is the turn of many rows, where both wait. */
  readonly manyNext: boolean
}

/** The shares of the next pass, in the order of `waiting`: at least one where somebody waits. */
export function planPass(
  waiting: readonly Waiting[],
  { most, beside, answering, apart, manyNext }: PlanOptions,
): readonly Share[] {
  const calls = waiting.map((call, index) => ({ ...call, index }))
  const few = calls.filter(({ run }) => run <= fewRows)
  const many = calls.filter(({ run }) => run > fewRows)
  if (!apart) {
    const short = whole(few, most)
    const room = most - total(short)
    return inOrder([...short, ...slices(many, short.length > 0 || answering ? Math.min(beside, room) : room, false)])
  }
  if (many.length === 0 || (few.length > 0 && !manyNext)) return whole(few, fewRows)
  return slices(many, few.length > 0 || answering ? beside : most, true)
}

interface Call extends Waiting {
  readonly index: number
}

/** As many whole runs as there is room for. */
function whole(calls: readonly Call[], room: number): Share[] {
  const shares: Share[] = []
  for (const { index, left } of calls) {
    if (left > room) continue
    room -= left
    shares.push({ index, rows: left })
  }
  return shares
}

/** Runs one after another, the last one cut where the room ends. `long`: no part of a run may be few rows. */
function slices(calls: readonly Call[], room: number, long: boolean): Share[] {
  const shares: Share[] = []
  for (const { index, left } of calls) {
    if (room <= 0) break
    const rows = long ? longSlice(left, room) : Math.min(left, room)
    room -= rows
    shares.push({ index, rows })
  }
  return shares
}

/** About `room` of `left` rows, neither they nor what is left being few. */
function longSlice(left: number, room: number): number {
  const least = fewRows + 1
  const rows = Math.max(room, least)
  if (left - rows >= least) return rows
  return left <= rows || left < 2 * least ? left : left - least
}

function total(shares: readonly Share[]): number {
  return shares.reduce((sum, { rows }) => sum + rows, 0)
}

function inOrder(shares: readonly Share[]): Share[] {
  return shares.toSorted((a, b) => a.index - b.index)
}
