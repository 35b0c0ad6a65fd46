// One run of the command: what stops it (Ctrl-C, a reader of its output that left) and what it says on stderr.

import { CommanderError } from 'commander'
import pc from 'picocolors'
import { LlavaError } from '../index.js'

const interrupted = 'interrupted'
const readerLeft = 'the reader of the output left'

export class Session {
  readonly #stop = new AbortController()
  #handleInterrupt: () => boolean = () => false
  #status = false

  readonly #onInterrupt = () => {
    this.interrupt()
  }
  readonly #onOutputError = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    this.#stop.abort(readerLeft)
  }

  constructor() {
    process.on('SIGINT', this.#onInterrupt)
    process.stdout.on('error', this.#onOutputError)
    process.stderr.on('error', this.#onOutputError)
  }

  /** Aborts when the run has to end. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  get exitCode(): number {
    return this.signal.reason === interrupted ? 130 : 0
  }

  /** Asks `handle` at every Ctrl-C; where it returns false, the run ends. */
  onInterrupt(handle: () => boolean): void {
    this.#handleInterrupt = handle
  }

  /** What Ctrl-C does. */
  interrupt(): void {
    if (!this.#handleInterrupt()) this.#stop.abort(interrupted)
  }

  /** What is going on, on a terminal only; an empty text takes it away. */
  status(text: string): void {
    if (!process.stderr.isTTY) return
    if (this.#status || text !== '') process.stderr.write(`\r\u001B[2K${this.quiet(text)}`)
    this.#status = text !== ''
  }

  /** A remark under the result, on a terminal only. */
  remark(text: string): void {
    if (process.stderr.isTTY) process.stderr.write(`${this.quiet(text)}\n`)
  }

  /** Dim, where stderr is a terminal with colours. */
  quiet(text: string): string {
    return colours(process.stderr).dim(text)
  }

  /** Says why the run failed, on stderr: one line, or with `--json` an object; resolves the exit code. */
  fail(error: unknown, json: boolean): number {
    this.status('')
    if (this.signal.reason === readerLeft) return 0
    if (this.signal.reason === interrupted) return 130
    const { code, message } = describe(error)
    if (json) process.stderr.write(`${JSON.stringify({ error: { code, message } })}\n`)
    else process.stderr.write(`${colours(process.stderr).red('error:')} ${message} (${code})\n`)
    if (process.env['DEBUG'] !== undefined) console.error(error)
    return code === 'INVALID_ARGUMENT' ? 2 : 1
  }

  /** Lets go of the process, so that it can end by itself. */
  end(): void {
    process.off('SIGINT', this.#onInterrupt)
  }
}

/** Colours for a stream: none unless it is a terminal and NO_COLOR is unset. */
export function colours(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  return pc.createColors(stream.isTTY && process.env['NO_COLOR'] === undefined)
}

function describe(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof CommanderError) return { code: 'INVALID_ARGUMENT', message: usageMessage(error) }
  if (error instanceof LlavaError) return { code: error.code, message: oneLine(error.message) }
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  return { code: typeof code === 'string' ? code : 'INTERNAL', message: oneLine(typeof message === 'string' ? message : String(error)) }
}

function usageMessage({ code, message }: CommanderError): string {
  return code === 'commander.help' ? 'no verb given; see llava --help' : oneLine(message.replace(/^error: /, ''))
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ')
}
