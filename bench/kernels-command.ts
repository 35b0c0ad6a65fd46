// npm run bench -- kernels

import { createRequire } from 'node:module'
import path from 'node:path'
import type { Command } from 'commander'
import { measuredOps, type Dtype, type Isa, type MeasuredOp, type NativeAddon } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { isas, listOf, whole, wholes } from './flags.js'
import { shapeNames } from './kernel-plan.js'
import { tableHead, tableRow } from './kernel-table.js'
import { runKernelBench, type KernelBenchOptions } from './kernels.js'

const help = `
Shapes: ${shapeNames.join(', ')}

Examples:
  npm run bench -- kernels
  npm run bench -- kernels --op linear --dtype Q4_0 --rows 1,8,64,512 --shape 7b.gate_up
  npm run bench -- kernels --dtype Q4_0,Q4_K --isa avx2 --against scalar
  npm run bench -- kernels --all --json > kernels.jsonl`

interface KernelFlags {
  readonly op?: readonly MeasuredOp[]
  readonly dtype?: readonly Dtype[]
  readonly isa?: readonly Isa[]
  readonly rows?: readonly number[]
  readonly shape?: readonly string[]
  readonly all?: boolean
  readonly exact?: boolean
  readonly threads?: number
  readonly repeat: number
  readonly against?: string
  readonly json?: boolean
}

export function addKernels(program: Command): void {
  program
    .command('kernels')
    .description('each op by itself on the real shapes, against the roof that binds')
    .option('--op <names>', `of ${measuredOps.join(', ')}`, listOf(measuredOps))
    .option('--dtype <names>', 'types of the weights', listOf(dtypes))
    .option('--isa <names>', `of ${isas.join(', ')} (default: the strongest this CPU has)`, listOf(isas))
    .option('--rows <numbers>', 'rows of the activations (default: 1 and 512)', wholes)
    .option('--shape <names>', 'see below', (text: string) => text.split(','))
    .option('--all', 'all shapes, rows and ISAs that no other flag leaves out')
    .option('--exact', 'dequantise and multiply in float32')
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--repeat <n>', 'timed repetitions of each row', whole, 7)
    .option('--against <isa or path>', 'also time an ISA, or the llava_native.node of another build, in alternation')
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action((flags: KernelFlags) => kernels(flags))
}

async function kernels({ op, dtype, isa, rows, shape, all, exact, threads, repeat, against, json }: KernelFlags): Promise<void> {
  const options: KernelBenchOptions = {
    repeat,
    ...(op && { ops: op }),
    ...(dtype && { dtypes: dtype }),
    ...(isa && { isas: isa }),
    ...(rows && { rows }),
    ...(shape && { shapes: shape }),
    ...(all && { all }),
    ...(exact && { exact }),
    ...(threads !== undefined && { threads }),
    ...(against !== undefined && { against: rivalOf(against) }),
  }
  let first = true
  for await (const line of runKernelBench(options)) {
    if (json !== true && first) console.log(tableHead(line))
    console.log(json === true ? JSON.stringify(line) : tableRow(line))
    if (!line.ok) process.exitCode = 1
    first = false
  }
}

function rivalOf(against: string): NonNullable<KernelBenchOptions['against']> {
  const isa = isas.find((one) => one === against)
  if (isa !== undefined) return isa
  const addon = createRequire(import.meta.url)(path.resolve(against)) as NativeAddon
  if (typeof addon.OpBench !== 'function') throw new Error(`${against} is a build without a kernel bench: it cannot be compared with`)
  return { name: against, addon }
}
