// npm run bench -- model
// Writes a random model of LLaVA 1.5's shape into a temporary folder, times picture, prefill and decode against this machine's peaks measured in the
// same run, prints JSON lines headed by the CPU's name, and removes the folder. --layers 8 shows the same rates as all layers, in a quarter of the time.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { LLaVA, type Dtype, type Isa } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { isas, oneOf, whole } from './flags.js'
import { decoders, type DecoderName } from './shapes.js'
import { writeSyntheticModel } from './synthetic-model.js'

interface ModelFlags {
  readonly shape: DecoderName
  readonly layers?: number
  readonly type: Dtype
  readonly visionType: Dtype
  readonly isa?: Isa
  readonly threads?: number
  readonly prompt: number
  readonly generate: number
  readonly images: number
  readonly repeat: number
}

export function addModel(program: Command): void {
  program
    .command('model')
    .description('picture, prefill and decode of a model of random weights')
    .option('--shape <name>', 'of the decoder: 7b or 13b', oneOf(Object.keys(decoders) as DecoderName[]), '7b')
    .option('--layers <n>', 'of the decoder (default: all of them)', whole)
    .option('--type <name>', 'type of the decoder\'s weights', oneOf(dtypes), 'Q4_0')
    .option('--vision-type <name>', 'type of the vision tower\'s weights', oneOf(dtypes), 'F16')
    .option('--isa <name>', `of ${isas.join(', ')} (default: the strongest this CPU has)`, oneOf(isas))
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--prompt <n>', 'positions to prefill', whole, 512)
    .option('--generate <n>', 'tokens to decode', whole, 32)
    .option('--images <n>', 'pictures a call', whole, 2)
    .option('--repeat <n>', 'repetitions, of which the median counts', whole, 7)
    .action((flags: ModelFlags) => model(flags))
}

async function model({ shape, layers, type, visionType, isa, threads, prompt, generate, images, repeat }: ModelFlags): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-bench-'))
  try {
    const decoder = { ...decoders[shape], ...(layers !== undefined && { layers }) }
    const file = await writeSyntheticModel(directory, decoder, type, visionType)
    using llava = await LLaVA.open(file, { ...(isa && { isa }), ...(threads !== undefined && { threads }) })
    console.log(JSON.stringify({ device: llava.info().device, shape, layers: decoder.layers, type, visionType }))
    for await (const line of llava.benchmark({ prompt, generate, images, repeat })) console.log(JSON.stringify(line))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
