// npm run bench -- kernels | model: what the kernels and the whole model reach of what this machine can do at most.

import { Command } from 'commander'
import { addKernels } from './kernels-command.js'
import { addModel } from './model-command.js'
import { addReport } from './report-command.js'

const program = new Command('npm run bench --').description('LLaVA 1.5 against what this machine can do at most').showHelpAfterError()
addKernels(program)
addModel(program)
addReport(program)
await program.parseAsync()
