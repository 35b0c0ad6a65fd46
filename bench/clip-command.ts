// npm run bench -- clip

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { benchClipBatches } from './clip-batches.js'
import { whole } from './flags.js'

interface ClipFlags {
  readonly threads?: number
  readonly batches: readonly number[]
  readonly repeat: number
}

export function addClip(program: Command): void {
  program
    .command('clip')
    .description(
      'pictures a second through a CLIP of ViT-B/32, one by one and in batches, against the FMA peak, as JSON lines',
    )
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--batches <list>', 'pictures of a call', (list) => list.split(',').map(whole), [1, 4, 16])
    .option('--repeat <n>', 'turns with the peak, of which the median counts', whole, 5)
    .action(clip)
}

async function clip({ threads = 0, batches, repeat }: ClipFlags): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    for await (const line of benchClipBatches({ directory, threads, batches, repeat }))
      console.log(JSON.stringify(line))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
