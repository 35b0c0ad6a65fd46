// llava chat [IMAGE…]: messages from a person at a terminal, or from a pipe. One that begins with the name of a command, such as /retry, is that command.

import type { Command } from 'commander'
import { LlavaError, type ModelInfo } from '../index.js'
import { settingLines, settingNames, withSetting } from './chat-settings.js'
import {
  addAnswerFlags,
  addImageFlags,
  addModelFlags,
  addShowFlag,
  answerOptions,
  imageOptions,
  openModel,
  type AnswerFlags,
  type ImageFlags,
  type ModelFlags,
  type ShowFlags,
} from './flags.js'
import { addHelp } from './help.js'
import { PipedInput, TerminalInput, type MessageInput } from './message-input.js'
import { colours, type Session } from './session.js'
import { Talk } from './talk.js'
import { completePath, pathsIn } from './typed-paths.js'

interface ChatCommand {
  readonly usage: string
  readonly what: string
  readonly run: (chat: Chat, argument: string) => Promise<void> | void
}

const commands: Readonly<Record<string, ChatCommand>> = {
  '/image': {
    usage: '/image PATH…',
    what: 'add pictures to the next question',
    run: (chat, text) => chat.addPictures(text),
  },
  '/drop': {
    usage: '/drop',
    what: 'take these pictures back',
    run: ({ talk }) => {
      talk.dropPictures()
    },
  },
  '/retry': { usage: '/retry', what: 'ask the last question again', run: ({ talk }) => talk.retry() },
  '/undo': {
    usage: '/undo',
    what: 'forget the last question and its answer; its pictures stay for the next one',
    run: ({ talk }) => {
      talk.undo()
    },
  },
  '/clear': {
    usage: '/clear',
    what: 'forget everything',
    run: ({ talk }) => {
      talk.clear()
    },
  },
  '/history': {
    usage: '/history',
    what: 'show the conversation so far',
    run: ({ talk }) => {
      talk.showHistory()
    },
  },
  '/set': {
    usage: '/set [NAME [VALUE]]',
    what: 'show the settings, set one (/set temperature 0.2), or go back to its default',
    run: (chat, text) => {
      chat.set(text)
    },
  },
  '/save': {
    usage: '/save FILE',
    what: 'write the conversation to a file',
    run: ({ talk }, text) => talk.save(fileIn(text, '/save')),
  },
  '/open': {
    usage: '/open FILE',
    what: 'go on with a conversation that was saved',
    run: ({ talk }, text) => talk.open(fileIn(text, '/open')),
  },
  '/help': {
    usage: '/help',
    what: 'show these commands',
    run: ({ talk }) => {
      talk.tell(commandHelp())
    },
  },
  '/quit': {
    usage: '/quit, /exit',
    what: 'end the chat, as Ctrl-D does',
    run: (chat) => {
      chat.end()
    },
  },
}

/** Other names of commands. */
const aliases: Readonly<Record<string, string>> = { '/exit': '/quit' }

const commandList = Object.values(commands).map(({ usage, what }) => [usage, what] as const)

function commandHelp(): string {
  return commandList.map(([usage, what]) => `  ${usage.padEnd(20)}${what}\n`).join('')
}

const help = {
  about: [
    'Each line is a question; the conversation so far goes with it. """ begins a text of several lines, which ends with """; what is pasted is one text. ' +
      'Ctrl-C stops the answer being written, /retry asks for it again.',
  ],
  lists: { Commands: commandList },
  examples: [
    'llava chat cat.jpg',
    'llava chat --model llava-v1.5-7b.Q4_0.gguf --system "Answer in one sentence."',
    String.raw`printf 'What is this?\nWhat colour is it?\n' | llava chat cat.jpg --json`,
  ],
  json: ['With --json: a line for each answer, as of llava ask.'],
}

interface ChatFlags extends ModelFlags, AnswerFlags, ImageFlags, ShowFlags {
  readonly json?: boolean
}

export function addChat(program: Command, session: Session): void {
  const command = program
    .command('chat')
    .description('talk about pictures')
    .argument('[images...]', 'the pictures of the first question')
  addShowFlag(addImageFlags(addAnswerFlags(addModelFlags(command)))).action(
    (images: readonly string[], flags: ChatFlags) => chat(images, flags, session),
  )
  addHelp(command, help)
}

async function chat(images: readonly string[], flags: ChatFlags, session: Session): Promise<void> {
  const terminal = process.stdin.isTTY && process.stdout.isTTY && flags.json !== true
  const input = terminal ? terminalInput(session) : new PipedInput(process.stdin) // what is typed while the model is opened waits too
  try {
    using model = await openModel(flags, session, imageOptions(flags))
    using talk = new Talk(model, flags, answerOptions(flags), session, terminal)
    if (terminal) process.stdout.write(header(model.info()))
    for (const image of images) await talk.addPicture(image)
    await new Chat(talk, input, session, terminal).run()
  } finally {
    input.close()
  }
}

