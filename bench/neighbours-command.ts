// npm run bench -- neighbours

import type { Command } from 'commander'
import type { Dtype } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { oneOf, whole } from './flags.js'
import { measureNeighbours, type NeighbourLine } from './neighbours.js'

const help = `
Examples:
  npm run bench -- neighbours
  npm run bench -- neighbours --layers 8 --repeat 9
  npm run bench -- neighbours --threads 16      # far more threads than CPUs`

interface NeighbourFlags {
  readonly threads?: number
  readonly busy?: number
  readonly layers: number
  readonly type: Dtype
  readonly repeat: number
  readonly json?: boolean
}

export function addNeighbours(program: Command): void {
  program
    .command('neighbours')
    .description('one thread and several while other processes keep cores busy, and while none does, in turns')
    .option('--threads <n>', 'held against one (default: all)', whole)
    .option('--busy <n>', 'busy processes, started by this command (default: half as many as CPUs)', whole)
    .option('--layers <n>', 'of the 7B shape with random weights', whole, 2)
    .option('--type <name>', 'type of its weights', oneOf(dtypes), 'Q4_0')
    .option('--repeat <n>', 'turns, of which the median counts', whole, 5)
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action(neighbours)
}

async function neighbours({ json, ...options }: NeighbourFlags): Promise<void> {
  let head = ''
  for await (const line of measureNeighbours(options)) {
    const title = `${line.device}: ${line.threads} threads against one, beside ${line.busy} busy processes`
    if (json !== true && title !== head) console.log(`${title}\n${columns}`)
    head = title
    console.log(json === true ? JSON.stringify(line) : row(line))
  }
}

const names = ['idle, 1', 'idle, all', 'busy, 1', 'busy, all', 'all / 1', 'goal']
const columns = `${''.padEnd(44)}${names.map((name) => name.padStart(11)).join('')}`

/** `7B, 2 layers, Q4_0: decode, tokens/s    18.4    30.1    17.9    17.2    0.96    0.90` */
function row({ model, stage, unit, idle, loaded, ratio }: NeighbourLine): string {
  const rates = [idle.one, idle.several, loaded.one, loaded.several].map((rate) => rate.toFixed(rate < 100 ? 2 : 0))
  const cells = [...rates, ratio.toFixed(2), '0.90']
  return `${`${model}: ${stage}, ${unit}`.padEnd(44)}${cells.map((cell) => cell.padStart(11)).join('')}`
}
