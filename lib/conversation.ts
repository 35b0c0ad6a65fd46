// A conversation that remembers: keys and values of its past stay between turns, and pictures are encoded once.
//   say = messages so far + a question → answer; only an answer that is complete becomes a turn
//   edit, retry and undo change where the next prompt departs from the last one; what comes before is not computed again (prefix-cache.ts)

import type { Answer } from './answers/answer.js'
import type { AnswerValue } from './answers/answer-format.js'
import { ChatStream, type ChatWork } from './answers/chat-stream.js'
import type { AnswerOptions, Message, PromptOptions } from './answers/answer-options.js'
import type { Past } from './answers/past.js'
import { EncodedImage, type ImageSource } from './engine/encoded-image.js'
import type { Engine } from './engine/engine.js'
import { LlavaError, invalidArgument } from './errors.js'
import type { ImageInput } from './image/decode.js'
import { abortSignal, checkOptions, flag, given, requireOptions, wholeNumber } from './options.js'
import { PrefixCache } from './engine/prefix-cache.js'
import type { Job } from './engine/job.js'
import type { PictureEncoder } from './engine/picture-encoder.js'
import { contentParts, type ContentPart } from './prompt/templates.js'
import {
  readKeysAndValues,
  savedParts,
  savedPicture,
  writeKeysAndValues,
  type PictureSource,
  type SavedConversation,
  type SavedMessage,
  type SavedPart,
  type SavedPicture,
} from './saved-conversation.js'

export interface ConversationOptions extends PromptOptions {
  /** Turns that have been taken elsewhere: user and assistant alternately, perhaps a system message before them. */
  readonly messages?: readonly Message[]
}

/** How a turn is answered. The template and the system text are the conversation's. */
export type SayOptions<Schema = unknown, Choice extends string = string> = Omit<
  AnswerOptions<Schema, Choice>,
  keyof PromptOptions
>

export interface SaveOptions {
  /** Saves the keys and values too, so that the next question computes nothing that was said before: much larger; default false. */
  readonly keysAndValues?: boolean
  readonly signal?: AbortSignal
}

export interface RestoreOptions {
  /** Gives pictures that are neither remembered nor where they were. */
  readonly picture?: PictureSource
  readonly signal?: AbortSignal
}

/** What a turn says: text, or text and pictures. */
export type Content = Message['content']

/** Checks messages and options at once, and gives the work that answers them. */
export type Prepare = (call: string, messages: readonly Message[], options: AnswerOptions, past: Past) => ChatWork

type Part = ContentPart<ImageSource>

interface Turn {
  readonly question: readonly Part[]
  readonly answer: string
}

/** What conversations are made with. */
export interface ConversationOrigin {
  readonly engine: Engine
  readonly prepare: Prepare
  readonly pictures: PictureEncoder
}

/** What a conversation and its branches share. */
interface ConversationSetup extends ConversationOrigin {
  readonly prompt: PromptOptions
  readonly system: Message | undefined
}

/**
 * A conversation, made by `LLaVA.createConversation`. It answers as `LLaVA.chat` does when given `messages` and the question, but computes only what
 * is new since its last answer (`usage.cachedTokens` says how much was not). It holds memory: `dispose()` it, or bind it with `using`.
 *
 * One answer at a time: a call while one is being written is BUSY. An answer that fails, is aborted or left before its end leaves the conversation as it was.
 *
 * ```
 * using conversation = model.createConversation({ system: 'Answer in one sentence.' })
 * for await (const text of conversation.say([{ type: 'image', image: 'cat.jpg' }, { type: 'text', text: 'What is this?' }])) show(text)
 * await conversation.say('What colour is it?').answer
 * ```
 */
export class Conversation implements Disposable, AsyncDisposable {
  readonly #setup: ConversationSetup
  readonly #cache: PrefixCache
  /** A handle of our own to each picture that was encoded, by the part it stands in. */
  readonly #pictures: Map<Part, EncodedImage>
  #turns: readonly Turn[]
  #running: Promise<unknown> | undefined
  #disposed = false

  /** Made by `LLaVA.createConversation`. */
  constructor(
    setup: ConversationSetup,
    turns: readonly Turn[] = [],
    cache = new PrefixCache(setup.engine),
    pictures = new Map<Part, EncodedImage>(),
  ) {
    this.#setup = setup
    this.#turns = turns
    this.#cache = cache
    this.#pictures = pictures
  }

