// npm run bench -- model

import { availableParallelism } from 'node:os'
import type { Command } from 'commander'
import { isas, type Dtype, type Isa } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { oneOf, whole, wholes } from './flags.js'
import { runModelBench, type ModelLine } from './model-bench.js'
import { decoders, type DecoderName } from './shapes.js'

const help = `
Examples:
  npm run bench -- model
  npm run bench -- model --shape 13b --layers 40 --type Q4_K --prompt 512
  npm run bench -- model --scaling --sequences 1
  npm run bench -- model --model llava-v1.5-7b-Q4_0.gguf --json >> bench.jsonl`

interface ModelFlags {
  readonly model?: string
  readonly shape: DecoderName
  readonly layers: number
  readonly type: Dtype
  readonly visionType: Dtype
  readonly isa?: Isa
  readonly threads?: readonly number[]
  readonly scaling?: boolean
  readonly prompt: readonly number[]
  readonly generate: number
  readonly sequences: readonly number[]
  readonly images: number
  readonly repeat: number
  readonly cpu?: string
  readonly json?: boolean
}

export function addModel(program: Command): void {
  program
    .command('model')
    .description('opening, picture, prefill, decode and memory of a whole model')
    .option('--model <path>', 'a model to time (default: random weights of the shape and types below)')
    .option('--shape <name>', 'of the decoder: 7b or 13b', oneOf(Object.keys(decoders) as DecoderName[]), '7b')
    .option('--layers <n>', 'of the decoder', whole, 8)
    .option('--type <name>', "type of the decoder's weights", oneOf(dtypes), 'Q4_0')
    .option('--vision-type <name>', "type of the vision tower's weights", oneOf(dtypes), 'F16')
    .option('--isa <name>', `of ${isas.join(', ')} (default: the strongest this CPU has)`, oneOf(isas))
    .option('--threads <numbers>', 'compute threads, a run for each (default: all)', wholes)
    .option('--scaling', 'a run for each number of threads from 1 to all')
    .option('--prompt <numbers>', 'positions to prefill', wholes, [512, 2048])
    .option('--generate <n>', 'tokens to decode', whole, 16)
    .option('--sequences <numbers>', 'texts decoded side by side', wholes, [1, 8, 16])
    .option('--images <n>', 'pictures a call', whole, 2)
    .option('--repeat <n>', 'repetitions, of which the median counts', whole, 3)
    .option('--cpu <name>', 'what to call the CPU (default: what it calls itself)')
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action((flags: ModelFlags) => model(flags))
}

async function model({ scaling, threads, prompt: prompts, json, ...flags }: ModelFlags): Promise<void> {
  const counts = scaling === true ? Array.from({ length: availableParallelism() }, (_, n) => n + 1) : threads
  let head = ''
  for await (const line of runModelBench({ ...flags, prompts, ...(counts && { threads: counts }) })) {
    const title = `${line.device}: ${line.model}`
    if (json !== true && title !== head) console.log(title)
    head = title
    console.log(json === true ? JSON.stringify(line) : sentence(line))
  }
}

/** `decode   Q4_0  8 texts  2t     61.0 tokens/s   410.2 of 463.9 GOP/s   88 %  vpdpbusd` */
export function sentence(line: ModelLine): string {
  const threads = `${line.threads}t`
  if (line.kind === 'open') return `open     ${threads}  ${line.milliseconds.toFixed(1)} ms`
  if (line.kind === 'memory') return `memory   ${threads}  ${memoryParts(line)}`
  const { what, dtype, sequences, tokens, tokensPerSecond, achieved, peak, unit, ratio, roof, perTokenOfFirst } = line
  const size =
    what === 'prefill'
      ? `${tokens} tokens`
      : `${sequences} ${what === 'image' ? 'picture' : 'text'}${sequences === 1 ? '' : 's'}`
  const rate = `${tokensPerSecond.toFixed(1)} tokens/s`.padStart(16)
  const share = `${achieved.toFixed(1)} of ${peak.toFixed(1)} ${unit}`.padStart(24)
  const relative =
    perTokenOfFirst === undefined ? '' : `  ${perTokenOfFirst.toFixed(2)} x the first prompt's time per token`
  return `${what.padEnd(8)} ${threads}  ${dtype.padEnd(5)} ${size.padEnd(12)}${rate}${share}  ${(ratio * 100).toFixed(0).padStart(3)} %  ${roof}${relative}`
}

function memoryParts({
  residentBytes,
  kvCacheBytes,
  scratchBytes,
  weightsMappedBytes,
  positions,
}: Extract<ModelLine, { kind: 'memory' }>): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  const resident =
    residentBytes === undefined
      ? ''
      : `${mebibytes(residentBytes)} resident beyond file pages after ${positions} positions, of them `
  return `${resident}keys and values ${mebibytes(kvCacheBytes)}, scratch ${mebibytes(scratchBytes)}; weights ${mebibytes(weightsMappedBytes)} mapped`
}
