// Where the messages of a chat come from: a pipe, or a person at a terminal with line editing.
// While an answer is written, what is typed waits unread. It is fed to the line editor when the next message is wanted, up to the end of that message:
// so lines that were typed ahead appear where they belong, above their answers. Only Ctrl-C is heard at once.

import { createInterface, type Interface } from 'node:readline'
import { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { MessageLines } from './message-lines.js'

export interface MessageInput {
  /** The next message, without white space around it; undefined when there are no more. */
  next(): Promise<string | undefined>
  close(): void
}

export class PipedInput implements MessageInput {
  readonly #reader: Interface
  readonly #lines: AsyncIterator<string>
  readonly #message = new MessageLines()

  constructor(input: NodeJS.ReadableStream) {
    this.#reader = createInterface({ input, terminal: false })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  async next(): Promise<string | undefined> {
    for (;;) {
      const line = await this.#lines.next()
      if (line.done === true) return this.#message.rest()
      const message = this.#message.push(line.value)
      if (message !== undefined) return message
    }
  }

  close(): void {
    this.#reader.close()
  }
}

const ctrlC = '\u0003'
const pasteStart = '\u001B[200~'
const pasteEnd = '\u001B[201~'
const bracketedPaste = { on: '\u001B[?2004h', off: '\u001B[?2004l' }

export interface TerminalOptions {
  readonly prompt: string
  readonly completer: (line: string) => [string[], string]
  /** Hears Ctrl-C while an answer is written, and between answers where nothing is typed. */
  readonly onInterrupt: () => void
}

export class TerminalInput implements MessageInput {
  readonly #stdin: NodeJS.ReadStream
  readonly #output: NodeJS.WriteStream
  readonly #options: TerminalOptions
  readonly #keyboard: Keyboard
  readonly #editor: Interface
  readonly #message = new MessageLines()
  readonly #decoder = new StringDecoder('utf8')
  /** Typed, and not yet given to the editor. */
  #typed = ''
  #pasting = false
  #closed = false
  /** Complete, and not yet given out. */
  readonly #messages: string[] = []
  /** Set while a message is wanted. */
  #settle: ((message: string | undefined) => void) | undefined

  constructor(stdin: NodeJS.ReadStream, output: NodeJS.WriteStream, options: TerminalOptions) {
    this.#stdin = stdin
    this.#output = output
    this.#options = options
    this.#keyboard = new Keyboard(stdin)
    const { prompt, completer } = options
    this.#editor = createInterface({
      input: this.#keyboard,
      output,
      terminal: true,
      prompt,
      completer,
      historySize: 1000,
    })
    this.#editor.on('line', (line) => {
      this.#takeLine(line)
    })
    this.#editor.on('SIGINT', () => {
      this.#interruptTyping()
    })
    this.#editor.on('close', () => {
      if (this.#settle !== undefined) output.write('\n') // Ctrl-D leaves the cursor behind the prompt
      this.#end()
    })
    this.#keyboard.on('keypress', (_: unknown, key: { readonly name?: string }) => {
      if (key.name === 'paste-start' || key.name === 'paste-end') this.#pasting = key.name === 'paste-start'
    })
    output.write(bracketedPaste.on)
    stdin.on('data', this.#onData)
    stdin.on('end', this.#onEnd)
    stdin.resume()
  }

  next(): Promise<string | undefined> {
    return new Promise((settle) => {
      this.#settle = settle
      this.#deliver()
      if (this.#settle === undefined) return
      this.#prompt()
      this.#feed()
    })
  }

  close(): void {
    this.#editor.close()
    this.#stdin.off('data', this.#onData).off('end', this.#onEnd).pause()
    this.#output.write(bracketedPaste.off)
  }

  readonly #onData = (bytes: Buffer) => {
    this.#typed += this.#decoder.write(bytes)
    if (this.#settle !== undefined) this.#feed()
    else if (this.#typed.includes(ctrlC)) {
      this.#typed = '' // as a shell does, what was typed ahead goes with it
      this.#options.onInterrupt()
    }
  }

  readonly #onEnd = () => {
    this.#editor.close()
  }

  /** Gives the editor what is typed, a line at a time, as long as a message is wanted. */
  #feed(): void {
    while (this.#settle !== undefined && this.#typed !== '') {
      const length = firstLine(this.#typed)
      const line = this.#typed.slice(0, length)
      this.#typed = this.#typed.slice(length)
      this.#keyboard.push(line)
    }
  }

  #takeLine(line: string): void {
    const message = this.#message.push(line, this.#pasting)
    if (message === undefined) this.#prompt()
    else this.#give(message)
  }

  #give(message: string): void {
    this.#messages.push(message)
    this.#deliver()
  }

  #end(): void {
    const rest = this.#message.rest()
    if (rest !== undefined) this.#messages.push(rest)
    this.#closed = true
    this.#deliver()
  }

  #deliver(): void {
    if (this.#settle === undefined || (this.#messages.length === 0 && !this.#closed)) return
    const settle = this.#settle
    this.#settle = undefined
    settle(this.#messages.shift())
  }

  #prompt(): void {
    this.#editor.setPrompt(this.#message.unfinished ? '... ' : this.#options.prompt)
    this.#editor.prompt()
  }

  /** Ctrl-C at the prompt takes back what is typed; where nothing is, the chat hears of it. */
  #interruptTyping(): void {
    const { line } = this.#editor
    const nothing = line === '' && !this.#message.unfinished
    this.#message.drop()
    this.#editor.write(null, { ctrl: true, name: 'e' })
    this.#editor.write(null, { ctrl: true, name: 'u' })
    this.#output.write(`${line}^C\n`)
    if (nothing) this.#options.onInterrupt()
    this.#prompt()
  }
}

/** Where the first line of typed text ends: behind its line break, or at the end of the text. Line breaks inside a paste end no line. */
function firstLine(text: string): number {
  const breaks = /[\r\n]/g
  let from = 0
  for (;;) {
    breaks.lastIndex = from
    const end = breaks.exec(text)
    const paste = text.indexOf(pasteStart, from)
    if (end === null) return text.length
    if (paste < 0 || end.index < paste) return end.index + 1
    const pasted = text.indexOf(pasteEnd, paste)
    if (pasted < 0) return text.length
    from = pasted + pasteEnd.length
  }
}

/** The keys that the editor is to see, from a terminal whose modes it may set. */
class Keyboard extends Readable {
  readonly isTTY = true
  readonly #terminal: NodeJS.ReadStream

  constructor(terminal: NodeJS.ReadStream) {
    super({ read: () => undefined })
    this.#terminal = terminal
  }

  setRawMode(raw: boolean): this {
    this.#terminal.setRawMode(raw)
    return this
  }
}
