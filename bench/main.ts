// npm run bench -- kernels | model | peers | report

import { Command } from 'commander'
import { addKernels } from './kernels-command.js'
import { addModel } from './model-command.js'
import { addPeers } from './peers-command.js'
import { addReport } from './report-command.js'

const program = new Command('npm run bench --').description('LLaVA 1.5 against what this machine can do at most').showHelpAfterError()
addKernels(program)
addModel(program)
addPeers(program)
addReport(program)
try {
  await program.parseAsync()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