  /** A conversation with the turns of `options.messages`. @internal */
  static begin(from: ConversationOrigin, options: ConversationOptions): Conversation {
    const { setup, turns } = beginning(from, options)
    return new Conversation(setup, turns)
  }

  /** One that was saved. @internal */
  static async restore(
    from: ConversationOrigin,
    { template, system, messages, preprocessing, keysAndValues }: SavedConversation,
    picture: PictureSource | undefined,
    job: Job,
  ): Promise<Conversation> {
    const { engine, pictures } = from
    const compare = preprocessing === pictures.preprocessing
    const encoded: EncodedImage[] = [] // in the order in which they stand there
    try {
      const whole: Message[] = []
      for (const [position, { role, content }] of messages.entries()) {
        const parts: Part[] = []
        for (const part of savedParts(content, position)) {
          if (part.type === 'text') parts.push(part)
          else {
            const image = await restorePicture(part, compare, picture, pictures, job)
            encoded.push(image)
            parts.push({ type: 'image', image: part.source ?? image })
          }
        }
        whole.push({ role, content: parts })
      }
      const kept = keysAndValues && readKeysAndValues(await engine.fingerprint(), keysAndValues)
      const { setup, turns } = beginning(from, { ...given({ template, system }), messages: whole })
      const sequence = kept && (await engine.restoreSequence(kept.keys.length, kept.pages))
      const images = [...partsOf(turns)].filter(({ type }) => type === 'image')
      const own = new Map(images.map((part, n) => [part, encoded[n] as EncodedImage]))
      return new Conversation(setup, turns, new PrefixCache(engine, sequence, kept?.keys), own)
    } catch (error) {
      for (const image of encoded) image.dispose()
      throw error
    }
  }

  /** All that was said, as `LLaVA.chat` takes it. Pictures that have been encoded stand here as EncodedImage, and live as long as the conversation. */
  get messages(): readonly Message[] {
    this.#checkAlive()
    return this.#messages(this.#turns)
  }

  /** Turns so far: a question and its answer each. */
  get length(): number {
    this.#checkAlive()
    return this.#turns.length
  }

  /**
   * Takes the next turn. Mistakes in content and options are thrown here, everything later by the stream, with the codes of `LLaVA.chat` and BUSY.
   * The work begins when the stream is looked at.
   */
  say<Schema = undefined, const Choice extends string = never>(
    content: Content,
    options: SayOptions<Schema, Choice> = {},
  ): ChatStream<AnswerValue<Schema, Choice>> {
    return this.#answer('say()', this.#turns, content, options)
  }

