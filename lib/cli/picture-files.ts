// Pictures in directories, and lists of names.

import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { addAbortSignal } from 'node:stream'
import { text } from 'node:stream/consumers'
import { LlavaError } from '../index.js'
import type { Session } from './session.js'

/** Formats that are read, and those whose errors say how to convert them. */
const extensions = /\.(?:jpe?g|jpe|jfif|png|webp|gif|tiff?|avif|svg|heic|heif|bmp|jxl)$/i

/**
 * The words, with the pictures below a directory in its place: by their extensions, in the order of their paths,
 * without hidden ones. Links to files are followed, links to directories are not.
 */
export async function pictureFiles(words: readonly string[]): Promise<readonly string[]> {
  const files: string[] = []
  for (const word of words) {
    if (await isDirectory(word)) for (const file of await filesBelow(word)) files.push(file)
    else files.push(word)
  }
  return files
}

async function isDirectory(word: string): Promise<boolean> {
  return (await stat(word).catch(() => undefined))?.isDirectory() === true
}

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => (entry.isFile() || entry.isSymbolicLink()) && extensions.test(entry.name))
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    .filter((file) => !file.split(path.sep).some((part) => part.startsWith('.')))
    .sort()
  if (files.length === 0) throw new LlavaError('INVALID_ARGUMENT', `there are no pictures in ${directory}`)
  return files.map((file) => path.join(directory, file))
}

/** The lines of a file, without empty ones; `-` is stdin. */
export async function linesOf(file: string, session: Session): Promise<readonly string[]> {
  const content = file === '-' ? await text(addAbortSignal(session.signal, process.stdin)) : await readList(file)
  return content.split(/\r?\n/).filter((line) => line !== '')
}

async function readList(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code = String(cause) } = cause as NodeJS.ErrnoException
    throw new LlavaError('INVALID_ARGUMENT', `--list ${file}: it cannot be read (${code})`, { cause })
  }
}
