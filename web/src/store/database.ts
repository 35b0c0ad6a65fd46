// What this browser keeps: conversations, their messages, pictures by the hash of their bytes, and the vectors by which
// pictures are found.

import { openDB, type DBSchema, type IDBPDatabase } from 'idb'

/** One of the conversations side by side, with a model of its own. */
export interface Column {
  readonly model: string
  /** Which of the messages that answer one is shown, by the id of that one; '' stands for the beginning. */
  readonly shown: Readonly<Record<string, string>>
}

export interface Conversation {
  readonly id: string
  readonly title: string
  readonly created: number
  readonly updated: number
  readonly columns: readonly Column[]
}

export interface AnswerFacts {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly firstTokenMs: number
  /** From the question to the end. */
  readonly totalMs: number
}

/** `writing`: it is being written, or was when the page went away. */
export type MessageState = 'done' | 'cut' | 'writing' | 'stopped' | 'failed'

export interface Message {
  readonly id: string
  readonly conversation: string
  /** The place of its column. */
  readonly column: number
  /** The message that it follows; '' at the beginning. */
  readonly parent: string
  readonly role: 'user' | 'assistant'
  readonly text: string
  /** Hashes. */
  readonly pictures: readonly string[]
  readonly created: number
  readonly state: MessageState
  /** Of an answer. */
  readonly model?: string
  readonly facts?: AnswerFacts
  readonly error?: { readonly code: string; readonly message: string }
}

export interface Picture {
  /** SHA-256 of its bytes in hexadecimal digits. */
  readonly hash: string
  readonly blob: Blob
  readonly name: string
  readonly width: number
  readonly height: number
  readonly added: number
}

/** A picture of those that are searched. */
export interface Searchable {
  readonly hash: string
  readonly added: number
  /** Vectors of length 1 by the models that made them. */
  readonly vectors: Readonly<Record<string, Float32Array>>
}

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation }
  messages: { key: string; value: Message; indexes: { conversation: string; pictures: string } }
  pictures: { key: string; value: Picture }
  searchable: { key: string; value: Searchable }
}

export type Database = IDBPDatabase<Schema>

export function openDatabase(): Promise<Database> {
  return openDB<Schema>('llava', 1, {
    upgrade(database) {
      database.createObjectStore('conversations', { keyPath: 'id' })
      const messages = database.createObjectStore('messages', { keyPath: 'id' })
      messages.createIndex('conversation', 'conversation')
      messages.createIndex('pictures', 'pictures', { multiEntry: true })
      database.createObjectStore('pictures', { keyPath: 'hash' })
      database.createObjectStore('searchable', { keyPath: 'hash' })
    },
  })
}

/** Deletes those of these pictures that nothing refers to any more. */
export async function dropUnused(database: Database, hashes: Iterable<string>): Promise<void> {
  for (const hash of new Set(hashes)) {
    const used =
      (await database.countFromIndex('messages', 'pictures', hash)) > 0 ||
      (await database.getKey('searchable', hash)) !== undefined
    if (!used) await database.delete('pictures', hash)
  }
}

/** How long a picture that nothing refers to may still be in somebody's draft. */
const draftMs = 24 * 3600 * 1000

/** Deletes pictures that were brought and never asked about. */
export async function dropForgotten(database: Database): Promise<void> {
  const pictures = await database.getAll('pictures')
  const old = pictures.filter(({ added }) => added < Date.now() - draftMs)
  await dropUnused(
    database,
    old.map(({ hash }) => hash),
  )
}
