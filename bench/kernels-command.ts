// npm run bench -- kernels

import { createRequire } from 'node:module'
import path from 'node:path'
import type { Command } from 'commander'
import { isas, measuredOps, type Dtype, type Isa, type MeasuredOp, type NativeAddon } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { countInstructions, countedIsas, type CountLine } from './instruction-count.js'
import { listOf, whole, wholes } from './flags.js'
import { shapeNames, type KernelFilter } from './kernel-plan.js'
import { tableHead, tableRow } from './kernel-table.js'
import { runKernelBench, type KernelBenchOptions } from './kernels.js'

const help = `
Shapes: ${shapeNames.join(', ')}

Examples:
  npm run bench -- kernels
  npm run bench -- kernels --op linear --dtype Q4_0 --rows 1,8,64,512 --shape 7b.gate_up
  npm run bench -- kernels --dtype Q4_0,Q4_K --isa avx2 --rows 1,8 --against scalar
  npm run bench -- kernels --dtype Q4_0 --against other/build/Release/llava_native.node
  npm run bench -- kernels --count --op linear --dtype Q4_0,Q8_0
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
  readonly count?: boolean
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
    .option('--count', `instructions instead of time, counted by valgrind (${countedIsas.join(', ')})`)
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action((flags: KernelFlags) => kernels(flags))
}

async function kernels(flags: KernelFlags): Promise<void> {
  if (flags.count !== true) return timeKernels(flags)
  for await (const line of countInstructions(filterOf(flags)))
    console.log(flags.json === true ? JSON.stringify(line) : countSentence(line))
}

function filterOf({ op, dtype, isa, rows, shape, all, exact }: KernelFlags): KernelFilter {
  return {
    ...(op && { ops: op }),
    ...(dtype && { dtypes: dtype }),
    ...(isa && { isas: isa }),
    ...(rows && { rows }),
    ...(shape && { shapes: shape }),
    ...(all && { all }),
    ...(exact && { exact }),
  }
}

async function timeKernels(flags: KernelFlags): Promise<void> {
  const { threads, repeat, against, json } = flags
  const options: KernelBenchOptions = {
    ...filterOf(flags),
    repeat,
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

/** `linear  7b.gate_up  Q4_0  avx2  64 rows  0.0914 instructions a multiply-add, 2.93 for a block of 32` */
function countSentence({ op, shape, dtype, isa, rows, instructionsPer, per }: CountLine): string {
  const block = per === 'multiply-add' ? `, ${(32 * instructionsPer).toFixed(2)} for a block of 32` : ''
  return [
    op.padEnd(12),
    shape.padEnd(18),
    dtype.padEnd(6),
    isa.padEnd(7),
    `${rows} rows`.padStart(9),
    `${instructionsPer.toFixed(4)} instructions a ${per}${block}`,
  ].join(' ')
}

function rivalOf(against: string): NonNullable<KernelBenchOptions['against']> {
  const isa = isas.find((one) => one === against)
  if (isa !== undefined) return isa
  const addon = createRequire(import.meta.url)(path.resolve(against)) as NativeAddon
  if (typeof addon.OpBench !== 'function')
    throw new Error(`${against} is a build without a kernel bench: it cannot be compared with`)
  return { name: against, addon }
}
