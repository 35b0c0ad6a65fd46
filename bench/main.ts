// npm run bench -- kernels | model | clip | embed | install | peers | report | event-loop | fidelity | neighbours | serve-load | serve | sampling | speculation |
// cuda-counts

import { Command } from 'commander'
import { addClip } from './clip-command.js'
import { addCudaCounts } from './cuda-counts-command.js'
import { addEmbed } from './embed-command.js'
import { addEventLoop } from './event-loop-command.js'
import { addFidelity } from './fidelity-command.js'
import { addInstall } from './install-command.js'
import { addKernels } from './kernels-command.js'
import { addModel } from './model-command.js'
import { addNeighbours } from './neighbours-command.js'
import { addPeers } from './peers-command.js'
import { addReport } from './report-command.js'
import { addSampling } from './sampling-command.js'
import { addServe } from './serve-command.js'
import { addServeLoad } from './serve-load-command.js'
import { addSpeculation } from './speculation-command.js'

const program = new Command('npm run bench --')
  .description('LLaVA 1.5 against what this machine can do at most')
  .showHelpAfterError()
addKernels(program)
addModel(program)
addClip(program)
addPeers(program)
addReport(program)
addEmbed(program)
addInstall(program)
addEventLoop(program)
addFidelity(program)
addNeighbours(program)
addSampling(program)
addServeLoad(program)
addServe(program)
addSpeculation(program)
addCudaCounts(program)
try {
  await program.parseAsync()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
