// Which rows the next pass through the decoder computes, of few rows a call or of many. Pure.
//
// Bits. A row of quantised weights is summed in one order whatever its company. Float weights under `fast` arithmetic are summed in one order up to
// `fewRows` rows, and in another from there on, and where there are tiles all weights are. So that a row's bits do not depend on who else asks, a pass holds
// few rows or many, each call's rows as they would be computed alone: no slice of a long prompt is few.

/**
 * Rows of a pass on a CPU, at most; a call's own rows are cut into runs of so many. The cancellation flag is read between layers, others that have many
 * rows get their turn between passes.
 */
export const mostRows = 512

/** Rows of a token and its draft, at most, and what native code takes for few (ops/args.h, kFewRows). */
export const fewRows = 32

/** A call that waits for rows. */
export interface Waiting {
  readonly rows: number
  /** Of these, what is computed. */
  readonly done: number
}

/** Rows of one call in a pass. */
export interface Share {
  /** Its place among those that wait. */
  readonly index: number
  readonly rows: number
}

/** Of calls of few rows each: as many whole ones as there is room for. */
export function sharesOfFew(waiting: readonly Waiting[], room: number): readonly Share[] {
  const shares: Share[] = []
  for (const [index, { rows }] of waiting.entries()) {
    if (rows > room) continue
    room -= rows
    shares.push({ index, rows })
  }
  return shares
}

/**
 * Prompts that are read side by side: those that were asked together end together, so that their answers share passes. More
 * of them would keep the first answer waiting longer than the sharing saves.
 */
export const promptsAbreast = 4

/**
 * Of calls of many rows each: the room in equal parts for those that have waited longest, what one of them does not need
 * for the others; then, where all of them end, for those behind them. Each share lies in a run of `most` rows of its call.
 */
export function sharesOfMany(waiting: readonly Waiting[], most: number): readonly Share[] {
  const left = waiting.map((call, index) => ({ index, rows: leftOfRun(call, most) }))
  const abreast = left.slice(0, promptsAbreast).sort((a, b) => a.rows - b.rows)
  const shares: Share[] = []
  let room = most
  for (const [n, { index, rows: wanted }] of [...abreast, ...left.slice(promptsAbreast)].entries()) {
    if (room <= 0) break
    const rows = longSlice(wanted, Math.floor(room / Math.max(abreast.length - n, 1)))
    room -= rows
    shares.push({ index, rows })
  }
  return shares.sort((a, b) => a.index - b.index)
}

/** Rows that are left of the run that a call is in. No run of it is few. */
function leftOfRun({ rows, done }: Waiting, most: number): number {
  const start = done - (done % most)
  const first = start > 0 && rows - start <= fewRows ? start - most : start
  const end = rows - first <= most + fewRows ? rows : first + most
  return end - done
}

/** About `room` of `left` rows, neither they nor what is left being few. */
function longSlice(left: number, room: number): number {
  const least = fewRows + 1
  const rows = Math.max(room, least)
  if (left - rows >= least) return rows
  return left <= rows || left < 2 * least ? left : left - least
}
