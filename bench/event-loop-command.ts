// npm run bench -- event-loop

import { cpus } from 'node:os'
import type { Command } from 'commander'
import { measureEventLoop } from './event-loop.js'

export function addEventLoop(program: Command): void {
  program
    .command('event-loop')
    .description('how long the library keeps others waiting for the event loop, call by call, as JSON lines')
    .action(async () => {
      console.log(JSON.stringify({ device: cpus()[0]?.model }))
      for await (const delay of measureEventLoop()) console.log(JSON.stringify(delay))
    })
}
