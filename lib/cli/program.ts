// The verbs, what they share, and how a run ends: the exit code and the one line that says why.

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addAsk } from './ask.js'
import { addBench } from './bench.js'
import { addChat } from './chat.js'
import { addCompletion } from './completion.js'
import { addConvert } from './convert.js'
import { addEmbed } from './embed.js'
import { withShowValue } from './flags.js'
import { addHelp } from './help.js'
import { addInfo } from './info.js'
import { addList } from './list.js'
import { packageFile } from '../package-files.js'
import { addLook } from './look.js'
import { addPull } from './pull.js'
import { addRebuild } from './rebuild.js'
import { addRm } from './rm.js'
import { addServe } from './serve.js'
import { Session } from './session.js'
import { addShow } from './show.js'
import { addTokenize } from './tokenize.js'
import { addTrace } from './trace.js'

const help = {
  lists: {
    'Exit codes': [
      ['0', 'done'],
      ['1', 'an error: a line on stderr says which; DEBUG=1 adds the stack'],
      ['2', 'wrong usage, or a value an option does not take'],
      ['130', 'interrupted (Ctrl-C)'],
    ],
  },
  examples: [
    'llava ask cat.jpg "What is the cat doing?"',
    'llava chat cat.jpg',
    'llava info --json',
    'llava pull llava-1.5-7b && llava ask --model llava-1.5-7b cat.jpg "What colour is the cat?"',
    'llava ask --model llava-v1.5-7b.Q4_0.gguf cat.jpg "What colour is the cat?"',
  ],
} as const

/** Runs the command line and resolves to the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  const session = new Session()
  const program = new Command('llava')
    .description('Ask LLaVA models about pictures, on this machine.')
    .version(packageVersion())
    .configureHelp({ minWidthToWrap: 20 }) // beside the longest flag in a terminal of 60 columns
    .exitOverride()
    .configureOutput({ outputError: () => undefined }) // said by the session, as every other error
    .hook('preAction', (_, verb) => {
      session.verb = verb
    })
  addHelp(program, help)
  const [models, tools] = [
    [addPull, addList, addShow, addRm],
    [addLook, addTrace, addBench, addRebuild, addCompletion],
  ]
  for (const add of [addAsk, addChat, addEmbed, addServe, addTokenize, addInfo, addConvert, ...models, ...tools])
    add(program, session)
  const json = args.includes('--json')
  try {
    await program.parseAsync(withShowValue(args), { from: 'user' })
    return await session.succeed(json)
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return await session.succeed(json)
    return await session.fail(error, json)
  } finally {
    session.end()
  }
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    readonly version: string
  }
  return version
}
