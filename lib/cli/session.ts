// One run of the command: what stops it (Ctrl-C, a reader of its output that left) and what it says on stderr.

import { setImmediate } from 'node:timers/promises'
import { CommanderError, type Command } from 'commander'
import pc from 'picocolors'
import { LlavaError } from '../index.js'
import { flagNameOf } from './flag-names.js'

const interrupted = 'interrupted'
const readerLeft = 'the reader of the output left'
const outputFailed = 'the output cannot be written'

export class Session {
  readonly #stop = new AbortController()
  #handleInterrupt: () => boolean = () => false
  #status = false
  #failed = false
  #outputError: NodeJS.ErrnoException | undefined

  readonly #onInterrupt = () => {
    this.interrupt()
  }
  readonly #onOutputError = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') this.#outputError = error
    this.#stop.abort(error.code === 'EPIPE' ? readerLeft : outputFailed)
  }
  /** There is nowhere else to say it. */
  readonly #onMessageError = (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') this.#stop.abort(readerLeft)
  }

  constructor() {
    process.on('SIGINT', this.#onInterrupt)
    process.stdout.on('error', this.#onOutputError)
    process.stderr.on('error', this.#onMessageError)
  }

  /** The verb that runs: its flags stand in errors where the library names options. */
  verb: Command | undefined

  /** Aborts when the run has to end. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** The exit code of a run that came to its end, once everything it wrote has been taken. */
  async succeed(json: boolean): Promise<number> {
    await this.#written()
    if (this.#outputError !== undefined) return this.fail(this.#outputError, json)
    return this.signal.reason === interrupted ? 130 : this.#failed ? 1 : 0
  }

  /** Asks `handle` at every Ctrl-C; where it returns false, the run ends. */
  onInterrupt(handle: () => boolean): void {
    this.#handleInterrupt = handle
  }

  /** What Ctrl-C does: the first one that nobody handles ends the run in good order, a second one at once. */
  interrupt(): void {
    if (this.#handleInterrupt()) return
    this.#stop.abort(interrupted)
    this.end()
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

  /** What a person should know of a run that goes on, a line on stderr. */
  warn(text: string): void {
    this.status('')
    process.stderr.write(`${colours(process.stderr).yellow('warning:')} ${text}\n`)
  }

  /** A piece of an answer, on stdout: on a terminal without characters that would steer it. */
  answer(text: string): void {
    this.status('')
    process.stdout.write(process.stdout.isTTY ? text.replaceAll(/(?![\t\n])\p{Cc}/gu, '\uFFFD') : text)
  }

  /** Dim, where stderr is a terminal with colours. */
  quiet(text: string): string {
    return colours(process.stderr).dim(text)
  }

  /** Says why the run failed, unless it was told to end, and returns the exit code. */
  async fail(error: unknown, json: boolean): Promise<number> {
    this.status('')
    await this.#written()
    if (this.#outputError !== undefined) {
      const reason = `the output cannot be written: ${this.#outputError.message}`
      this.complain(new LlavaError('OUTPUT_FAILED', reason, { cause: this.#outputError }), json)
      return 1
    }
    if (this.signal.reason === readerLeft) return 0
    if (this.signal.reason === interrupted) return 130
    if (error instanceof CommanderError && error.code === 'commander.help') return 2 // no verb: the help has been shown
    this.complain(error, json)
    return errorFacts(error).code === 'INVALID_ARGUMENT' ? 2 : 1
  }

  /** Says what went wrong with one part of many, unless it is in the output; the exit code will be 1. */
  failed(error: unknown, inOutput: boolean): void {
    this.#failed = true
    this.status('')
    if (!inOutput) this.complain(error, false)
  }

  /** An error's code and one line that says it, in the verb's own words. */
  facts(error: unknown): { readonly code: string; readonly message: string } {
    const { code, message } = errorFacts(error)
    return { code, message: withFlags(message, this.verb) }
  }

  /** Says what went wrong, on stderr: one line, or an object. */
  complain(error: unknown, json: boolean): void {
    this.status('')
    const { code, message } = this.facts(error)
    if (json) process.stderr.write(`${JSON.stringify({ error: { code, message } })}\n`)
    else process.stderr.write(`${colours(process.stderr).red('error:')} ${message} (${code})\n`)
    if (process.env['DEBUG'] !== undefined) console.error(error)
  }

  /** Waits until the output is written; a file that is full says so only then. */
  async #written(): Promise<void> {
    if (process.stdout.writableLength > 0) {
      await new Promise<void>((resolve) => {
        process.stdout.write('', () => {
          resolve()
        })
      })
    }
    await setImmediate() // an error's event comes after the write
  }

  /** Lets go of the process, so that it can end by itself. */
  end(): void {
    process.off('SIGINT', this.#onInterrupt)
  }
}

/** Colours for a stream: none unless it is a terminal and NO_COLOR is unset, in CI neither. */
export function colours(stream: { readonly isTTY?: boolean }): ReturnType<typeof pc.createColors> {
  return pc.createColors(stream.isTTY === true && process.env['NO_COLOR'] === undefined)
}

function errorFacts(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof CommanderError)
    return { code: 'INVALID_ARGUMENT', message: oneLine(error.message.replace(/^error: /, '')) }
  if (error instanceof LlavaError) return { code: error.code, message: oneLine(error.message) }
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  return {
    code: typeof code === 'string' ? code : 'INTERNAL',
    message: oneLine(typeof message === 'string' ? message : String(error)),
  }
}

/** A message of the library in which its options have the names of the verb's flags: `topP` is --top-p. */
function withFlags(message: string, verb: Command | undefined): string {
  return message.replaceAll(/`([a-z]+(?:[A-Z][a-z]*)*)`/g, (all, name: string) => {
    const flag = verb?.options.find((option) => option.attributeName() === flagNameOf(name))
    return flag?.long ?? all
  })
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ')
}