function terminalInput(session: Session): MessageInput {
  const onInterrupt = () => {
    session.interrupt() // a terminal in raw mode sends no signal
  }
  return new TerminalInput(process.stdin, process.stdout, {
    prompt: colours(process.stdout).cyan('> '),
    completer: completeLine,
    onInterrupt,
  })
}

function header({ card, device, isa, memory, threads, vision }: ModelInfo): string {
  const { bold, dim } = colours(process.stdout)
  const pictures = vision === undefined ? '; it takes no pictures' : ''
  const lines = [
    `${bold(card.name)} on ${device} (${memory.plan === undefined ? `${isa}, ${threads} threads` : isa})${pictures}`,
    dim('/help lists the commands, """ begins a text of several lines, Ctrl-D ends'),
  ]
  return `${lines.join('\n')}\n`
}

class Chat {
  readonly talk: Talk
  readonly #input: MessageInput
  readonly #session: Session
  readonly #terminal: boolean
  #over = false

  constructor(talk: Talk, input: MessageInput, session: Session, terminal: boolean) {
    this.talk = talk
    this.#input = input
    this.#session = session
    this.#terminal = terminal
    session.onInterrupt(() => this.#interrupt())
  }

  /** Message after message until the input ends. */
  async run(): Promise<void> {
    const { signal } = this.#session
    const close = () => {
      this.#input.close()
    }
    signal.addEventListener('abort', close, { once: true })
    if (this.#terminal) this.talk.remarkOnPending()
    while (!this.#over) {
      const message = await this.#input.next()
      signal.throwIfAborted()
      if (message === undefined) return
      await this.#take(message)
    }
  }

  async addPictures(text: string): Promise<void> {
    const places = pathsIn(text)
    if (places.length === 0) throw new LlavaError('INVALID_ARGUMENT', 'the path of a picture is missing: /image PATH')
    for (const place of places) await this.talk.addPicture(place)
    this.talk.remarkOnPending()
  }

  set(text: string): void {
    const [, name = '', value = ''] = /^(\S*)\s*([\s\S]*)$/.exec(text) ?? []
    if (name !== '') this.talk.set(withSetting(this.talk.options, name, value))
    if (name === '' || this.#terminal) this.talk.tell(settingLines(this.talk.options))
  }

  end(): void {
    this.#over = true
  }

  /** Stops what runs. Where nothing does, a person is told how to end, and a piped chat ends. */
  #interrupt(): boolean {
    if (this.talk.interrupt()) return true
    if (this.#terminal) this.#session.remark('(/quit or Ctrl-D ends the chat)')
    return this.#terminal
  }

  /** On a terminal, what fails is said and the chat goes on without it. */
  async #take(message: string): Promise<void> {
    try {
      await this.talk.run(() => this.#dispatch(message))
    } catch (error) {
      if (!this.#terminal || this.#session.signal.aborted) throw error
      this.#session.complain(error, false)
    }
  }

  async #dispatch(message: string): Promise<void> {
    if (message === '') return
    const [, word = ''] = message.includes('\n') ? [] : (/^(\/\S*)/.exec(message) ?? [])
    const name = word.toLowerCase()
    const command = Object.hasOwn(commands, aliases[name] ?? name) ? commands[aliases[name] ?? name] : undefined
    if (command !== undefined) await command.run(this, message.slice(word.length).trim())
    else if (/^\/[a-z]+$/.test(name))
      throw new LlavaError('INVALID_ARGUMENT', `there is no command ${word}; /help lists them`)
    else await this.talk.ask(message)
  }
}

function fileIn(text: string, command: string): string {
  const [file, ...more] = pathsIn(text)
  if (file === undefined || more.length > 0) throw new LlavaError('INVALID_ARGUMENT', `name one file: ${command} FILE`)
  return file
}

/** What the tab key offers: commands, files, names of settings. */
export function completeLine(line: string): [string[], string] {
  const [, word = '', rest] = /^(\/\S*)(?:\s+(.*))?$/.exec(line) ?? []
  if (rest === undefined)
    return [
      [...Object.keys(commands), ...Object.keys(aliases)].filter(
        (name) => word !== '' && name.startsWith(word.toLowerCase()),
      ),
      line,
    ]
  const name = word.toLowerCase()
  if (name === '/set') return [settingNames().filter((setting) => setting.startsWith(rest)), rest]
  return ['/image', '/save', '/open'].includes(name) ? completePath(rest) : [[], line]
}
