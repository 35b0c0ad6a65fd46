// A chat in progress: its turns, the pictures that wait for the next question, its settings, and the answer being written.
// Turns are kept here as well as in the conversation, with the places of their pictures: to save them, and to begin again from them.

import path from 'node:path'
import {
  LlavaError,
  type Answer,
  type AnswerOptions,
  type ChatStream,
  type Conversation,
  type EncodedImage,
  type LLaVA,
  type Message,
  type PromptOptions,
  type SayOptions,
} from '../index.js'
import { progressStatus, summary } from './answer-report.js'
import type { ShowFlags } from './flags.js'
import { remarkOnPhotographs } from './photograph.js'
import { readChat, savedTurns, writeChat } from './saved-chat.js'
import { colours, type Session } from './session.js'
import { showPicture } from './terminal-picture.js'

/** A picture of this chat. */
interface Picture {
  /** A path or URL. */
  readonly place: string
  readonly image: EncodedImage
}

interface Question {
  readonly text: string
  readonly pictures: readonly Picture[]
}

interface Turn extends Question {
  readonly answer: string
}

export interface TalkFlags extends ShowFlags {
  readonly model?: string
  readonly json?: boolean
}

export class Talk implements Disposable {
  readonly #model: LLaVA
  readonly #flags: TalkFlags
  readonly #session: Session
  /** Whether a person sits there. */
  readonly #terminal: boolean
  #options: AnswerOptions
  #conversation: Conversation
  /** Every picture, to be disposed of. */
  readonly #pictures = new Set<Picture>()
  #turns: readonly Turn[] = []
  /** Pictures of the next question. */
  #pending: readonly Picture[] = []
  /** The last question, if its answer was stopped or failed. */
  #unanswered: Question | undefined
  #retries = 0
  #stream: ChatStream | undefined
  #work: AbortController | undefined

  constructor(model: LLaVA, flags: TalkFlags, options: AnswerOptions, session: Session, terminal: boolean) {
    this.#model = model
    this.#flags = flags
    this.#session = session
    this.#terminal = terminal
    this.#options = options
    this.#conversation = this.#begin([], options)
  }

  get options(): AnswerOptions {
    return this.#options
  }

