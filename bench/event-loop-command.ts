// npm run bench -- event-loop

import type { Command } from 'commander'
import { measureEventLoop } from './event-loop.js'

export function addEventLoop(program: Command): void {
  program
    .command('event-loop')
    .description('how long the library keeps others waiting for the event loop, call by call, as JSON lines')
    .action(async () => {
      for await (const delay of measureEventLoop()) console.log(JSON.stringify(delay))
    })
}
