// Pictures that are found by words: a CLIP on the server makes vectors of both, and the nearest come first.

import { ServerError, type Server } from '../api/server'
import { dropUnused, type Database, type Searchable } from '../store/database'
import { NoPicture, type Pictures } from '../store/pictures'

/** Errors of a server that are one picture's. */
const unreadable: ReadonlySet<string> = new Set(['invalid_image', 'image_too_large'])

/** Pictures of one request. */
const together = 8

interface Parts {
  readonly database: Database
  readonly pictures: Pictures
  readonly server: Server
  readonly onTrouble: (error: ServerError) => void
}

export interface Found {
  readonly hash: string
  /** Cosine of the angle between its vector and the words'; undefined where nothing is searched for, or it has none. */
  readonly likeness: number | undefined
}

export class Find {
  /** The latest first. */
  all = $state.raw<readonly Searchable[]>([])
  words = $state('')
  /** The picture that others are to be like, in place of words. */
  like = $state<string>()
  /** Pictures that have no vector yet. */
  waiting = $state(0)
  error = $state<ServerError>()
  #wanted = $state.raw<Float32Array>()
  #asked: AbortController | undefined
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async load(): Promise<void> {
    this.#set(await this.#parts.database.getAll('searchable'))
  }

  /** Keeps pictures for the search. @returns how many of them are none */
  async add(files: readonly File[]): Promise<number> {
    let unread = 0
    for (const file of files)
      try {
        const { hash } = await this.#parts.pictures.add(file, file.name)
        if (this.all.some((one) => one.hash === hash)) continue
        await this.#keep({ hash, added: Date.now(), vectors: {} })
      } catch (error) {
        if (!(error instanceof NoPicture)) throw error
        unread++
      }
    return unread
  }

  /** Makes the vectors that are missing. */
  async embed(model: string): Promise<void> {
    if (this.waiting > 0) return
    try {
      this.error = undefined
      for (;;) {
        const missing = this.all.filter(({ vectors }) => !(model in vectors))
        this.waiting = missing.length
        const some = missing.slice(0, together)
        if (some.length === 0) return
        const vectors = await this.#vectors(model, some)
        for (const [at, one] of some.entries()) {
          const vector = vectors[at]
          if (vector !== undefined && this.all.some(({ hash }) => hash === one.hash))
            await this.#keep({ ...one, vectors: { ...one.vectors, [model]: vector } })
        }
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.waiting = 0
    }
  }

  /** Searches for the words, or for pictures like one. */
  async search(model: string): Promise<void> {
    this.#asked?.abort()
    const asked = new AbortController()
    this.#asked = asked
    const text = this.words.trim()
    if (this.like !== undefined) {
      this.#wanted = this.all.find(({ hash }) => hash === this.like)?.vectors[model]
      return
    }
    if (text === '') {
      this.#wanted = undefined
      return
    }
    try {
      this.error = undefined
      const [vector] = await this.#parts.server.embed(model, [text], asked.signal)
      if (!asked.signal.aborted) this.#wanted = vector
    } catch (error) {
      if (!asked.signal.aborted) this.#fail(error)
    }
  }

  /** The nearest first, or the latest where nothing is searched for. */
  found(model: string): readonly Found[] {
    const wanted = this.#wanted
    const found = this.all.map(({ hash, vectors }) => ({ hash, likeness: likeness(wanted, vectors[model]) }))
    return wanted === undefined ? found : found.sort((a, b) => (b.likeness ?? -2) - (a.likeness ?? -2))
  }

  async remove(hash: string): Promise<void> {
    if (this.like === hash) this.like = undefined
    await this.#parts.database.delete('searchable', hash)
    this.#set(this.all.filter((one) => one.hash !== hash))
    await dropUnused(this.#parts.database, [hash])
  }

  /** An empty one where the server cannot read a picture, which keeps the others of its request from nothing. */
  async #vectors(model: string, some: readonly Searchable[]): Promise<readonly Float32Array[]> {
    try {
      const urls = await Promise.all(some.map(({ hash }) => this.#parts.pictures.dataUrl(hash)))
      return await this.#parts.server.embed(model, urls)
    } catch (error) {
      if (!(error instanceof ServerError) || !unreadable.has(error.code)) throw error
      if (some.length === 1) return [new Float32Array(0)]
      return (await Promise.all(some.map((one) => this.#vectors(model, [one])))).flat()
    }
  }

  async #keep(one: Searchable): Promise<void> {
    await this.#parts.database.put('searchable', one)
    this.#set([...this.all.filter(({ hash }) => hash !== one.hash), one])
  }

  #set(all: readonly Searchable[]): void {
    this.all = [...all].sort((a, b) => b.added - a.added || (a.hash < b.hash ? -1 : 1))
  }

  #fail(error: unknown): void {
    this.error = error instanceof ServerError ? error : new ServerError('internal', String(error))
    this.#parts.onTrouble(this.error)
  }
}

function likeness(a: Float32Array | undefined, b: Float32Array | undefined): number | undefined {
  if (a === undefined || b === undefined || a.length !== b.length) return undefined
  return a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0)
}
