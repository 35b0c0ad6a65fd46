// Reads the parts of a model file that describe it, and never the weights: those are mapped by native code.

import { constants, open, type FileHandle } from 'node:fs/promises'
import { corrupt, notFound } from './model-error.js'

/** Runs `use` on the open file and its size in bytes; the file is closed whatever happens. */
export async function withFile<T>(path: string, use: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
  const file = await openRegularFile(path)
  try {
    return await use(file, (await file.stat()).size)
  } finally {
    await file.close()
  }
}

async function openRegularFile(path: string): Promise<FileHandle> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK) // a pipe that nobody writes to would keep us waiting
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw notFound(
      path,
      code === 'ENOENT' ? 'there is no such file' : `the file cannot be opened (${code ?? 'unknown reason'})`,
      cause,
    )
  }
  const stat = await file.stat()
  if (stat.isFile()) return file
  await file.close()
  throw notFound(path, 'not a regular file')
}

/** Exactly `nbytes` from `offset` on, in a buffer of its own. */
export async function readExactly(file: FileHandle, path: string, offset: number, nbytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(nbytes)
  for (let filled = 0; filled < nbytes;) {
    const { bytesRead } = await file.read(buffer, filled, nbytes - filled, offset + filled)
    if (bytesRead === 0)
      throw corrupt(path, `ends ${nbytes - filled} bytes early; the file may be truncated, fetch it again`)
    filled += bytesRead
  }
  return buffer
}

/** The whole of a small side file (JSON, vocabulary, template); `undefined` when it does not exist. */
export async function readSideFile(path: string): Promise<Buffer | undefined> {
  try {
    return await withFile(path, (file, size) => {
      if (size > maxSideFile)
        throw corrupt(path, `${size} bytes are too many for this kind of file (at most ${maxSideFile})`)
      return readExactly(file, path, 0, size)
    })
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

// The largest tokenizer.json in use (256,000 pieces with merges) has about 35 MB; the same bound as for a safetensors header.
const maxSideFile = 100_000_000

function isMissing(error: unknown): boolean {
  const cause = (error as Error).cause as NodeJS.ErrnoException | undefined
  return cause?.code === 'ENOENT'
}
