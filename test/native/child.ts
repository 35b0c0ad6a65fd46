// Runs one scenario of a script (scenarios.ts unless another is named) in a process of its own, where a crash, a hang or a word on stderr shows.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Ending {
  /** null: a signal ended it, named in `signal`; SIGKILL is this file's own, after `limitMs`. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** Loose: a scenario takes seconds, the longest half a minute on an idle machine, and a hang takes for ever. Less than the silence after which ava ends a run. */
const limitMs = 280_000

interface Setting {
  readonly script?: string
  readonly env?: NodeJS.ProcessEnv
}

export function runChild(scenario: string, nodeFlags: readonly string[] = [], { script = 'scenarios.js', env = {} }: Setting = {}): Promise<Ending> {
  const runner = fileURLToPath(new URL(script, import.meta.url))
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...nodeFlags, runner, scenario], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs, killSignal: 'SIGKILL' })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve({ code, signal, stdout: stdout.trim(), stderr })
    })
  })
}

/** How a process ends that did what it should and said `stdout`. */
export function wellEnded(stdout: string): Ending {
  return { code: 0, signal: null, stdout, stderr: '' }
}