  /** Asks something else in place of turn `turn`, counted from 0; with its answer, later turns are forgotten. */
  edit<Schema = undefined, const Choice extends string = never>(
    turn: number,
    content: Content,
    options: SayOptions<Schema, Choice> = {},
  ): ChatStream<AnswerValue<Schema, Choice>> {
    this.#lastTurn('edit')
    wholeNumber(0, this.#turns.length - 1)('turn', turn)
    return this.#answer('edit()', this.#turns.slice(0, turn), content, options)
  }

  /** Asks the last question again: with another seed, say. */
  retry<Schema = undefined, const Choice extends string = never>(
    options: SayOptions<Schema, Choice> = {},
  ): ChatStream<AnswerValue<Schema, Choice>> {
    const last = this.#lastTurn('retry')
    return this.#answer('retry()', this.#turns.slice(0, -1), this.#kept(last.question), options)
  }

  /** Forgets the last turn. */
  undo(): void {
    this.#lastTurn('undo')
    this.#checkIdle()
    this.#settle(this.#turns.slice(0, -1))
  }

  /**
   * A conversation of its own with the turns before `fromTurn`; default: all of them. Memory is shared until one of the two goes on, and pictures stay
   * shared. The caller disposes of it.
   */
  branch(fromTurn?: number): Conversation {
    this.#checkIdle()
    const count = fromTurn ?? this.#turns.length
    wholeNumber(0, this.#turns.length)('fromTurn', count)
    const turns = this.#turns.slice(0, count)
    const pictures = new Map(
      [...this.#pictures].filter(([part]) => partsOf(turns).has(part)).map(([part, image]) => [part, image.share()]),
    )
    return new Conversation(this.#setup, turns, this.#cache.fork(), pictures)
  }

  /**
   * All that was said, as data: some KB of JSON, in which pictures are named by where they are and by what the tower saw of them; `LLaVA.restoreConversation`
   * takes it. With `keysAndValues` there is also what was computed, about as much as the conversation takes in memory. While it saves, the
   * conversation is BUSY.
   */
  async save(options: SaveOptions = {}): Promise<SavedConversation> {
    checkOptions('save()', options, { keysAndValues: flag, signal: abortSignal })
    this.#checkIdle()
    const { engine, pictures, prompt, system } = this.#setup
    const turns = this.#turns
    const save = async (job: Job): Promise<SavedConversation> => {
      await this.#encodeAll(turns, (image) => pictures.encode(image, ['projected'], {}, job))
      const messages = [
        ...(system === undefined ? [] : [{ role: system.role, content: textOf(system, 0) }]),
        ...turns.flatMap(({ question, answer }): SavedMessage[] => [
          { role: 'user', content: question.map((part) => this.#saved(part)) },
          { role: 'assistant', content: answer },
        ]),
      ]
      const { kept } = this.#cache
      const computed =
        options.keysAndValues === true && kept !== undefined
          ? writeKeysAndValues(await engine.fingerprint(), { ...kept, pages: await engine.readSequence(kept.sequence) })
          : undefined
      const { preprocessing } = pictures
      return { format: 'llava-conversation', ...prompt, messages, preprocessing, ...given({ keysAndValues: computed }) }
    }
    return this.#busy(engine.run(options.signal, save))
  }

  /** Frees the memory, after the answer that may still be written; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    if (this.#running === undefined) this.#free()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** The same, and waits for that answer. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
    await this.#running
  }

  #answer<Value>(call: string, before: readonly Turn[], content: Content, options: SayOptions): ChatStream<Value> {
    this.#checkIdle()
    requireOptions(call, options)
    for (const name of ['template', 'system']) {
      if (Object.hasOwn(options, name))
        throw new LlavaError('INVALID_ARGUMENT', `${call} has no option \`${name}\`; give it to createConversation()`)
    }
    const question = partsCopied(content, before.length)
    const past: Past = {
      cache: this.#cache,
      continues: before === this.#turns,
      pictures: (encode) => this.#encodeAll([...before, { question, answer: '' }], encode),
    }
    const messages = [...this.#messages(before), { role: 'user' as const, content: this.#kept(question) }]
    const work = this.#setup.prepare(call, messages, { ...options, ...this.#setup.prompt }, past)
    const asked = this.#turns
    return new ChatStream<Value>(async (...listeners) => {
      this.#checkIdle()
      if (this.#turns !== asked)
        throw new LlavaError(
          'BUSY',
          `the conversation went on after this ${call}, before its stream was looked at; ask again`,
        )
      return this.#run(work(...listeners), (answer) => [...before, { question, answer: answer.text }])
    })
  }

  /** Waits for an answer and, if it is complete, goes on to the turns it leads to. */
  async #run(working: Promise<Answer>, lead: (answer: Answer) => readonly Turn[]): Promise<Answer> {
    let turns = this.#turns
    const leading = working.then((answer) => {
      if (answer.finishReason !== 'cancelled') turns = lead(answer)
      return answer
    })
    return this.#busy(
      leading.finally(() => {
        this.#settle(turns)
      }),
    )
  }

  /** Takes no other call until `work` is over, and no memory from it when it is disposed of. */
  async #busy<T>(work: Promise<T>): Promise<T> {
    this.#running = work.catch(() => undefined)
    try {
      return await work
    } finally {
      this.#running = undefined
      if (this.#disposed) this.#free()
    }
  }

  /** Goes on with these turns; pictures that stand in none of them are let go. */
  #settle(turns: readonly Turn[]): void {
    this.#turns = turns
    const parts = partsOf(turns)
    for (const [part, image] of this.#pictures) {
      if (parts.has(part)) continue
      image.dispose()
      this.#pictures.delete(part)
    }
  }

  async #encodeAll(
    turns: readonly Turn[],
    encode: (image: ImageInput) => Promise<EncodedImage>,
  ): Promise<readonly EncodedImage[]> {
    const parts = [...partsOf(turns)].filter((part) => part.type === 'image')
    const encoded = await Promise.allSettled(
      parts.map(
        async (part) =>
          this.#pictures.get(part) ??
          (part.image instanceof EncodedImage ? part.image.share() : await encode(part.image)),
      ),
    )
    for (const [index, result] of encoded.entries())
      if (result.status === 'fulfilled') this.#pictures.set(parts[index] as Part, result.value)
    return encoded.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  }

  #saved(part: Part): SavedPart {
    return part.type === 'text' ? part : savedPicture(part.image, this.#pictures.get(part) as EncodedImage)
  }

  #messages(turns: readonly Turn[]): readonly Message[] {
    const { system } = this.#setup
    return [
      ...(system === undefined ? [] : [system]),
      ...turns.flatMap(({ question, answer }): Message[] => [
        { role: 'user', content: this.#kept(question) },
        { role: 'assistant', content: answer },
      ]),
    ]
  }

  /** The same parts with the pictures that are kept. */
  #kept(question: readonly Part[]): Content {
    const [first] = question
    if (question.length === 1 && first?.type === 'text') return first.text
    return question.map((part) =>
      part.type === 'image' ? { ...part, image: this.#pictures.get(part) ?? part.image } : part,
    )
  }

  #lastTurn(verb: string): Turn {
    this.#checkAlive()
    const last = this.#turns.at(-1)
    if (last === undefined)
      throw new LlavaError('INVALID_ARGUMENT', `nothing was said yet: there is no turn to ${verb}`)
    return last
  }

  #checkAlive(): void {
    if (this.#disposed) throw new LlavaError('DISPOSED', 'this Conversation has been disposed of')
    this.#setup.engine.checkAlive()
  }

  #checkIdle(): void {
    this.#checkAlive()
    if (this.#running !== undefined)
      throw new LlavaError(
        'BUSY',
        'this Conversation is writing an answer, or being saved; await it, cancel it, or branch() before',
      )
  }

  #free(): void {
    this.#cache.dispose()
    for (const image of this.#pictures.values()) image.dispose()
    this.#pictures.clear()
  }
}

/** Remembered, or from where it is or the caller says, and the same picture in any case. The caller disposes of it. */
async function restorePicture(
  saved: SavedPicture,
  compare: boolean,
  picture: PictureSource | undefined,
  pictures: PictureEncoder,
  job: Job,
): Promise<EncodedImage> {
  const { digest, source } = saved
  const remembered = compare ? await pictures.find(digest, ['projected']) : undefined
  if (remembered !== undefined) return remembered
  const image = (await picture?.(saved)) ?? source
  const name = source ?? `the picture ${digest.slice(0, 12)}…`
  if (image === undefined) {
    const advice = 'give it by the option `picture`'
    throw new LlavaError('INVALID_ARGUMENT', `${name} was saved by its digest alone and is not remembered: ${advice}`)
  }
  const encoded = image instanceof EncodedImage ? image.share() : await pictures.encode(image, ['projected'], {}, job)
  if (!compare || encoded.digest === digest) return encoded
  encoded.dispose()
  throw new LlavaError('INVALID_ARGUMENT', `${name} is not the picture that was saved: it has changed since`)
}

/** Parts of our own, which are never changed and never shared between turns: by them a picture is known again. */
function partsCopied(content: Content, position: number): readonly Part[] {
  return contentParts(content, position).map((part) =>
    part.type === 'text' ? { type: 'text', text: part.text } : { type: 'image', image: part.image },
  )
}

function partsOf(turns: readonly Turn[]): ReadonlySet<Part> {
  return new Set(turns.flatMap(({ question }) => question))
}

function beginning(
  from: ConversationOrigin,
  { messages = [], ...prompt }: ConversationOptions,
): { readonly setup: ConversationSetup; readonly turns: readonly Turn[] } {
  const system = messages[0]?.role === 'system' ? messages[0] : undefined
  return { setup: { ...from, prompt, system }, turns: turnsOf(system === undefined ? messages : messages.slice(1)) }
}

function turnsOf(messages: readonly Message[]): readonly Turn[] {
  const turns: Turn[] = []
  for (const [index, { role, content }] of messages.entries()) {
    const expected = index % 2 === 0 ? 'user' : 'assistant'
    if (role !== expected)
      throw invalidArgument(`messages[${index}].role`, `'${expected}' (user and assistant take turns)`, role)
    const answer = messages[index + 1]
    if (answer === undefined && role === 'user')
      throw invalidArgument('messages', 'whole turns, the last of them answered', messages)
    if (role === 'assistant') continue
    turns.push({ question: partsCopied(content, index), answer: textOf(answer as Message, index + 1) })
  }
  return turns
}

function textOf({ content }: Message, position: number): string {
  const texts = contentParts(content, position).map((part) => {
    if (part.type === 'text') return part.text
    throw invalidArgument(`messages[${position}].content`, 'text only, as its role is not user', 'an image')
  })
  return texts.join('\n')
}
