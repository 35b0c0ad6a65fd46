// A file that comes to be all at once: written under a temporary name beside its own, flushed to the disk, renamed.
// An interrupted run leaves at most the temporary one, whose name no reader takes for a model.

import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { open, rename, rm, statfs, type FileHandle } from 'node:fs/promises'
import { LlavaError, outputFailure } from './errors.js'

export class PartialFile {
  /** Absolute. */
  readonly path: string
  /** Bytes written. */
  nbytes = 0
  readonly #handle: FileHandle
  readonly #temporary: string

  private constructor(file: string, temporary: string, handle: FileHandle) {
    this.path = file
    this.#temporary = temporary
    this.#handle = handle
  }

  /**
   * @param folder where it is until it is whole, and stays when the process is killed: in the same file system; default
   * beside `file`
   */
  static async create(file: string, folder = path.dirname(file)): Promise<PartialFile> {
    const temporary = path.join(folder, `${path.basename(file)}.${randomUUID()}.tmp`) // no other call of this process writes to it either
    return outputFailure(file, async () => new PartialFile(file, temporary, await open(temporary, 'w')))
  }

  /** Appends all of `bytes`, which must not change before the promise resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    await outputFailure(this.path, async () => {
      for (let written = 0; written < bytes.length;) {
        written += (await this.#handle.write(bytes, written, bytes.length - written, this.nbytes + written))
          .bytesWritten
      }
    })
    this.nbytes += bytes.length
  }

  /** Gives the file its name. What it held before, if it was there, is gone. */
  async commit(): Promise<void> {
    await outputFailure(this.path, async () => {
      await this.#handle.sync()
      await this.#handle.close()
    })
    await giveName(this.#temporary, this.path)
  }

  /** Leaves nothing behind, whatever has happened before. */
  async discard(): Promise<void> {
    await this.#handle.close().catch(() => undefined)
    await rm(this.#temporary, { force: true })
  }
}

/** A small file, all at once. */
export async function writeWhole(file: string, parts: readonly Uint8Array[], folder?: string): Promise<void> {
  const partial = await PartialFile.create(file, folder)
  try {
    for (const part of parts) await partial.write(part)
    await partial.commit()
  } finally {
    await partial.discard()
  }
}

/** Renames a file whose bytes are on the disk. */
export async function giveName(from: string, to: string): Promise<void> {
  await outputFailure(to, () => rename(from, to))
  await syncDirectory(path.dirname(to))
}

/** Throws where `directory` is not there, or its disk has no room for `nbytes`. */
export async function checkRoom(directory: string, nbytes: number): Promise<void> {
  const disk = await outputFailure(directory, () => statfs(directory))
  const free = disk.bavail * disk.bsize
  if (free >= nbytes) return
  throw new LlavaError(
    'OUTPUT_FAILED',
    `${directory}: ${nbytes} bytes are to be written, but its disk has ${free} free`,
  )
}

/** Renames last only once the directory is on the disk; file systems that cannot flush one say so. */
async function syncDirectory(directory: string): Promise<void> {
  try {
    const handle = await open(directory, 'r')
    await handle.sync().finally(() => handle.close())
  } catch {
    // nothing is lost but the order of two writes in a power failure
  }
}
