// What the scheduler itself takes of a step, beside native code: sequences that each ask for a token after another, on
// passes that take no time.

import { CandidateRows } from '../lib/engine/candidate-rows.js'
import { Job } from '../lib/engine/job.js'
import { Scheduler } from '../lib/engine/scheduler.js'
import type { NativeModel, NativeSequence } from '../lib/native.js'

/**
 * CPU time in milliseconds of a step of so many sequences: planning, the call, handing out what came of it, and turns
 * of the event loop between. CPU time,
 * so that who else runs does not count.
 */
export async function measureSchedulerTime(sequences: number, steps = 2000): Promise<number> {
  const forward: NativeModel['forward'] = (parts) =>
    Promise.resolve({ failures: parts.map(() => null), computeMs: 1, turnMs: 0 })
  const sizes = { vocabSize: 32_000, candidateIds: 32_000, hiddenSize: 4096, apart: false }
  const scheduler = new Scheduler({ forward }, sizes)
  const sequence: NativeSequence = {
    length: 64,
    fork: () => sequence,
    truncate: () => undefined,
    dispose: () => undefined,
  }
  const job = new Job(undefined, { cancel: () => undefined })
  const write = async (tokens: number) => {
    const candidates = new CandidateRows(1, 2, false)
    for (let n = 0; n < tokens; n++)
      await scheduler.advance({
        sequence,
        segments: [{ tokens: Int32Array.of(n) }],
        output: 'logits',
        wanted: 'last',
        out: null,
        candidates,
        job,
      })
  }
  const all = (tokens: number) => Promise.all(Array.from({ length: sequences }, () => write(tokens)))
  await all(200)
  const before = process.cpuUsage()
  await all(steps)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / steps
}
