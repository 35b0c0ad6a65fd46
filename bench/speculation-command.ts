// npm run bench -- speculation

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { LLaVA, type Dtype } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { oneOf, whole } from './flags.js'
import { decoders } from './shapes.js'
import { benchDemo, benchDictated } from './speculation.js'
import { writeSyntheticModel } from './synthetic-model.js'

interface SpeculationFlags {
  readonly layers: number
  readonly type: Dtype
  readonly threads?: number
  readonly tokens: number
  readonly repeat: number
}

export function addSpeculation(program: Command): void {
  program
    .command('speculation')
    .description('decoding with and without drafts looked up in the prompt, in turns, as JSON lines')
    .option('--layers <n>', 'of the 7B shape with random weights', whole, 2)
    .option('--type <name>', 'type of its weights', oneOf(dtypes), 'Q4_0')
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--tokens <n>', 'of each answer', whole, 128)
    .option('--repeat <n>', 'turns, of which the median counts', whole, 3)
    .action(speculation)
}

async function speculation({ layers, type, threads, tokens, repeat }: SpeculationFlags): Promise<void> {
  const options = threads === undefined ? {} : { threads }
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    await using model = await LLaVA.open(
      await writeSyntheticModel(directory, { ...decoders['7b'], layers }, type, 'F16'),
      options,
    )
    for await (const line of benchDictated(model, tokens, repeat)) console.log(JSON.stringify(line))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
  await using small = await LLaVA.open(undefined, options) // its answers take less than a millisecond, so that many have to be timed
  for await (const line of benchDemo(small, 100 * repeat)) console.log(JSON.stringify(line))
}
