// A lock between processes: a file that its holder touches every second. Whoever finds it there waits, and takes it over once it has not been touched for ten
// seconds of the waiting, so that neither a clock that differs nor a computer that slept makes a living holder look dead.
// What it guards in the hub's cache is safe without it, as bytes are verified before they get their name; it saves the
// second download.

import { randomUUID } from 'node:crypto'
import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { LlavaError, outputFailure } from '../errors.js'

export interface LockOptions {
  readonly signal: AbortSignal
  /** Called once when another process holds the lock. */
  readonly onWait?: () => void
  /** Called when the other process is seen to be alive; what it throws ends the waiting. */
  readonly onHeld?: () => void
  /** Milliseconds between two touches; default 1,000. */
  readonly beatMs?: number
}

/** Touches that a holder may miss. */
const missedBeats = 10

/** Waits between two looks at a lock, in touches. */
const lookEvery = 0.2

/** Runs `work` while this process alone holds the lock; its signal aborts with the caller's, or when the lock is lost. */
export async function withLock<T>(
  file: string,
  options: LockOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const beatMs = options.beatMs ?? 1000
  const token = randomUUID()
  await acquire(file, token, beatMs, options)
  const lost = new AbortController()
  const beat = setInterval(() => {
    touch(file, token).catch((cause: unknown) => {
      lost.abort(
        new LlavaError('BUSY', `${file}: another process has taken over this work, as this one stood still`, { cause }),
      )
    })
  }, beatMs)
  try {
    return await work(AbortSignal.any([options.signal, lost.signal]))
  } finally {
    clearInterval(beat)
    if (!lost.signal.aborted) await rm(file, { force: true })
  }
}

async function acquire(
  file: string,
  token: string,
  beatMs: number,
  { signal, onWait, onHeld }: LockOptions,
): Promise<void> {
  let seen: number | undefined
  let since = performance.now()
  for (let waits = 0; !(await create(file, token)); waits++) {
    if (waits === 1) onWait?.() // a holder that ends at once is no wait
    const touched = (await stat(file).catch(() => undefined))?.mtimeMs
    if (seen !== undefined && touched !== undefined && touched !== seen) onHeld?.()
    if (touched !== seen) since = performance.now()
    else if (performance.now() - since > missedBeats * beatMs) await rm(file, { force: true })
    seen = touched
    await sleep(lookEvery * beatMs, undefined, { signal })
  }
}

async function create(file: string, token: string): Promise<boolean> {
  return outputFailure(file, async () => {
    try {
      await writeFile(file, token, { flag: 'wx' })
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
      throw error
    }
  })
}

async function touch(file: string, token: string): Promise<void> {
  if ((await readFile(file, 'utf8')) !== token) throw new Error('the lock is another process’s')
  const now = new Date()
  await utimes(file, now, now)
}

/**
 * Whether a living process holds the lock: it touches it, or lets go of it, within the time after which a holder counts
 * as gone.
 */
export async function isHeld(file: string, beatMs = 1000): Promise<boolean> {
  const touchedAt = async (): Promise<number | undefined> => (await stat(file).catch(() => undefined))?.mtimeMs
  const before = await touchedAt()
  if (before === undefined) return false
  for (const start = performance.now(); performance.now() - start < missedBeats * beatMs;) {
    await sleep(lookEvery * beatMs)
    if ((await touchedAt()) !== before) return true
  }
  return false
}
