// llava chat [IMAGE…]: turns read from stdin, a line each; with a terminal, a prompt and line editing.
// A line that begins with the name of a command, such as /retry, is that command.

import { readdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Command } from 'commander'
import { LlavaError, type Answer, type ChatStream, type Conversation, type EncodedImage, type LLaVA, type SayOptions } from '../index.js'
import { summary } from './ask.js'
import { addAnswerFlags, addShowFlag, answerOptions, openModel, type AnswerFlags, type ShowFlags } from './flags.js'
import { remarkOnPhotographs } from './photograph.js'
import { colours, type Session } from './session.js'
import { showPicture } from './terminal-picture.js'

interface ChatCommand {
  readonly usage: string
  readonly what: string
  readonly run: (chat: Chat, argument: string) => Promise<void> | void
}

const commands: Readonly<Record<string, ChatCommand>> = {
  '/image': { usage: '/image PATH', what: 'add a picture to the next question', run: (chat, place) => chat.addPicture(unquoted(place)) },
  '/retry': { usage: '/retry', what: 'ask the last question again', run: (chat) => chat.retry() },
  '/undo': {
    usage: '/undo',
    what: 'forget the last question and its answer; its pictures stay for the next one',
    run: (chat) => {
      chat.undo()
    },
  },
  '/history': {
    usage: '/history',
    what: 'show the conversation so far',
    run: (chat) => {
      chat.showHistory()
    },
  },
  '/help': {
    usage: '/help',
    what: 'show these commands',
    run: (chat) => {
      chat.tell(commandHelp())
    },
  },
  '/exit': {
    usage: '/exit',
    what: 'end the chat, as Ctrl-D does',
    run: (chat) => {
      chat.end()
    },
  },
}

function commandHelp(): string {
  return Object.values(commands)
    .map(({ usage, what }) => `  ${usage.padEnd(13)}${what}\n`)
    .join('')
}

const help = `
Each line is a question; the conversation so far goes with it. Ctrl-C stops the answer being written, /retry asks for it again.
${commandHelp()}
Examples:
  llava chat cat.jpg
  llava chat --model llava-v1.5-7b.Q4_0.gguf --system "Answer in one sentence."
  printf 'What is this?\\nWhat colour is it?\\n' | llava chat cat.jpg --json

With --json: a line for each answer, as of llava ask.`

interface ChatFlags extends AnswerFlags, ShowFlags {}

export function addChat(program: Command, session: Session): void {
  addShowFlag(addAnswerFlags(program.command('chat')))
    .description('talk about pictures')
    .argument('[images...]', 'the pictures of the first question')
    .addHelpText('after', help)
    .action((images: readonly string[], flags: ChatFlags) => chat(images, flags, session))
}

async function chat(images: readonly string[], flags: ChatFlags, session: Session): Promise<void> {
  const { autoOrient, allowPrivateNetwork = false } = flags
  const model = await openModel(flags, session, { autoOrient, allowPrivateNetwork })
  try {
    const talk = new Chat(model, flags, session)
    try {
      for (const image of images) await talk.addPicture(image)
      await talk.run()
    } finally {
      talk.dispose()
    }
  } finally {
    model.dispose()
  }
}

/** A question, or the pictures that come with one: kept here as well, as turns that are undone give theirs back. */
interface Question {
  readonly text: string
  readonly pictures: readonly EncodedImage[]
}

class Chat {
  readonly #model: LLaVA
  readonly #flags: ChatFlags
  readonly #session: Session
  readonly #conversation: Conversation
  readonly #options: SayOptions
  readonly #terminal: boolean
  #lines: Interface | undefined
  /** Every picture of this chat. */
  readonly #pictures: EncodedImage[] = []
  /** Those of the next question. */
  #pending: readonly EncodedImage[] = []
  #answered: readonly Question[] = []
  /** The last question, if its answer was stopped or failed. */
  #unanswered: Question | undefined
  #retries = 0
  #stream: ChatStream | undefined
  #over = false

  constructor(model: LLaVA, flags: ChatFlags, session: Session) {
    const { template, system, ...options } = answerOptions(flags)
    this.#model = model
    this.#flags = flags
    this.#session = session
    this.#options = options
    this.#conversation = model.createConversation({ ...(template !== undefined && { template }), ...(system !== undefined && { system }) })
    this.#terminal = process.stdin.isTTY && process.stdout.isTTY && flags.json !== true
  }

