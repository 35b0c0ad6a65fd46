// Runs the command in a process of its own.

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** @param stdout Where the output goes instead of a pipe. */
export function start(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  stdout: 'pipe' | number = 'pipe',
): ChildProcessWithoutNullStreams {
  const inherited = { ...process.env }
  delete inherited['DEBUG']
  const stdio = ['pipe', stdout, 'pipe'] as const
  return spawn(process.execPath, [main, ...args], {
    env: { ...inherited, ...env },
    stdio: [...stdio],
  }) as ChildProcessWithoutNullStreams
}

export async function ended(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ])
  return { code, stdout, stderr }
}

/** A chat interrupted once its first answer has begun, which then reads `more`. Undefined where every answer was over before. */
export async function interruptedChat(
  args: readonly string[],
  question: string,
  more: string,
): Promise<Ended | undefined> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const child = start(['chat', ...args])
    const end = ended(child)
    child.stdin.on('error', () => undefined)
    child.stdin.write(`${question}\n`)
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    child.stdin.end(more)
    const result = await end
    if (result.code !== 130) return result // 130: the signal came after the answer
  }
  return undefined
}

export async function llava(
  args: readonly string[],
  input: string | Uint8Array = '',
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const child = start(args, env)
  child.stdin.on('error', () => undefined) // it need not read its input
  child.stdin.end(input)
  return ended(child)
}
