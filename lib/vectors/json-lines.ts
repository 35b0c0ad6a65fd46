// JSON values, one a line, that are appended and never changed. A line that a kill cut off is taken away when the file
// is opened.

import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { outputFailure } from '../errors.js'

export class JsonLines<Value> {
  /** Those that were there when the file was opened. */
  readonly values: readonly Value[]
  readonly #file: string
  readonly #handle: FileHandle
  #end: number

  private constructor(file: string, handle: FileHandle, values: readonly Value[], end: number) {
    this.#file = file
    this.#handle = handle
    this.values = values
    this.#end = end
  }

  /** Goes on with the file, or begins it. */
  static async open<Value>(file: string): Promise<JsonLines<Value>> {
    return outputFailure(file, async () => {
      const handle = await open(file, constants.O_RDWR | constants.O_CREAT, 0o644)
      try {
        const bytes = await handle.readFile()
        const end = bytes.lastIndexOf('\n') + 1
        await handle.truncate(end)
        const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
        return new JsonLines(
          file,
          handle,
          lines.map((line) => JSON.parse(line) as Value),
          end,
        )
      } catch (error) {
        await handle.close()
        throw error
      }
    })
  }

  /** Resolves when they are on the disk. */
  async append(values: readonly Value[]): Promise<void> {
    if (values.length === 0) return
    const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''))
    await outputFailure(this.#file, async () => {
      await writeAt(this.#handle, bytes, this.#end)
      await this.#handle.datasync()
    })
    this.#end += bytes.length
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** All of the bytes; a single write may take a part of them. */
export async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;)
    written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten
}
