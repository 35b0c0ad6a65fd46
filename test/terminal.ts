// The command as a person sees it: in a pseudo-terminal (util-linux' script), whose output an emulator turns into a screen.

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import xterm from '@xterm/headless'

const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url))

/** Milliseconds until what should be on the screen is missed. */
const longestWaitMs = 60_000

export const keys = {
  ctrlC: '\u0003',
  ctrlD: '\u0004',
  enter: '\r',
  pasteStart: '\u001B[200~',
  pasteEnd: '\u001B[201~',
} as const

export class TestTerminal implements Disposable {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #screen: xterm.Terminal
  readonly #closed: Promise<[number | null]>
  /** Everything that was written, escape sequences too. */
  output = ''

  constructor(
    args: readonly string[],
    { columns = 100, rows = 60, env = {} }: { columns?: number; rows?: number; env?: NodeJS.ProcessEnv } = {},
  ) {
    const command = [process.execPath, main, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
    const shell = `stty cols ${columns} rows ${rows}; exec ${command}`
    this.#screen = new xterm.Terminal({ cols: columns, rows, scrollback: 1000, allowProposedApi: true })
    this.#child = spawn('script', ['-qefc', shell, '/dev/null'], {
      env: { ...process.env, DEBUG: undefined, NO_COLOR: '1', TERM: 'xterm-256color', ...env },
    })
    this.#closed = once(this.#child, 'close') as Promise<[number | null]>
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
      this.#screen.write(text)
    })
    this.#child.stdin.on('error', () => undefined)
  }

  type(...texts: readonly string[]): void {
    this.#child.stdin.write(texts.join(''))
  }

  /** What can be read, line by line, without blanks at the ends of lines. */
  get text(): string {
    const { active } = this.#screen.buffer
    const lines = Array.from({ length: active.length }, (_, row) => active.getLine(row))
    return lines
      .map((line) => (line?.isWrapped === true ? '' : '\n') + (line?.translateToString(true) ?? ''))
      .join('')
      .trim()
  }

  /** Waits until the screen matches, and gives what it shows then. */
  async shows(pattern: RegExp): Promise<string> {
    const end = Date.now() + longestWaitMs
    while (Date.now() < end) {
      if (pattern.test(this.text)) return this.text
      await sleep(10)
    }
    throw new Error(`the screen never showed ${String(pattern)}:\n${this.text}`)
  }

  /** The exit code. */
  async end(): Promise<number | null> {
    const [code] = await this.#closed
    await sleep(10) // the screen takes what came last
    return code
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL')
  }
}