  /** Line after line until the input ends. */
  async run(): Promise<void> {
    const prompt = colours(process.stdout).cyan('> ')
    const lines = (this.#lines = createInterface({ input: process.stdin, output: process.stdout, terminal: this.#terminal, prompt, completer: completeLine }))
    this.#listenToInterrupts(lines)
    this.#prompt()
    for await (const line of lines) {
      try {
        await this.#take(line.trim())
      } catch (error) {
        if (!this.#terminal || this.#session.signal.aborted) throw error
        this.#session.complain(error, false) // the conversation goes on without this turn
      }
      if (this.#over) break
      this.#prompt()
    }
  }

  async addPicture(place: string): Promise<void> {
    if (place === '') throw new LlavaError('INVALID_ARGUMENT', 'the path of a picture is missing: /image PATH')
    this.#session.status('looking …')
    const picture = await this.#model.encodeImage(place, { signal: this.#session.signal })
    this.#session.status('')
    this.#pictures.push(picture)
    this.#pending = [...this.#pending, picture]
    if (this.#flags.show !== undefined && this.#flags.json !== true) await showPicture(place, this.#flags.show, this.#session)
    await remarkOnPhotographs([place], this.#flags, this.#session)
  }

  /** With a seed, the next one: else the answer would be the same. */
  async retry(): Promise<void> {
    if (this.#unanswered !== undefined) {
      await this.#say(this.#unanswered)
      return
    }
    const { seed } = this.#options
    const options = seed === undefined ? this.#options : { ...this.#options, seed: seed + ++this.#retries }
    await this.#show(this.#conversation.retry({ ...options, signal: this.#session.signal }))
  }

  undo(): void {
    if (this.#unanswered === undefined) this.#conversation.undo()
    const forgotten = this.#unanswered ?? this.#answered.at(-1)
    if (this.#unanswered === undefined) this.#answered = this.#answered.slice(0, -1)
    this.#unanswered = undefined
    this.#pending = [...(forgotten?.pictures ?? []), ...this.#pending]
  }

  showHistory(): void {
    const { bold } = colours(process.stdout)
    const said = this.#conversation.messages.map(({ role, content }) => {
      const parts = typeof content === 'string' ? [content] : content.map((part) => (part.type === 'text' ? part.text : '[picture]'))
      return `${bold(`${role}:`)} ${parts.join(' ')}\n`
    })
    this.tell(said.join(''))
  }

  /** Says something beside the answers. */
  tell(text: string): void {
    const stream = this.#flags.json === true ? process.stderr : process.stdout
    stream.write(text)
  }

  end(): void {
    this.#over = true
  }

  dispose(): void {
    this.#lines?.close()
    this.#conversation.dispose()
    for (const picture of this.#pictures) picture.dispose()
  }

  async #take(line: string): Promise<void> {
    const [name = ''] = line.split(/\s+/)
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (command !== undefined) await command.run(this, line.slice(name.length).trim())
    else if (/^\/[a-z]+$/.test(name)) throw new LlavaError('INVALID_ARGUMENT', `there is no command ${name}; /help lists them`)
    else if (line !== '') await this.#ask(line)
  }

  async #ask(text: string): Promise<void> {
    const question = { text, pictures: [...(this.#unanswered?.pictures ?? []), ...this.#pending] }
    this.#pending = []
    await this.#say(question)
  }

  async #say(question: Question): Promise<void> {
    this.#unanswered = question
    const { text, pictures } = question
    const content = [...pictures.map((image) => ({ type: 'image' as const, image })), { type: 'text' as const, text }]
    const answer = await this.#show(this.#conversation.say(content, { ...this.#options, signal: this.#session.signal }))
    if (answer.finishReason === 'cancelled') return
    this.#unanswered = undefined
    this.#answered = [...this.#answered, question]
  }

  /** Writes an answer as it comes; with `--json`, only waits for it. */
  async #show(stream: ChatStream): Promise<Answer> {
    this.#stream = stream
    try {
      if (this.#flags.json !== true) for await (const text of stream) process.stdout.write(text)
      const answer = await stream.answer
      process.stdout.write(this.#flags.json === true ? `${JSON.stringify(answer)}\n` : '\n')
      if (this.#terminal) this.#session.remark(answer.finishReason === 'cancelled' ? 'stopped; /retry asks again' : summary(answer))
      return answer
    } finally {
      this.#stream = undefined
    }
  }

  #prompt(): void {
    if (this.#terminal) this.#lines?.prompt()
  }

  #listenToInterrupts(lines: Interface): void {
    const session = this.#session
    session.onInterrupt(() => {
      if (this.#stream !== undefined) this.#stream.cancel()
      else if (this.#terminal) {
        session.remark('\n(/exit or Ctrl-D ends the chat)')
        lines.prompt()
      } else return false
      return true
    })
    lines.on('SIGINT', () => {
      session.interrupt() // a terminal in raw mode sends no signal
    })
    const close = () => {
      lines.close()
    }
    session.signal.addEventListener('abort', close, { once: true })
  }
}

/** Terminals put quotes around the name of a file that is dropped on them. */
function unquoted(place: string): string {
  return /^(['"])(.*)\1$/.exec(place)?.[2] ?? place
}

/** What the tab key offers: commands, and files after /image. */
export function completeLine(line: string): [string[], string] {
  const image = /^\/image\s+(.*)$/.exec(line)
  if (image === null) return [Object.keys(commands).filter((name) => name.startsWith(line)), line]
  const start = image[1] ?? ''
  const folder = start.slice(0, start.lastIndexOf('/') + 1)
  return [filesIn(folder).filter((place) => place.startsWith(start)), start]
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder === '' ? '.' : folder, { withFileTypes: true }).map((entry) => `${path.posix.join(folder, entry.name)}${entry.isDirectory() ? '/' : ''}`)
  } catch {
    return []
  }
}
