// npm run bench -- serve

import type { Command } from 'commander'
import { whole } from './flags.js'
import { measureServe } from './serve.js'

interface ServeFlags {
  readonly clients: number
  readonly seconds: number
  readonly chats: number
  readonly repeat: number
  readonly json?: boolean
}

export function addServe(program: Command): void {
  program
    .command('serve')
    .description(
      '`llava serve` with the small model: many clients for a while, and chats about pictures against the same in process',
    )
    .option('--clients <n>', 'clients of the load', whole, 200)
    .option('--seconds <n>', 'how long they ask', whole, 60)
    .option('--chats <n>', 'clients that chat about a picture each', whole, 16)
    .option('--repeat <n>', 'turns of these, of which the median counts', whole, 3)
    .option('--json', 'a JSON object')
    .action(serve)
}

async function serve({ json, ...options }: ServeFlags): Promise<void> {
  const measured = await measureServe(options)
  if (json === true) {
    console.log(JSON.stringify(measured))
    return
  }
  const { device, load, chats } = measured
  const MiB = (nbytes: number) => (nbytes / 2 ** 20).toFixed(0)
  const memory = load.memory.map(({ resident, kept }) => `${MiB(resident)} (${MiB(kept)} kept for later questions)`)
  console.log(
    [
      device,
      `${load.clients} clients for ${load.seconds.toFixed(1)} s: ${load.answers} answers, ${load.refused} told to come again, ` +
        `${load.errors} errors`,
      `  tokens/s ${load.tokensPerSecond.toFixed(1)}`,
      `  first token, ms: p50 ${load.firstTokenMs.p50.toFixed(0)}, p99 ${load.firstTokenMs.p99.toFixed(0)}`,
      `  memory of the server, MiB: ${memory.join(', ')}: before, at half time, after`,
      `${chats.chats} chats about pictures, tokens/s: ${chats.overHttp.toFixed(1)} over HTTP, ` +
        `${chats.inProcess.toFixed(1)} in process (${(chats.overHttp / chats.inProcess).toFixed(2)})`,
    ].join('\n'),
  )
}
