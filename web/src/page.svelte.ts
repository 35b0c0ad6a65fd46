// What all parts of the page share.

import { getContext, setContext } from 'svelte'
import { Server, ServerError, type Model } from './api/server'
import { Chats } from './chat/chats.svelte'
import { Find } from './find/find.svelte'
import { Settings } from './settings.svelte'
import { dropUnused, type Database } from './store/database'
import { NoPicture, Pictures } from './store/pictures'
import { Words } from './words/words.svelte'

/** How often a server that is gone is looked for. */
const lookMs = 1500

export type Connection = 'opening' | 'there' | 'gone' | 'refused'

/** Something that is said for a while. */
export interface Notice {
  readonly id: number
  readonly text: string
}

export class Page {
  readonly settings = new Settings()
  readonly words = new Words(() => this.settings.language)
  readonly server = new Server(() => this.settings.key)
  readonly pictures: Pictures
  readonly chats: Chats
  readonly find: Find
  models = $state.raw<readonly Model[]>([])
  connection = $state<Connection>('opening')
  view = $state<'chat' | 'find'>('chat')
  notices = $state.raw<readonly Notice[]>([])
  /** What is about to be asked. */
  draft = $state<{ text: string; pictures: string[] }>({ text: '', pictures: [] })
  /** Models of a conversation that has not begun, by columns. */
  #chosen = $state<readonly string[]>([])
  readonly database: Database

  constructor(database: Database) {
    this.database = database
    this.pictures = new Pictures(database)
    const { server, settings, pictures } = this
    const onTrouble = (error: ServerError) => {
      this.#trouble(error)
    }
    this.chats = new Chats({ database, pictures, server, settings, sees: (model) => this.sees(model), onTrouble })
    this.find = new Find({ database, pictures, server, onTrouble })
  }

  /** Asks the server what it has, until it answers. */
  async connect(): Promise<void> {
    try {
      this.models = await this.server.models()
      this.connection = 'there'
    } catch (error) {
      this.#trouble(error instanceof ServerError ? error : new ServerError('internal', String(error)))
    }
  }

  /** Models by columns, of the current conversation or the next one. */
  get columns(): readonly string[] {
    const models = this.chats.current?.columns.map(({ model }) => model) ?? this.#chosen
    return models.length > 0 ? models : this.models.slice(0, 1).map(({ id }) => id)
  }

  async chooseModel(column: number, model: string): Promise<void> {
    if (this.chats.current !== undefined) await this.chats.chooseModel(column, model)
    else this.#chosen = this.columns.map((old, at) => (at === column ? model : old))
  }

  /** A second column, of a model that is not in the first one. */
  async compare(): Promise<void> {
    const [first] = this.columns
    const other = this.models.find(({ id }) => id !== first)?.id ?? first
    if (other === undefined) return
    if (this.chats.current !== undefined) await this.chats.compare(other)
    else this.#chosen = [...this.columns, other]
  }

  async closeColumn(column: number): Promise<void> {
    if (this.chats.current !== undefined) await this.chats.closeColumn(column)
    else this.#chosen = this.columns.filter((_, at) => at !== column)
  }

  /** Whether a model takes pictures; so do those that nothing is known of. */
  sees(id: string): boolean {
    return this.models.find((model) => model.id === id)?.capabilities.includes('vision') ?? true
  }

  /** Whether all columns take pictures. */
  get takesPictures(): boolean {
    return this.columns.every((id) => this.sees(id))
  }

  /** Puts pictures into the draft, or among those that are searched, whichever is shown. */
  async take(files: readonly File[]): Promise<void> {
    const pictures = files.filter(({ type }) => type === '' || type.startsWith('image/'))
    if (pictures.length < files.length) this.say(this.words.now.notPictures(files.length - pictures.length))
    if (pictures.length === 0) return
    if (this.view === 'find') {
      const unread = await this.find.add(pictures)
      if (unread > 0) this.say(this.words.now.unreadable(unread))
      return
    }
    if (!this.takesPictures) {
      this.say(this.words.now.textOnly(this.columns.filter((id) => !this.sees(id)).join(', ')))
      return
    }
    for (const file of pictures) await this.#draw(file, file.name)
  }

  async takeOut(hash: string): Promise<void> {
    this.draft.pictures = this.draft.pictures.filter((one) => one !== hash)
    await dropUnused(this.database, [hash])
  }

  /** Asks what the draft says. */
  async send(): Promise<void> {
    const text = this.draft.text.trim()
    if (text === '') return
    const pictures = this.takesPictures ? [...this.draft.pictures] : []
    this.draft = { text: '', pictures: [] }
    await this.chats.send(text, pictures, this.columns)
  }

  begin(): void {
    this.view = 'chat'
    this.chats.begin()
    this.draft = { text: '', pictures: [] }
  }

  say(text: string): void {
    const notice = { id: Math.max(0, ...this.notices.map(({ id }) => id)) + 1, text }
    this.notices = [...this.notices, notice]
    setTimeout(() => {
      this.dismiss(notice)
    }, 8000)
  }

  dismiss(notice: Notice): void {
    this.notices = this.notices.filter(({ id }) => id !== notice.id)
  }

  async #draw(file: Blob, name: string): Promise<void> {
    try {
      const { hash } = await this.pictures.add(file, name)
      if (!this.draft.pictures.includes(hash)) this.draft.pictures = [...this.draft.pictures, hash]
    } catch (error) {
      if (!(error instanceof NoPicture)) throw error
      this.say(this.words.now.unreadable(1))
    }
  }

  #trouble({ code }: ServerError): void {
    if (code === 'invalid_api_key') this.connection = 'refused'
    if (code !== 'unreachable' && code !== 'shutting_down') return
    if (this.connection === 'gone') return
    this.connection = 'gone'
    const look = async (): Promise<void> => {
      if (await this.server.ready()) await this.connect()
      else setTimeout(() => void look(), lookMs)
    }
    setTimeout(() => void look(), lookMs)
  }
}

const key = Symbol('page')

export function providePage(page: Page): void {
  setContext(key, page)
}

export function usePage(): Page {
  return getContext<Page>(key)
}
