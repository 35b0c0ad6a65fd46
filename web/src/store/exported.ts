// Conversations as one file of JSON, pictures in it in base64, and back.

import * as v from 'valibot'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import type { Conversation, Database, Message, Picture } from './database'
import { dataUrlOf } from './pictures'

const file = v.object({
  format: v.literal('llava-chats'),
  conversations: v.array(
    v.object({
      id: v.string(),
      title: v.string(),
      created: v.number(),
      updated: v.number(),
      columns: v.pipe(
        v.array(v.object({ model: v.string(), shown: v.record(v.string(), v.string()) })),
        v.minLength(1),
      ),
    }),
  ),
  messages: v.array(
    v.object({
      id: v.string(),
      conversation: v.string(),
      column: v.number(),
      parent: v.string(),
      role: v.picklist(['user', 'assistant']),
      text: v.string(),
      pictures: v.array(v.string()),
      created: v.number(),
      state: v.picklist(['done', 'cut', 'writing', 'stopped', 'failed']),
      model: v.optional(v.string()),
      facts: v.optional(
        v.object({
          promptTokens: v.number(),
          completionTokens: v.number(),
          firstTokenMs: v.number(),
          totalMs: v.number(),
        }),
      ),
      error: v.optional(v.object({ code: v.string(), message: v.string() })),
    }),
  ),
  pictures: v.array(
    v.object({
      hash: v.string(),
      name: v.string(),
      width: v.number(),
      height: v.number(),
      data: v.pipe(v.string(), v.regex(/^data:image\/[\w.+-]+;base64,[A-Za-z0-9+/]*=*$/)),
    }),
  ),
})

type Exported = v.InferOutput<typeof file>

/** A file with these conversations. */
export async function exportChats(database: Database, ids: readonly string[]): Promise<Blob> {
  const conversations = (await Promise.all(ids.map((id) => database.get('conversations', id)))).filter(
    (found): found is Conversation => found !== undefined,
  )
  const messages = (
    await Promise.all(conversations.map(({ id }) => database.getAllFromIndex('messages', 'conversation', id)))
  ).flat()
  const hashes = new Set(messages.flatMap(({ pictures }) => pictures))
  const found = await Promise.all([...hashes].map((hash) => database.get('pictures', hash)))
  const pictures = await Promise.all(
    found
      .filter((picture): picture is Picture => picture !== undefined)
      .map(async ({ blob, hash, name, width, height }) => ({ hash, name, width, height, data: await dataUrlOf(blob) })),
  )
  const exported = { format: 'llava-chats', conversations, messages, pictures }
  return new Blob([JSON.stringify(exported)], { type: 'application/json' })
}

/** Keeps the conversations of a file; those that are here already are replaced. @returns how many; fails on others' files */
export async function importChats(database: Database, from: Blob): Promise<number> {
  const { conversations, messages, pictures } = v.parse(file, JSON.parse(await from.text()))
  const decoded = pictures.map(decode)
  const transaction = database.transaction(['conversations', 'messages', 'pictures'], 'readwrite')
  await Promise.all([
    ...conversations.map((one) => transaction.objectStore('conversations').put(one)),
    ...messages.map((one) => transaction.objectStore('messages').put(one as Message)),
    ...decoded.map((one) => transaction.objectStore('pictures').put(one)),
    transaction.done,
  ])
  return conversations.length
}

function decode({ hash, name, width, height, data }: Exported['pictures'][number]): Picture {
  const [head = '', base64 = ''] = data.split(',')
  const bytes = Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0))
  if (bytesToHex(sha256(bytes)) !== hash) throw new Error(`the picture ${hash} is damaged`)
  return { hash, name, width, height, added: Date.now(), blob: new Blob([bytes], { type: head.slice(5, -7) }) }
}

/** Has the browser save a file. */
export function saveFile(blob: Blob, title: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = `${title.replaceAll(/[^\p{L}\p{N}]+/gu, '-').replaceAll(/^-|-$/g, '') || 'llava'}.json`
  link.click()
  setTimeout(() => {
    URL.revokeObjectURL(link.href)
  }, 60_000)
}
