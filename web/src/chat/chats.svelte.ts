// Conversations: what is shown, what is being written, and what is kept of it.

import { SvelteMap } from 'svelte/reactivity'
import { ServerError, type Part, type Server, type Turn } from '../api/server'
import { dropUnused, type Column, type Conversation, type Database, type Message } from '../store/database'
import { NoPicture, type Pictures } from '../store/pictures'
import type { Settings } from '../settings.svelte'
import { pathOf } from './tree'

/** How often an answer that is being written is kept. */
const keepEveryMs = 250

/** How often an overloaded server is asked again before the answer is given up. */
const mostTries = 6

/** An answer that is being written. */
export interface Writing {
  readonly conversation: string
  readonly stop: AbortController
  /** When an overloaded server is asked again. */
  readonly retryAt?: number
}

interface Parts {
  readonly database: Database
  readonly pictures: Pictures
  readonly server: Server
  readonly settings: Settings
  /** Whether a model takes pictures. */
  readonly sees: (model: string) => boolean
  /** Called when the server could not be reached, or refused the key. */
  readonly onTrouble: (error: ServerError) => void
}

export class Chats {
  /** The latest first. */
  list = $state.raw<readonly Conversation[]>([])
  /** None: one that has not begun. */
  current = $state.raw<Conversation>()
  /** Of the current conversation, by their ids. */
  readonly messages = new SvelteMap<string, Message>()
  /** By the ids of the answers. */
  readonly writing = new SvelteMap<string, Writing>()
  /** An answer that has just become whole, for screen readers. */
  finished = $state('')
  readonly #parts: Parts
  /** Messages that are being written, in whatever conversation. */
  readonly #live = new Map<string, Message>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async load(): Promise<void> {
    const all = await this.#parts.database.getAll('conversations')
    this.list = all.sort((a, b) => b.updated - a.updated)
  }

  path(column: number): readonly Message[] {
    return pathOf(this.messages.values(), column, this.current?.columns[column]?.shown ?? {})
  }

  /** The messages that an answer was asked with. */
  before({ id, column }: Message): readonly Message[] {
    const path = this.path(column)
    return path.slice(
      0,
      Math.max(
        0,
        path.findIndex((one) => one.id === id),
      ),
    )
  }

  /** An answer and all that it was asked with, as the server takes it. */
  async asked(message: Message): Promise<readonly Turn[]> {
    return this.#turns([...this.before(message), message], this.#parts.sees(message.model ?? ''))
  }

  get isWriting(): boolean {
    return [...this.writing.values()].some(({ conversation }) => conversation === this.current?.id)
  }

  /** Leaves the current conversation for one that has not begun. */
  begin(): void {
    this.current = undefined
    this.messages.clear()
  }

  async open(id: string): Promise<void> {
    const { database } = this.#parts
    const [conversation, messages] = await Promise.all([
      database.get('conversations', id),
      database.getAllFromIndex('messages', 'conversation', id),
    ])
    if (conversation === undefined) return
    this.current = conversation
    this.messages.clear()
    for (const message of messages) this.messages.set(message.id, this.#live.get(message.id) ?? message)
  }

  /** Asks all columns. @param models of the columns, where the conversation begins with this */
  async send(text: string, pictures: readonly string[], models: readonly string[]): Promise<void> {
    const conversation = this.current ?? (await this.#create(text, models))
    for (const [column, { model }] of conversation.columns.entries())
      await this.#ask(column, this.path(column).at(-1)?.id ?? '', text, pictures, model)
  }

  /** The same question once more. */
  async retry({ parent, column }: Message): Promise<void> {
    const model = this.current?.columns[column]?.model
    if (model !== undefined) await this.#write(parent, column, model)
  }

  /** Another question in the place of this one. */
  async edit({ parent, column, pictures }: Message, text: string): Promise<void> {
    const model = this.current?.columns[column]?.model
    if (model !== undefined) await this.#ask(column, parent, text, pictures, model)
  }

  async show({ id, parent, column }: Message): Promise<void> {
    await this.#changeColumn(column, (old) => ({ ...old, shown: { ...old.shown, [parent]: id } }))
  }

  async chooseModel(column: number, model: string): Promise<void> {
    await this.#changeColumn(column, (old) => ({ ...old, model }))
  }

  stop(id?: string): void {
    for (const [message, { conversation, stop }] of this.writing)
      if (id === undefined ? conversation === this.current?.id : message === id) stop.abort()
  }

  async rename({ id }: Conversation, title: string): Promise<void> {
    await this.#change(id, (old) => ({ ...old, title }))
  }

  async remove({ id }: Conversation): Promise<void> {
    const { database } = this.#parts
    for (const { conversation, stop } of this.writing.values()) if (conversation === id) stop.abort()
    if (this.current?.id === id) this.begin()
    await this.#removeMessages(await database.getAllFromIndex('messages', 'conversation', id))
    await database.delete('conversations', id)
    this.list = this.list.filter((one) => one.id !== id)
  }

  /** A second column, with the first one's messages so far. */
  async compare(model: string): Promise<void> {
    const conversation = this.current
    if (conversation === undefined) return
    const column = conversation.columns.length
    let parent = ''
    for (const message of this.path(0)) {
      const copy = { ...$state.snapshot(message), id: newId(), column, parent }
      parent = copy.id
      await this.#keep(copy)
    }
    await this.#change(conversation.id, (old) => ({ ...old, columns: [...old.columns, { model, shown: {} }] }))
  }

  /** Drops a column and its messages. */
  async closeColumn(column: number): Promise<void> {
    const conversation = this.current
    if (conversation === undefined) return
    const messages = [...this.messages.values()]
    const closed = messages.filter((message) => message.column === column)
    for (const { id } of closed) this.stop(id)
    await this.#removeMessages(closed)
    for (const message of messages)
      if (message.column > column) await this.#keep({ ...message, column: message.column - 1 })
    await this.#change(conversation.id, (old) => ({ ...old, columns: old.columns.filter((_, at) => at !== column) }))
  }

  async #create(text: string, models: readonly string[]): Promise<Conversation> {
    const [created, title] = [now(), titleOf(text)]
    const columns = models.map((model): Column => ({ model, shown: {} }))
    const conversation = { id: newId(), title, created, updated: created, columns }
    await this.#parts.database.put('conversations', conversation)
    this.list = [conversation, ...this.list]
    this.current = conversation
    this.messages.clear()
    return conversation
  }

  async #ask(column: number, parent: string, text: string, pictures: readonly string[], model: string): Promise<void> {
    const conversation = this.current?.id ?? ''
    const question: Message = {
      ...{ id: newId(), conversation, column, parent, role: 'user', text },
      ...{ pictures: [...pictures], created: now(), state: 'done' },
    }
    await this.#keep(question)
    await this.show(question)
    await this.#write(question.id, column, model)
  }

  /** Begins an answer to the message `parent`, and does not wait for it. */
  async #write(parent: string, column: number, model: string): Promise<void> {
    const conversation = this.current?.id ?? ''
    const answer: Message = {
      ...{ id: newId(), conversation, column, parent, role: 'assistant', text: '', model },
      ...{ pictures: [], created: now(), state: 'writing' },
    }
    const writing: Writing = { conversation, stop: new AbortController() }
    this.writing.set(answer.id, writing)
    await this.#keep(answer)
    await this.show(answer)
    await this.#change(conversation, (old) => ({ ...old, updated: now() }))
    const path = pathOf(this.messages.values(), column, this.current?.columns[column]?.shown ?? {})
    const before = path.slice(
      0,
      path.findIndex(({ id }) => id === answer.id),
    )
    void this.#finish(answer, before, writing)
  }

  /** Writes an answer to its end, whatever that is. */
  async #finish(answer: Message, before: readonly Message[], writing: Writing): Promise<void> {
    let written = answer
    const update = (next: Message): void => {
      written = next
      this.#live.set(next.id, next)
      if (this.current?.id === next.conversation) this.messages.set(next.id, next)
    }
    const keeping = setInterval(() => {
      void this.#keep(written)
    }, keepEveryMs)
    try {
      const messages = await this.#turns(before, this.#parts.sees(answer.model ?? ''))
      for (let tried = 1; ; tried++)
        try {
          await this.#stream(answer, messages, writing.stop.signal, update)
          break
        } catch (error) {
          if (!(error instanceof ServerError && error.retryAfter !== undefined) || tried === mostTries) throw error
          await this.#wait(answer.id, error.retryAfter * 2 ** (tried - 1), writing)
        }
      this.finished = written.text
    } catch (error) {
      update(this.#failed(written, error, writing))
    } finally {
      clearInterval(keeping)
      this.writing.delete(answer.id)
      this.#live.delete(answer.id)
      if ((await this.#parts.database.getKey('conversations', answer.conversation)) !== undefined)
        await this.#keep(written)
    }
  }

  async #stream(
    answer: Message,
    messages: readonly Turn[],
    signal: AbortSignal,
    update: (next: Message) => void,
  ): Promise<void> {
    const { temperature, topP, maxTokens } = this.#parts.settings
    const question = { model: answer.model ?? '', messages, temperature, topP, maxTokens }
    const start = performance.now()
    let [firstTokenMs, text, state] = [0, '', 'done' as Message['state']]
    for await (const piece of this.#parts.server.answer(question, signal)) {
      if ('text' in piece) {
        if (text === '') firstTokenMs = performance.now() - start
        text += piece.text
        update({ ...answer, text })
      } else if ('finish' in piece) {
        state = piece.finish === 'length' ? 'cut' : 'done'
      } else {
        const facts = { ...piece.usage, firstTokenMs, totalMs: performance.now() - start }
        update({ ...answer, text, state, facts })
      }
    }
  }

  /** Waits before an overloaded server is asked again. */
  async #wait(id: string, seconds: number, writing: Writing): Promise<void> {
    const { signal } = writing.stop
    this.writing.set(id, { ...writing, retryAt: Date.now() + seconds * 1000 })
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, seconds * 1000)
      signal.addEventListener('abort', () => {
        clearTimeout(timer)
        reject(signal.reason as Error)
      })
    })
    this.writing.set(id, writing)
  }

  #failed(answer: Message, error: unknown, { stop }: Writing): Message {
    if (stop.signal.aborted) return { ...answer, state: 'stopped' }
    const known =
      error instanceof ServerError
        ? error
        : new ServerError(error instanceof NoPicture ? 'picture_gone' : 'internal', String(error))
    this.#parts.onTrouble(known)
    return { ...answer, state: 'failed', error: { code: known.code, message: known.message } }
  }

  /** @param seen whether with their pictures: a model of text may go on where another began */
  async #turns(messages: readonly Message[], seen: boolean): Promise<readonly Turn[]> {
    return Promise.all(
      messages.map(async ({ role, text, pictures }): Promise<Turn> => {
        if (pictures.length === 0 || !seen) return { role, content: text }
        const urls = await Promise.all(pictures.map((hash) => this.#parts.pictures.dataUrl(hash)))
        const parts: readonly Part[] = urls.map((url) => ({ type: 'image_url', image_url: { url } }))
        return { role, content: [...parts, { type: 'text', text }] }
      }),
    )
  }

  async #keep(message: Message): Promise<void> {
    if (this.current?.id === message.conversation) this.messages.set(message.id, message)
    await this.#parts.database.put('messages', message)
  }

  async #removeMessages(messages: readonly Message[]): Promise<void> {
    const { database } = this.#parts
    for (const { id } of messages) {
      this.messages.delete(id)
      await database.delete('messages', id)
    }
    await dropUnused(
      database,
      messages.flatMap(({ pictures }) => pictures),
    )
  }

  async #changeColumn(column: number, change: (old: Column) => Column): Promise<void> {
    if (this.current === undefined) return
    await this.#change(this.current.id, (old) => ({
      ...old,
      columns: old.columns.map((one, at) => (at === column ? change(one) : one)),
    }))
  }

  async #change(id: string, change: (old: Conversation) => Conversation): Promise<void> {
    const old = this.list.find((one) => one.id === id)
    if (old === undefined) return
    const changed = change(old)
    this.list = this.list.map((one) => (one === old ? changed : one)).sort((a, b) => b.updated - a.updated)
    if (this.current?.id === id) this.current = changed
    await this.#parts.database.put('conversations', changed)
  }
}

let last = 0

/** Milliseconds since 1970, never the same twice: messages are ordered by them. */
function now(): number {
  last = Math.max(last + 1, Date.now())
  return last
}

/** Browsers have `crypto.randomUUID` at https and at localhost only. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function titleOf(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, ' ')
  return line.length > 60 ? `${line.slice(0, 59)}…` : line
}