  /** Runs one command or question, which `interrupt` may stop. */
  async run(work: () => Promise<void> | void): Promise<void> {
    this.#work = new AbortController()
    try {
      await work()
    } catch (error) {
      if (!this.#work.signal.aborted) throw error
      this.#session.status('')
      this.#session.remark('stopped')
    } finally {
      this.#work = undefined
    }
  }

  /** Stops what runs; false where nothing does. */
  interrupt(): boolean {
    if (this.#stream !== undefined) this.#stream.cancel()
    else if (this.#work !== undefined) this.#work.abort()
    else return false
    return true
  }

  async addPicture(place: string): Promise<void> {
    const picture = await this.#encode(place)
    this.#pending = [...this.#pending, picture]
    if (this.#flags.show !== undefined && this.#flags.json !== true)
      await showPicture(place, this.#flags.show, this.#session)
    await remarkOnPhotographs([place], this.#flags, this.#session)
  }

  /** Says which pictures wait for the next question. */
  remarkOnPending(): void {
    const places = this.#pending.map(({ place }) => place)
    if (places.length > 0) this.#session.remark(`with the next question: ${places.join(', ')}`)
  }

  dropPictures(): void {
    if (this.#pending.length === 0)
      throw new LlavaError('INVALID_ARGUMENT', 'no picture waits for the next question; /undo takes back a turn')
    this.#session.remark(`dropped: ${this.#pending.map(({ place }) => place).join(', ')}`)
    this.#pending = []
    this.#forgetUnused()
  }

  async ask(text: string): Promise<void> {
    const pictures = [...(this.#unanswered?.pictures ?? []), ...this.#pending]
    this.#pending = []
    await this.#say({ text, pictures })
  }

  /** With a seed, the next one: else the answer would be the same. */
  async retry(): Promise<void> {
    if (this.#unanswered !== undefined) {
      await this.#say(this.#unanswered)
      return
    }
    const { seed } = this.#options
    const options = { ...this.#sayOptions(), ...(seed !== undefined && { seed: seed + ++this.#retries }) }
    const answer = await this.#show(this.#conversation.retry(options))
    const last = this.#turns.at(-1)
    if (answer.finishReason !== 'cancelled' && last !== undefined)
      this.#turns = [...this.#turns.slice(0, -1), { ...last, answer: answer.text }]
  }

  /** Forgets the last question, and gives its pictures to the next one. */
  undo(): void {
    if (this.#unanswered === undefined) this.#conversation.undo()
    const forgotten = this.#unanswered ?? this.#turns.at(-1)
    if (this.#unanswered === undefined) this.#turns = this.#turns.slice(0, -1)
    this.#unanswered = undefined
    this.#pending = [...(forgotten?.pictures ?? []), ...this.#pending]
    this.#session.remark(`forgotten: ${forgotten?.text ?? ''}`)
    this.remarkOnPending()
  }

  clear(): void {
    this.#restart([], this.#options)
    this.#pending = []
    this.#forgetUnused()
    this.#session.remark('forgotten: everything')
  }

  showHistory(): void {
    const { bold } = colours(process.stdout)
    const lines = this.#turns.map(({ text, pictures, answer }) => {
      const said = [...pictures.map(({ place }) => `[picture ${path.basename(place)}]`), text].join(' ')
      return `${bold('user:')} ${said}\n${bold('assistant:')} ${answer}\n`
    })
    this.tell(lines.join(''))
  }

  async save(file: string): Promise<void> {
    const saved = await this.#conversation.save({ signal: this.#signal() })
    const places = this.#turns.flatMap(({ pictures }) => pictures.map(({ place }) => absolute(place)))
    await writeChat(file, saved, places)
    this.#session.remark(`saved: ${this.#turns.length} turns in ${file}`)
  }

  /** Goes on with a saved chat in place of this one, once all of its pictures are there. */
  async open(file: string): Promise<void> {
    const saved = await readChat(file)
    const pictures = new Map<string, Promise<Picture>>()
    const pictureAt = (place: string): Promise<Picture> => {
      const picture = pictures.get(place) ?? this.#encode(place)
      pictures.set(place, picture)
      return picture
    }
    try {
      const conversation = await this.#model.restoreConversation(saved, {
        picture: async ({ source }) => (source === undefined ? undefined : (await pictureAt(source)).image),
        signal: this.#signal(),
      })
      try {
        // those that were remembered, too
        const turns = await Promise.all(
          savedTurns(saved).map(async ({ text, pictures: places, answer }) => ({
            text,
            pictures: await Promise.all(places.map(({ digest, source = digest }) => pictureAt(source))),
            answer,
          })),
        )
        const { template, system } = saved
        const words = { ...(template !== undefined && { template }), ...(system !== undefined && { system }) }
        this.#goOn(conversation, turns, { ...parted(this.#options).say, ...words })
      } catch (error) {
        conversation.dispose()
        throw error
      }
      this.#pending = []
    } finally {
      this.#forgetUnused()
    }
    this.#session.remark(`opened: ${this.#turns.length} turns from ${file}`)
  }

  /** Goes on with other options; the library says at once what is wrong with them. */
  set(options: AnswerOptions): void {
    const { words, say } = parted(options)
    const { words: before } = parted(this.#options)
    if (words.system !== before.system || words.template !== before.template) this.#restart(this.#turns, options)
    this.#conversation.say('?', say) // nothing runs before the stream is looked at
    this.#options = options
  }

  /** Says something beside the answers. */
  tell(text: string): void {
    const stream = this.#flags.json === true ? process.stderr : process.stdout
    stream.write(text)
  }

  [Symbol.dispose](): void {
    this.#conversation.dispose()
    for (const { image } of this.#pictures) image.dispose()
  }

  async #encode(place: string): Promise<Picture> {
    this.#session.status(`encoding ${place} …`)
    const picture = { place, image: await this.#model.encodeImage(place, { signal: this.#signal() }) }
    this.#session.status('')
    this.#pictures.add(picture)
    return picture
  }

  async #say(question: Question): Promise<void> {
    this.#unanswered = question
    const answer = await this.#show(this.#conversation.say(contentOf(question), this.#sayOptions()))
    if (answer.finishReason === 'cancelled') return
    this.#unanswered = undefined
    this.#turns = [...this.#turns, { ...question, answer: answer.text }]
  }

  /** Writes an answer as it comes; with `--json`, only waits for it. */
  async #show(stream: ChatStream): Promise<Answer> {
    this.#stream = stream
    try {
      if (this.#flags.json !== true) for await (const text of stream) this.#session.answer(text)
      const answer = await stream.answer
      this.#session.answer(this.#flags.json === true ? `${JSON.stringify(answer)}\n` : '\n')
      if (this.#terminal)
        this.#session.remark(answer.finishReason === 'cancelled' ? 'stopped; /retry asks again' : summary(answer))
      return answer
    } finally {
      this.#stream = undefined
    }
  }

  #sayOptions(): SayOptions {
    return { ...parted(this.#options).say, signal: this.#signal(), onProgress: progressStatus(this.#session) }
  }

  #signal(): AbortSignal {
    return this.#work === undefined ? this.#session.signal : AbortSignal.any([this.#session.signal, this.#work.signal])
  }

  #begin(turns: readonly Turn[], options: AnswerOptions): Conversation {
    return this.#model.createConversation({ ...parted(options).words, messages: turns.flatMap(messagesOf) })
  }

  #restart(turns: readonly Turn[], options: AnswerOptions): void {
    this.#goOn(this.#begin(turns, options), turns, options)
  }

  /** Goes on with a conversation of these turns in place of the one that there is. */
  #goOn(conversation: Conversation, turns: readonly Turn[], options: AnswerOptions): void {
    this.#conversation.dispose()
    this.#conversation = conversation
    this.#turns = turns
    this.#options = options
    this.#unanswered = undefined
  }

  /** Frees the pictures that stand in no turn and wait for none. */
  #forgetUnused(): void {
    const used = new Set([
      ...this.#turns.flatMap(({ pictures }) => pictures),
      ...(this.#unanswered?.pictures ?? []),
      ...this.#pending,
    ])
    for (const picture of this.#pictures) {
      if (used.has(picture)) continue
      picture.image.dispose()
      this.#pictures.delete(picture)
    }
  }
}

/** What a conversation has from its beginning, and what each turn may have its own way. */
function parted({ system, template, ...say }: AnswerOptions): {
  readonly words: PromptOptions
  readonly say: SayOptions
} {
  return { words: { ...(template !== undefined && { template }), ...(system !== undefined && { system }) }, say }
}

function contentOf({ text, pictures }: Question): Exclude<Message['content'], string> {
  return [...pictures.map(({ image }) => ({ type: 'image' as const, image })), { type: 'text' as const, text }]
}

function messagesOf(turn: Turn): Message[] {
  return [
    { role: 'user', content: contentOf(turn) },
    { role: 'assistant', content: turn.answer },
  ]
}

function absolute(place: string): string {
  return /^[a-z][a-z0-9+.-]+:/i.test(place) ? place : path.resolve(place)
}
