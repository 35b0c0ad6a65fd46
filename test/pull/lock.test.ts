// The lock between processes, by its file alone: who holds it, who waits, and when a holder counts as gone.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import { LlavaError } from '../../lib/errors.js'
import { withLock } from '../../lib/hub/lock.js'

const signal = new AbortController().signal
const beatMs = 20

async function withFile(work: (file: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    await work(path.join(folder, 'lock'))
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('one holds it at a time, and who waits hears of it', async (t) => {
  await withFile(async (file) => {
    const events: string[] = []
    const hold = (who: string) =>
      withLock(file, { signal, beatMs: 50, onWait: () => events.push(`${who} waits`) }, async () => {
        events.push(`${who} begins`)
        await sleep(1000) // twenty beats: a holder that were taken for dead would be overtaken
        events.push(`${who} ends`)
      })
    await Promise.all([hold('a'), sleep(10).then(() => hold('b'))])
    t.deepEqual(events, ['a begins', 'b waits', 'a ends', 'b begins', 'b ends'])
    await t.throwsAsync(readFile(file), { code: 'ENOENT' })
  })
})

test('a lock that nobody touches any more is taken over', async (t) => {
  await withFile(async (file) => {
    await writeFile(file, 'of a process that was killed')
    t.is(await withLock(file, { signal, beatMs }, () => Promise.resolve(3)), 3)
  })
})

test('who sees that its holder lives can give up, and does not when the holder is gone', async (t) => {
  await withFile(async (file) => {
    const onHeld = () => {
      throw new Error('held')
    }
    const holding = withLock(file, { signal, beatMs: 50 }, () => sleep(1000))
    await sleep(20)
    await t.throwsAsync(
      withLock(file, { signal, beatMs: 50, onHeld }, () => Promise.resolve()),
      { message: 'held' },
    )
    await holding
    await writeFile(file, 'of a process that was killed')
    t.is(await withLock(file, { signal, beatMs, onHeld }, () => Promise.resolve(3)), 3)
  })
})

test('a signal ends the waiting', async (t) => {
  await withFile(async (file) => {
    await writeFile(file, 'of another')
    await t.throwsAsync(
      withLock(file, { signal: AbortSignal.timeout(50) }, () => Promise.resolve()),
      { name: 'AbortError' },
    )
    t.is(await readFile(file, 'utf8'), 'of another')
  })
})

test('who lost it hears of it, and leaves it to its new holder', async (t) => {
  await withFile(async (file) => {
    const work = withLock(file, { signal, beatMs }, async (held) => {
      await writeFile(file, 'of another')
      await sleep(5000, undefined, { signal: held }).catch(() => undefined)
      held.throwIfAborted()
    })
    await t.throwsAsync(work, { instanceOf: LlavaError, code: 'BUSY', message: /taken over/ })
    t.is(await readFile(file, 'utf8'), 'of another')
  })
})

test('work that fails lets go of it', async (t) => {
  await withFile(async (file) => {
    await t.throwsAsync(
      withLock(file, { signal }, () => Promise.reject(new Error('broken'))),
      { message: 'broken' },
    )
    await t.throwsAsync(readFile(file), { code: 'ENOENT' })
  })
})
