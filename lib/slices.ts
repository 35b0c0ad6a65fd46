// Long work in slices, so that the event loop gets its turn: the work is a generator that yields wherever it may pause, and whoever runs it decides how often.

/** Length of a slice in milliseconds: far below the 20 that nobody may block, as the clock also runs while the thread waits for a core. */
const sliceMs = 4

/** Runs the work to its end at once. */
export function finish<Result>(work: Generator<undefined, Result>): Result {
  for (;;) {
    const { done, value } = work.next()
    if (done === true) return value
  }
}

/** Runs the work to its end with a turn of the event loop after each slice, the last one too unless it was short: more work may follow. `check` may throw between slices to stop it. */
export async function finishInSlices<Result>(
  work: Generator<undefined, Result>,
  check: () => void = () => undefined,
): Promise<Result> {
  for (let end = performance.now() + sliceMs; ;) {
    const { done, value } = work.next()
    const left = end - performance.now()
    if (done === true && left > sliceMs / 2) return value
    if (done !== true && left > 0) continue
    await turn()
    check()
    if (done === true) return value
    end = performance.now() + sliceMs
  }
}

/** What short pieces took since the event loop had its turn, in milliseconds, and the promise of that turn. */
let spentMs = 0
let nextTurn: Promise<void> | undefined

/** Does a piece of work that is short by itself; of a thousand that are asked for at once those that fit in a slice are done, and the others after turns. */
export async function inShortSlices<Result>(piece: () => Result): Promise<Result> {
  while (spentMs >= sliceMs) await nextTurn
  const start = performance.now()
  try {
    return piece()
  } finally {
    spentMs += performance.now() - start
    nextTurn ??= new Promise<void>(setImmediate).then(() => {
      spentMs = 0
      nextTurn = undefined
    })
  }
}

let lastTurn: Promise<unknown> = Promise.resolve()

/** A turn of the event loop for one piece of work: several that run side by side take one slice each in turn, not all in the same. */
function turn(): Promise<unknown> {
  return (lastTurn = lastTurn.then(() => new Promise(setImmediate)))
}
