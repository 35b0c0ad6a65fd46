// npm run bench -- serve-load

import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import type { Dtype } from '../lib/index.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { measureBurst } from './burst.js'
import { churn } from './churn.js'
import { oneOf, whole } from './flags.js'
import { measureSchedulerTime } from './scheduler-time.js'
import { measureServeLoad, type ServeLoadLine, type ServeLoadTimes } from './serve-load.js'

const help = `
Examples:
  npm run bench -- serve-load
  npm run bench -- serve-load --layers 4 --questions 8 --repeat 1
  npm run bench -- serve-load --scheduler        the scheduler's own time of a step, at 1, 4, 16 and 64 sequences
  npm run bench -- serve-load --burst 1000       so many questions at once to the package's own model
  npm run bench -- serve-load --steps 1000000    callers that come and go, each answer held to the one that it has alone`

interface ServeLoadFlags {
  readonly threads?: number
  readonly layers: number
  readonly type: Dtype
  readonly questions: number
  readonly prompt: number
  readonly answer: number
  readonly repeat: number
  readonly scheduler?: boolean
  readonly burst?: number
  readonly steps?: number
  readonly model?: string
  readonly json?: boolean
}

export function addServeLoad(program: Command): void {
  program
    .command('serve-load')
    .description(
      'many questions to one model, one after another and all at once: of text, with a picture each, about one picture',
    )
    .option('--threads <n>', 'compute threads (default: all)', whole)
    .option('--layers <n>', 'of the 7B shape with random weights', whole, 8)
    .option('--type <name>', 'type of its weights', oneOf(dtypes), 'Q4_0')
    .option('--questions <n>', 'how many', whole, 16)
    .option('--prompt <n>', 'tokens of a prompt', whole, 64)
    .option('--answer <n>', 'tokens of an answer', whole, 32)
    .option('--repeat <n>', 'turns, of which the median counts', whole, 3)
    .option('--scheduler', "instead: the scheduler's own time of a step")
    .option('--burst <n>', "instead: so many questions at once to the package's own model", whole)
    .option('--steps <n>', 'instead: so many steps of callers that come and go, on that model', whole)
    .option('--model <path>', 'another model for --steps, the smaller the faster')
    .option('--json', 'JSON lines')
    .addHelpText('after', help)
    .action(serveLoad)
}

async function serveLoad({ json, scheduler, burst, steps, model, ...options }: ServeLoadFlags): Promise<void> {
  if (scheduler === true) {
    for (const sequences of [1, 4, 16, 64])
      console.log(JSON.stringify({ sequences, schedulerMsPerStep: round(await measureSchedulerTime(sequences)) }))
    return
  }
  if (burst !== undefined) {
    console.log(JSON.stringify(await measureBurst(burst, options.threads)))
    return
  }
  if (steps !== undefined) {
    await churnFor(steps, model)
    return
  }
  let head = ''
  for await (const line of measureServeLoad(options)) {
    const title = `${line.device}, ${line.threads} threads; ${line.model}; ${line.questions} questions`
    if (json !== true && title !== head) console.log(`${title}\n${columns}`)
    head = title
    console.log(json === true ? JSON.stringify(line) : rows(line))
  }
}

const round = (ms: number): number => Number(ms.toFixed(4))

/** A line for each twentieth of the steps, with the memory then. */
async function churnFor(steps: number, model: string | undefined): Promise<void> {
  const start = performance.now()
  const every = Math.max(1, Math.floor(steps / 20))
  const line = (step: number) => {
    const seconds = Math.round((performance.now() - start) / 1000)
    console.log(JSON.stringify({ step, seconds, residentBytes: process.memoryUsage.rss() }))
  }
  const picture = fileURLToPath(new URL('../../models/demo.png', import.meta.url))
  const onStep = (step: number) => {
    if (step % every === 0) line(step)
  }
  await churn({ model, picture, steps, seed: 7, prefixPages: 24, onStep })
  console.log(JSON.stringify({ steps, leaked: 0 }))
}

const names = ['seconds', 'first token, ms', 'longest gap, ms', 'in turns / at once']
const columns = `${''.padEnd(26)}${names.map((name) => name.padStart(20)).join('')}`

function rows({ asked, inTurns, atOnce, ratio, second }: ServeLoadLine): string {
  const lines = [row(`${asked}, in turns`, inTurns), row(`${asked}, at once`, atOnce) + ratio.toFixed(2).padStart(20)]
  if (second !== undefined) {
    const { firstTokenMs, coldFirstTokenMs } = second
    const share = `${((100 * firstTokenMs) / coldFirstTokenMs).toFixed(1)} % of the first one's ${coldFirstTokenMs.toFixed(0)}`
    lines.push(`a second question about it, 12 tokens: first token after ${firstTokenMs.toFixed(0)} ms, ${share}`)
  }
  return lines.join('\n')
}

function row(name: string, { seconds, firstTokenMs, longestGapMs }: ServeLoadTimes): string {
  const cells = [seconds.toFixed(1), firstTokenMs.toFixed(0), longestGapMs.toFixed(0)]
  return `${name.padEnd(26)}${cells.map((cell) => cell.padStart(20)).join('')}`
}
