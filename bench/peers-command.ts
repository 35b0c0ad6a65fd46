// npm run bench -- peers

import type { Command } from 'commander'
import { isas, type Dtype, type Isa } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { listOf, oneOf, whole } from './flags.js'
import { peerNames, runPeerBench, type MissingPeer, type PeerLine, type PeerName } from './peers.js'
import { decoders, type DecoderName } from './shapes.js'

const help = `
Examples:
  npm install --no-save node-llama-cpp onnxruntime-node && npm run bench -- peers
  npm run bench -- peers --peer llama-bench --llama-bench llama.cpp/build/bin/llama-bench --type Q8_0
  npm run bench -- peers --model llava-v1.5-7b-Q4_0.gguf --json >> bench.jsonl`

interface PeerFlags {
  readonly peer?: readonly PeerName[]
  readonly llamaBench?: string
  readonly ikLlamaBench?: string
  readonly llamaCppPython?: string
  readonly llamaMtmdCli?: string
  readonly model?: string
  readonly shape: DecoderName
  readonly layers: number
  readonly type: Dtype
  readonly visionType: Dtype
  readonly prompt: number
  readonly generate: number
  readonly sequences: number
  readonly threads?: number
  readonly isa?: Isa
  readonly rounds: number
  readonly json?: boolean
}

export function addPeers(program: Command): void {
  program
    .command('peers')
    .description('the same work on other engines, in turns with ours')
    .option('--peer <names>', `of ${peerNames.join(', ')} (default: all that are installed)`, listOf(peerNames))
    .option('--llama-bench <path>', "llama.cpp's own bench")
    .option('--ik-llama-bench <path>', "that of ik_llama.cpp, llama.cpp's faster fork")
    .option('--llama-cpp-python <path>', 'a Python that has llama-cpp-python')
    .option('--llama-mtmd-cli <path>', "llama.cpp's command line for pictures")
    .option('--model <path>', 'a GGUF (default: random weights of the shape and type below)')
    .option('--shape <name>', 'of the decoder: 7b or 13b', oneOf(Object.keys(decoders) as DecoderName[]), '7b')
    .option('--layers <n>', 'of the decoder', whole, 8)
    .option('--type <name>', "type of the decoder's weights", oneOf(dtypes), 'Q4_0')
    .option('--vision-type <name>', "type of the vision tower's weights, for llama-mtmd-cli", oneOf(dtypes), 'F16')
    .option('--prompt <n>', 'positions to prefill', whole, 256)
    .option('--generate <n>', 'tokens to decode', whole, 16)
    .option('--sequences <n>', 'texts side by side, for llama-cpp-python', whole, 16)
    .option('--threads <n>', 'compute threads of each (default: all)', whole)
    .option('--isa <name>', `of ours, of ${isas.join(', ')} (default: the strongest this CPU has)`, oneOf(isas))
    .option('--rounds <n>', 'turns of ours and theirs, of which the median counts', whole, 3)
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action((flags: PeerFlags) => peers(flags))
}

async function peers({ peer, json, ...flags }: PeerFlags): Promise<void> {
  for await (const line of runPeerBench({ ...flags, ...(peer && { peers: peer }) })) {
    if (line.kind === 'missing') reportMissing(line, peer !== undefined)
    else console.log(json === true ? JSON.stringify(line) : sentence(line))
  }
}

/** Nobody who asked for whatever is there asked for this one. */
function reportMissing({ peer, install }: MissingPeer, asked: boolean): void {
  console.error(`${peer} is not there: ${install}`)
  if (asked) process.exitCode = 1
}

/** `node-llama-cpp    prefill  Q4_0  2t     98.1 tokens/s, theirs 60.2: 1.63 times as fast` */
function sentence({ peer, what, dtype, threads, ours, theirs, ratio }: PeerLine): string {
  return `${peer.padEnd(17)} ${what.padEnd(8)} ${dtype.padEnd(5)} ${threads}t  ${ours.toFixed(1).padStart(8)} tokens/s, theirs ${theirs.toFixed(1)}: ${ratio.toFixed(2)} times as fast`
}
