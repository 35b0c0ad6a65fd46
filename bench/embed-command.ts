// npm run bench -- embed

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { measureEmbed, type EmbedBenchLine } from './embed.js'
import { whole } from './flags.js'

interface EmbedFlags {
  readonly threads?: number
  readonly pictures: number
  readonly repeat: number
  readonly json?: boolean
}

export function addEmbed(program: Command): void {
  program
    .command('embed')
    .description('JPEG files to vectors of a CLIP of ViT-B/32, against its tower alone and the FMA peak')
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--pictures <n>', 'how many', whole, 64)
    .option('--repeat <n>', 'turns, of which the median counts', whole, 5)
    .option('--json', 'JSON lines')
    .action(embed)
}

async function embed({ json, ...options }: EmbedFlags): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    let first = true
    for await (const line of measureEmbed({ directory, ...options })) {
      if (json !== true && first)
        console.log(`${line.device}, ${line.threads} threads\n${''.padEnd(12)}${columns.map(pad).join('')}`)
      first = false
      console.log(json === true ? JSON.stringify(line) : row(line))
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const columns = ['pictures/s', 'of FMA']
const pad = (text: string) => text.padStart(12)

/** `list               16.9        0.42` */
function row({ how, picturesPerSecond, ratio }: EmbedBenchLine): string {
  return how.padEnd(12) + [picturesPerSecond.toFixed(2), ratio.toFixed(2)].map(pad).join('')
}
