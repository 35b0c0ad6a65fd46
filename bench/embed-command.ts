// npm run bench -- embed

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { measureEmbed, type EmbedBenchLine } from './embed.js'
import { whole } from './flags.js'
import { measureRawPictures } from './raw-pictures.js'

interface EmbedFlags {
  readonly threads?: number
  readonly pictures: number
  readonly repeat: number
  readonly large?: boolean
  readonly raw?: number
  readonly json?: boolean
}

export function addEmbed(program: Command): void {
  program
    .command('embed')
    .description(
      'JPEG files to vectors of a CLIP of ViT-B/32 in float32 and Q8_0, against its tower alone, the FMA peak, and transformers.js where it is installed',
    )
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--pictures <n>', 'how many', whole, 64)
    .option('--repeat <n>', 'turns, of which the median counts', whole, 5)
    .option('--large', 'ViT-L/14-336 in Q8_0 instead')
    .option(
      '--raw <n>',
      'instead: so many raw pictures of a generator through a tiny CLIP, with the memory that is resident',
      whole,
    )
    .option('--json', 'JSON lines')
    .action(embed)
}

async function embed({ json, raw, ...options }: EmbedFlags): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    if (raw !== undefined) {
      const lines = measureRawPictures(path.join(directory, 'clip'), raw, options.threads)
      for await (const line of lines) console.log(JSON.stringify(line))
      return
    }
    let first = true
    for await (const line of measureEmbed({ directory, ...options })) {
      if (json !== true && first)
        console.log(`${line.device}, ${line.threads} threads\n${''.padEnd(32)}${columns.map(pad).join('')}`)
      first = false
      console.log(json === true ? JSON.stringify(line) : row(line))
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const columns = ['pictures/s', 'of FMA', 'least cosine']
const pad = (text: string) => text.padStart(14)

/** `ViT-B/32 F32, list               16.90          0.42` */
function row({ model, how, picturesPerSecond, ratio, leastCosine }: EmbedBenchLine): string {
  const cells = [picturesPerSecond.toFixed(2), ratio.toFixed(2), leastCosine?.toFixed(5) ?? '']
  return `${model}, ${how}`.padEnd(32) + cells.map(pad).join('')
}
