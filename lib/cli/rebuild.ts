// llava rebuild

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Command } from 'commander'
import { LlavaError } from '../index.js'
import { packageFile } from '../package-files.js'
import { addHelp } from './help.js'
import type { Session } from './session.js'

const help = {
  about: [
    'Compiles the native part where the package lies, for machines that no binary came for; it is then loaded before those that came. ' +
      'Needs a C++20 compiler, make or ninja, and Python with node-gyp or CMake with cmake-js, and says what of them is missing. Downloads nothing.',
  ],
  examples: ['npx llava rebuild', 'npx llava rebuild --with cmake-js'],
}

export function addRebuild(program: Command, session: Session): void {
  const command = program
    .command('rebuild')
    .description('compile the native part on this machine')
    .option('--with <builder>', 'node-gyp or cmake-js; default whichever can work here')
    .action((flags: { readonly with?: string }) => rebuild(flags.with, session))
  addHelp(command, help)
}

async function rebuild(builder: string | undefined, session: Session): Promise<void> {
  const words = [packageFile('tools/build-native.mjs'), ...(builder === undefined ? [] : ['--with', builder])]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit'], signal: session.signal })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new LlavaError('NATIVE_UNAVAILABLE', 'the native part was not built; the reason stands above')
}
