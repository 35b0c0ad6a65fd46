// Files that are there wholly or not at all, whenever the process or the machine stops: bytes on the disk, then the
// name, then the name on the disk.

import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { outputFailure } from '../errors.js'

/** @param folder Where the file is until it is whole, and stays when the process is killed: in the same file system. */
export async function writeWhole(
  file: string,
  parts: readonly Uint8Array[],
  folder = path.dirname(file),
): Promise<void> {
  const unfinished = path.join(folder, `${path.basename(file)}.${randomUUID()}`)
  try {
    await outputFailure(file, async () => {
      await using handle = await open(unfinished, 'w')
      for (const part of parts) await handle.writeFile(part)
      await handle.sync()
    })
    await giveName(unfinished, file)
  } finally {
    await rm(unfinished, { force: true })
  }
}

/** Renames a file whose bytes are on the disk. */
export async function giveName(from: string, to: string): Promise<void> {
  await outputFailure(to, async () => {
    await rename(from, to)
    if (process.platform === 'win32') return // which opens no directories
    await using directory = await open(path.dirname(to), 'r')
    await directory.sync()
  })
}
