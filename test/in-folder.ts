// A folder for what a test writes, gone when it ends.

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

export async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}
