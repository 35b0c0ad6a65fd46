// llava bench: a line each for picture, prefill and decode, against the roofs of this machine.

import type { Command } from 'commander'
import type { BenchmarkLine } from '../index.js'
import { addModelFlags, integer, openModel, type ModelFlags } from './flags.js'
import { addHelp } from './help.js'
import type { Session } from './session.js'

const help = {
  about: [
    "Every peak is measured in the same run, on the same threads and instruction set; work is counted from the model's own shapes.",
  ],
  examples: [
    'llava bench --model llava-v1.5-7b.Q4_0.gguf --prompt 512 --generate 32 --images 2 --threads 2',
    'llava bench --isa avx2 --repeat 1 --json',
  ],
  json: [
    'With --json: a line each for image, prefill and decode: ' +
      '{"what","sequences","tokens","tokensPerSecond","achieved","peak","unit","roof","ratio","threads","isa","dtype"}',
  ],
}

interface BenchFlags extends ModelFlags {
  readonly prompt?: number
  readonly generate: number
  readonly sequences: number
  readonly images: number
  readonly repeat: number
}

export function addBench(program: Command, session: Session): void {
  const command = addModelFlags(program.command('bench'))
    .description('time a model against what this machine can do at most')
    .option('--prompt <n>', 'positions to prefill (default: 512, or what the context has room for)', integer)
    .option('--generate <n>', 'tokens to decode after the prompt', integer, 32)
    .option('--sequences <n>', 'texts decoded side by side', integer, 1)
    .option('--images <n>', 'pictures per encode call', integer, 2)
    .option('--repeat <n>', 'repetitions, of which the median counts', integer, 5)
    .action((flags: BenchFlags) => bench(flags, session))
  addHelp(command, help)
}

async function bench(flags: BenchFlags, session: Session): Promise<void> {
  const model = await openModel(flags, session)
  try {
    const { prompt, generate, sequences, images, repeat } = flags
    session.status('measuring …')
    for await (const line of model.benchmark({
      ...(prompt !== undefined && { prompt }),
      generate,
      sequences,
      images,
      repeat,
      signal: session.signal,
    })) {
      session.status('')
      process.stdout.write(`${flags.json === true ? JSON.stringify(line) : sentence(line)}\n`)
      session.status('measuring …')
    }
    session.status('')
  } finally {
    model.dispose()
  }
}

/** `prefill Q4_0  512 tokens  avx2  2t  8.9 tokens/s  117.3 of 410.2 GOP/s (29 %, int8 maddubs+paddw)` */
function sentence({
  what,
  dtype,
  sequences,
  tokens,
  isa,
  threads,
  tokensPerSecond,
  achieved,
  peak,
  unit,
  ratio,
  roof,
}: BenchmarkLine): string {
  const rate = `${tokensPerSecond.toFixed(1)} tokens/s`
  const share = `${achieved.toFixed(1)} of ${peak.toFixed(1)} ${unit} (${(ratio * 100).toFixed(0)} %, ${roof})`
  return `${what.padEnd(7)} ${dtype}  ${tokens} tokens${sequences > 1 && what === 'decode' ? ` of ${sequences}` : ''}  ${isa}  ${threads}t  ${rate}  ${share}`
}
