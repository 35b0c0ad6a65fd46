// npm run bench -- serve-load

import type { Command } from 'commander'
import type { Dtype } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { oneOf, whole } from './flags.js'
import { measureServeLoad, type ServeLoadLine, type ServeLoadTimes } from './serve-load.js'

const help = `
Examples:
  npm run bench -- serve-load
  npm run bench -- serve-load --layers 4 --questions 8 --repeat 1`

interface ServeLoadFlags {
  readonly threads?: number
  readonly layers: number
  readonly type: Dtype
  readonly questions: number
  readonly prompt: number
  readonly answer: number
  readonly repeat: number
  readonly json?: boolean
}

export function addServeLoad(program: Command): void {
  program
    .command('serve-load')
    .description('many questions to one model, one after another and all at once, without and with a picture each')
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--layers <n>', 'of the 7B shape with random weights', whole, 8)
    .option('--type <name>', 'type of its weights', oneOf(dtypes), 'Q4_0')
    .option('--questions <n>', 'how many', whole, 16)
    .option('--prompt <n>', 'tokens of a prompt', whole, 64)
    .option('--answer <n>', 'tokens of an answer', whole, 32)
    .option('--repeat <n>', 'turns, of which the median counts', whole, 3)
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action(serveLoad)
}

async function serveLoad({ json, ...options }: ServeLoadFlags): Promise<void> {
  let head = ''
  for await (const line of measureServeLoad(options)) {
    const title = `${line.device}, ${line.threads} threads; ${line.model}; ${line.questions} questions`
    if (json !== true && title !== head) console.log(`${title}\n${columns}`)
    head = title
    console.log(json === true ? JSON.stringify(line) : rows(line))
  }
}

const names = ['seconds', 'first token, ms', 'longest gap, ms', 'in turns / at once']
const columns = `${''.padEnd(24)}${names.map((name) => name.padStart(20)).join('')}`

function rows({ pictures, inTurns, atOnce, ratio }: ServeLoadLine): string {
  const what = pictures === 0 ? 'text' : 'with a picture'
  return [row(`${what}, in turns`, inTurns), row(`${what}, at once`, atOnce) + ratio.toFixed(2).padStart(20)].join('\n')
}

function row(name: string, { seconds, firstTokenMs, longestGapMs }: ServeLoadTimes): string {
  const cells = [seconds.toFixed(1), firstTokenMs.toFixed(0), longestGapMs.toFixed(0)]
  return `${name.padEnd(24)}${cells.map((cell) => cell.padStart(20)).join('')}`
}
