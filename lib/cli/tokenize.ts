// llava tokenize TEXT

import { text as readText } from 'node:stream/consumers'
import { addAbortSignal } from 'node:stream'
import type { Command } from 'commander'
import { addModelFlags, openModel, type ModelFlags } from './flags.js'
import { addHelp } from './help.js'
import type { Session } from './session.js'

const help = {
  about: [
    'Writes a line for each token: its id, and what it adds to the text as a JSON string. "-", or no text, reads stdin.',
  ],
  examples: [
    'llava tokenize "What colour is it?"',
    'llava tokenize --special --no-bos "USER: hello</s>"',
    "llava tokenize --json < prompt.txt | jq '.ids | length'",
  ],
  json: ['With --json: {"ids","pieces"}'],
}

interface TokenizeFlags extends ModelFlags {
  readonly bos: boolean
  readonly special?: boolean
}

export function addTokenize(program: Command, session: Session): void {
  const command = addModelFlags(program.command('tokenize'))
    .description('show the tokens of a text')
    .argument('[text]', 'the text')
    .option('--no-bos', 'without the beginning-of-sequence token')
    .option('--special', 'special tokens written out in the text, such as </s>, are themselves')
    .action((content: string | undefined, flags: TokenizeFlags) => tokenize(content, flags, session))
  addHelp(command, help)
}

async function tokenize(content: string | undefined, flags: TokenizeFlags, session: Session): Promise<void> {
  const text =
    content === undefined || content === '-' ? await readText(addAbortSignal(session.signal, process.stdin)) : content
  const model = await openModel(flags, session)
  try {
    const ids = [
      ...model.tokenize(text, { parseSpecial: flags.special === true, ...(!flags.bos && { addBos: false }) }),
    ]
    const pieces = model.pieces(ids)
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ ids, pieces })}\n`)
    else process.stdout.write(ids.map((id, n) => `${id}\t${JSON.stringify(pieces[n])}\n`).join(''))
  } finally {
    model.dispose()
  }
}
