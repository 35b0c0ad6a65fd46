// A small file that gets its name once it is complete.

import { randomUUID } from 'node:crypto'
import { rename, rm, writeFile } from 'node:fs/promises'
import { LlavaError } from '../index.js'

export async function writeOutput(file: string, parts: readonly Uint8Array[]): Promise<void> {
  const unfinished = `${file}.${randomUUID()}`
  try {
    await writeFile(unfinished, parts)
    await rename(unfinished, file)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new LlavaError('OUTPUT_FAILED', `${file}: it cannot be written (${code ?? String(cause)})`, { cause })
  } finally {
    await rm(unfinished, { force: true })
  }
}
