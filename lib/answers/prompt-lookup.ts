// What may come next in a text, read off the text itself (prompt look-up decoding, Saxena 2023; LLMA, Yang et al. 2023): where its last tokens stood
// before, longest match first and then the latest, the tokens that followed are a draft of those to come.
//
// How long a draft is worth its rows is decided by what it brings and what it costs. With r(n) the rate at which the token after a match of n tokens
// was the right one lately, the i-th token of a draft that follows a match of n is right with r(n) · r(n + 1) · … · r(n + i - 1), and a draft of k brings
//   1 + the sum of these over i = 1 … k   tokens, for   passCost(1 + k)   plain steps.
// Rates are kept of every match, drafted or not: a text that does not repeat itself costs nothing, and one that begins to is noticed.

// The four numbers are those that did best on 84 stretches of the house's own texts and sources, each read as an answer to what stands before it:
// 1.034 times as fast by `passCost`, 0.978 at worst.

/** Longest match that is told from longer ones. */
const longestMatch = 4

/** What a rate is before anything is known: too low for a draft. */
const firstRate = 0.5

/** Weight of the latest match in its rate. */
const latestWeight = 0.125

/** What a draft has to bring, in tokens for a plain step's time: a little more than that step, as rates are uncertain. */
const leastGain = 1.05

interface Match {
  /** Tokens that agree, up to `longestMatch`; 0 where nothing does. */
  readonly length: number
  /** Where the token after them stands. */
  readonly next: number
}

export class PromptLookup {
  readonly #ids: number[]
  /** By length of the match. */
  readonly #rates = new Array<number>(longestMatch + 1).fill(firstRate)
  #match: Match

  /** @param prompt token ids; negative where no token stands, as in pictures */
  constructor(prompt: Iterable<number>) {
    this.#ids = [...prompt]
    this.#match = findMatch(this.#ids)
  }

  /** The text goes on with `id`. */
  push(id: number): void {
    const { length, next } = this.#match
    const rate = this.#rates[length] as number
    this.#rates[length] = rate + latestWeight * (Number(this.#ids[next] === id) - rate)
    this.#ids.push(id)
    this.#match = findMatch(this.#ids)
  }

  /** The tokens expected next, as many of at most `most` as are worth it. */
  draft(most: number): number[] {
    if (this.#match.length === 0) return []
    const count = this.#worthwhile(most)
    const draft: number[] = []
    while (draft.length < count) {
      const at = this.#match.next + draft.length
      const id = (at < this.#ids.length ? this.#ids[at] : draft[at - this.#ids.length]) as number // a match may reach into what it predicts
      if (id < 0) break
      draft.push(id)
    }
    return draft
  }

  /** The length of draft with the most tokens for a plain step's time; 0 where that is the plain step itself. */
  #worthwhile(most: number): number {
    let best = { count: 0, gain: leastGain }
    let chance = 1
    let tokens = 1
    for (let count = 1; count <= most; count++) {
      chance *= this.#rates[Math.min(this.#match.length + count - 1, longestMatch)] as number
      tokens += chance
      const gain = tokens / passCost(1 + count)
      if (gain > best.gain) best = { count, gain }
    }
    return best.count
  }
}

/** The longest match of the end of `ids` with an earlier place that a token follows, the latest of equals. */
function findMatch(ids: readonly number[]): Match {
  let best: Match = { length: 0, next: ids.length }
  for (let next = ids.length - 1; next > 0 && best.length < longestMatch; next--) {
    const length = (ids[next] as number) < 0 ? 0 : agreement(ids, next)
    if (length > best.length) best = { length, next }
  }
  return best
}

/** How many tokens before `next` are those at the end, up to `longestMatch`. */
function agreement(ids: readonly number[], next: number): number {
  const most = Math.min(longestMatch, next)
  let length = 0
  while (length < most && ids[next - 1 - length] === ids[ids.length - 1 - length]) length++
  return length
}

/**
 * Time of a pass of `rows` rows in plain steps of one. Rows above two are computed in groups of four (native/cpu/linear.cc). Measured on 7B layers of
 * Q4_0 and Q4_K, one and two threads of a Zen 4: 1.5 for 2 rows, 2.0–2.4 for 4, 2.6–2.9 for 8, 3.1–3.6 for 12, 3.7–4.2 for 16.
 */
function passCost(rows: number): number {
  return rows <= 2 ? (1 + rows) / 2 : 1.4 + 0.64 * Math.ceil(rows / 4)
}
