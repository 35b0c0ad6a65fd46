// A row of the table of bad input: what is called with what, and the error it must give.

import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { LLaVA, type LlavaErrorCode, type OpenOptions } from '../../lib/index.js'
import { writeFiles } from '../weights/tiny-llava.js'

/** What a row finds there. */
export interface Bench {
  /** A tiny model with pictures, open. */
  readonly model: LLaVA
  /** The path of a picture. */
  readonly picture: string
  /** An empty folder of the row's own. */
  readonly folder: string
}

export interface BadInput {
  /** What is wrong: the subject of "… fails with CODE". */
  readonly title: string
  readonly code: LlavaErrorCode
  /** A piece of the message that tells this mistake from others. */
  readonly message: RegExp
  /** A piece of what `cause` says, where a failure lies beneath. */
  readonly cause?: RegExp
  readonly call: (bench: Bench) => unknown
}

/** File names to contents: objects are JSON, buffers and strings stay as they are, `undefined` is not written. */
export type Files = Readonly<Record<string, unknown>>

/** Opens `what` of a folder with these files. */
export function opening(files: Files, what = '', options: OpenOptions = {}): BadInput['call'] {
  return openingOf({ '': files }, what, options)
}

/** Opens `what` of folders with these files; paths in the options count from the folder that holds them all. */
export function openingOf(
  folders: Readonly<Record<string, Files>>,
  what: string,
  options: OpenOptions = {},
): BadInput['call'] {
  return async ({ folder }) => {
    for (const [name, files] of Object.entries(folders)) {
      await mkdir(path.join(folder, name), { recursive: true })
      await writeFiles(path.join(folder, name), files)
    }
    const parts = (['mmproj', 'visionTower', 'adapter', 'clip'] as const).filter((part) => options[part] !== undefined)
    const paths = Object.fromEntries(parts.map((part) => [part, path.join(folder, options[part] as string)]))
    using model = await LLaVA.open(path.join(folder, what), { ...options, ...paths })
    return model.info()
  }
}

/** A caller that opens `what` of a folder with these files. */
export type Caller = readonly [
  title: string,
  code: LlavaErrorCode,
  message: RegExp,
  files: Files,
  what?: string,
  options?: OpenOptions,
]

export function calling([title, code, message, files, what, options]: Caller): BadInput {
  return { title, code, message, call: opening(files, what, options) }
}
