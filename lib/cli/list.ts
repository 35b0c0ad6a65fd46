// llava list

import type { Command } from 'commander'
import { listModels, wellKnownNames, type ListedModel } from '../index.js'
import { addHelp } from './help.js'
import type { Session } from './session.js'
import { size } from './size.js'

const help = {
  about: [
    "Names are what --model takes. Of what other programs keep in the hub's cache, only the models that llava opens are listed.",
  ],
  examples: ['llava list', "llava list --json | jq -r 'select(.complete) | .name'"],
  json: [
    'With --json, one object a line: {"name","repository","commit","type","complete","path","files","nbytes","pulledAt"}; ' +
      'an incomplete download has no "path" and no "files".',
  ],
}

export function addList(program: Command, session: Session): void {
  const command = program
    .command('list')
    .alias('ls')
    .description('list the models that can be opened by name')
    .option('--json', 'machine-readable output')
    .action((flags: { readonly json?: boolean }) => list(flags.json === true, session))
  addHelp(command, help)
}

async function list(json: boolean, session: Session): Promise<void> {
  session.status('looking through the cache …')
  const models = await listModels()
  session.status('')
  process.stdout.write(json ? models.map((model) => `${JSON.stringify(model)}\n`).join('') : table(models))
  const advice = `nothing has been pulled; \`llava pull ${wellKnownNames[0]}\` downloads a model for photographs`
  if (models.length === 1 && !json) session.remark(advice)
}

function table(models: readonly ListedModel[]): string {
  const rows = [['NAME', 'TYPE', 'SIZE', 'PULLED'], ...models.map(rowOf)]
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  const padded = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)))
  return padded.map((row) => `${row.join('  ').trimEnd()}\n`).join('')
}

function rowOf({ name, type, complete, nbytes, pulledAt }: ListedModel): readonly string[] {
  const when = pulledAt === undefined ? 'comes with the package' : day(pulledAt)
  if (complete) return [name, type ?? '-', size(nbytes), when]
  return [name, 'incomplete', `${size(nbytes)} here`, `${when}; \`llava pull ${name}\` goes on`]
}

/** `2026-01-31`, where the person is. */
function day(at: Date): string {
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, '0')).join('-')
}
