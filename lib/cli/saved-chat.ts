// A chat as a file, written by /save and read by /open: what `Conversation.save()` gives, as JSON, with the places of
// pictures that the chat encoded itself.

import { readFile } from 'node:fs/promises'
import { LlavaError, type SavedConversation, type SavedMessage, type SavedPicture } from '../index.js'
import { writeWhole } from '../partial-file.js'

/** @param places of all pictures, in order: paths that are absolute, or URLs */
export async function writeChat(file: string, saved: SavedConversation, places: readonly string[]): Promise<void> {
  const rest = places.values()
  const placed = (content: SavedMessage['content']) =>
    partsOf(content).map((part) => (part.type === 'image' ? { ...part, source: rest.next().value } : part))
  const messages = saved.messages.map((message) => ({ ...message, content: placed(message.content) }))
  await writeWhole(file, [Buffer.from(`${JSON.stringify({ ...saved, messages }, null, 2)}\n`)])
}

/** `LLaVA.restoreConversation` checks what is in it. */
export async function readChat(file: string): Promise<SavedConversation> {
  const saved = parsed(file, await contentOf(file))
  if (saved?.format === 'llava-conversation') return saved
  const advice = 'was written by an earlier version, in a form of its own, and is not read any more'
  throw (saved?.format as unknown) === 'llava-chat'
    ? new LlavaError('INVALID_ARGUMENT', `${file} ${advice}`)
    : unfit(file)
}

async function contentOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new LlavaError('INVALID_ARGUMENT', `${file}: it cannot be read (${code ?? String(cause)})`, { cause })
  }
}

function parsed(file: string, text: string): SavedConversation | null {
  try {
    return JSON.parse(text) as SavedConversation | null
  } catch (cause) {
    throw unfit(file, cause)
  }
}

function unfit(file: string, cause?: unknown): LlavaError {
  return new LlavaError('INVALID_ARGUMENT', `${file} holds no conversation that /save or Conversation.save() wrote`, {
    cause,
  })
}

export interface SavedTurn {
  readonly text: string
  readonly pictures: readonly SavedPicture[]
  readonly answer: string
}

/** The turns of a conversation that could be restored. */
export function savedTurns({ messages }: SavedConversation): readonly SavedTurn[] {
  const said = messages.filter(({ role }) => role !== 'system').map(({ content }) => partsOf(content))
  return said
    .filter((_, n) => n % 2 === 0)
    .map((question, turn) => ({
      text: textOf(question),
      pictures: question.filter((part) => part.type === 'image'),
      answer: textOf(said[2 * turn + 1] ?? []),
    }))
}

type Parts = Exclude<SavedMessage['content'], string>

function partsOf(content: SavedMessage['content']): Parts {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content
}

function textOf(parts: Parts): string {
  return parts.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n')
}
