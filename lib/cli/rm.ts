// llava rm NAME...

import type { Command } from 'commander'
import { removeModel, type RemovalPlan, type RemovedModel } from '../index.js'
import { addHelp } from './help.js'
import { agreed } from './question.js'
import type { Session } from './session.js'
import { size } from './size.js'

const help = {
  about: [
    'NAME is one of `llava list`; NAME:FILE is one file of it. What goes is all that was downloaded under the name, also what is left of an ' +
      'interrupted download. On a terminal you are asked first. A model that another process is downloading stays, and so does what ' +
      'huggingface_hub has downloaded of another branch.',
  ],
  examples: ['llava rm llava-1.5-7b', 'llava rm --yes second-state/Llava-v1.5-7B-GGUF:llava-v1.5-7b-Q8_0.gguf'],
  json: [
    'With --json, one object a line: {"name","repository","files","freedBytes"}, or {"name","error":{"code","message"}} for what could not be removed.',
  ],
}

interface RmFlags {
  readonly yes?: boolean
  readonly json?: boolean
}

export function addRm(program: Command, session: Session): void {
  const command = program
    .command('rm')
    .description('delete models that were pulled')
    .argument('<names...>', 'their names, or name:file for one file')
    .option('-y, --yes', 'delete without asking')
    .option('--json', 'machine-readable output')
    .action((names: readonly string[], flags: RmFlags) => removeAll(names, flags, session))
  addHelp(command, help)
}

/** One after the other; what cannot be removed does not keep the others. */
async function removeAll(names: readonly string[], flags: RmFlags, session: Session): Promise<void> {
  for (const name of new Set(names)) {
    if (session.signal.aborted) return
    await remove(name, flags, session)
  }
}

async function remove(name: string, { yes, json }: RmFlags, session: Session): Promise<void> {
  let declined = false
  const confirm = async (plan: RemovalPlan): Promise<boolean> => {
    const asking = yes !== true && json !== true && process.stdin.isTTY && process.stderr.isTTY
    declined = asking && !(await agreed(`Delete ${name} (${contents(plan)})?`, 'no', session))
    if (!declined) session.status(`deleting ${name} …`)
    return !declined
  }
  try {
    const removed = await removeModel(name, { confirm })
    session.status('')
    process.stdout.write(json === true ? `${JSON.stringify(removed)}\n` : sentence(removed))
  } catch (error) {
    session.failed(error, json === true || declined)
    if (declined) session.remark(`${name} was not deleted`)
    else if (json === true) process.stdout.write(`${JSON.stringify({ name, error: session.facts(error) })}\n`)
  }
}

function contents({ files, freedBytes }: RemovalPlan): string {
  const named = files.length === 1 ? '1 file' : `${files.length} files`
  return `${files.length === 0 ? 'what is left of a download' : named}, ${size(freedBytes)}`
}

function sentence({ name, freedBytes }: RemovedModel): string {
  return `${name}: deleted, ${size(freedBytes)} freed\n`
}
