// A chat as a file: what was said, and where its pictures are. Written by /save and read by /open.
//   {"format":"llava-chat","system":…,"turns":[{"pictures":[PATH],"question":…,"answer":…}]}

import { readFile } from 'node:fs/promises'
import { LlavaError } from '../index.js'
import { writeWhole } from '../partial-file.js'

export interface SavedTurn {
  /** Absolute paths, or URLs. */
  readonly pictures: readonly string[]
  readonly question: string
  readonly answer: string
}

export interface SavedChat {
  readonly system?: string
  readonly turns: readonly SavedTurn[]
}

const format = 'llava-chat'

export async function writeChat(file: string, chat: SavedChat): Promise<void> {
  await writeWhole(file, [Buffer.from(`${JSON.stringify({ format, ...chat }, null, 2)}\n`)])
}

export async function readChat(file: string): Promise<SavedChat> {
  const { format: stated, system, turns } = object(parsed(file, await contentOf(file)))
  const sound = stated === format && (system === undefined || typeof system === 'string') && Array.isArray(turns)
  if (!sound || !turns.every(isTurn)) throw unfit(file)
  return { ...(system !== undefined && { system }), turns }
}

async function contentOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new LlavaError('INVALID_ARGUMENT', `${file}: it cannot be read (${code ?? String(cause)})`, { cause })
  }
}

function parsed(file: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw unfit(file, cause)
  }
}

function isTurn(value: unknown): value is SavedTurn {
  const { pictures, question, answer } = object(value)
  const texts = typeof question === 'string' && typeof answer === 'string'
  return texts && Array.isArray(pictures) && pictures.every((picture) => typeof picture === 'string')
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}

function unfit(file: string, cause?: unknown): LlavaError {
  return new LlavaError('INVALID_ARGUMENT', `${file} holds no chat that /save wrote`, { cause })
}
