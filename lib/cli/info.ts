// llava info

import type { Command } from 'commander'
import type { ModelInfo } from '../index.js'
import { addModelFlags, openModel, type ModelFlags } from './flags.js'
import { colours, type Session } from './session.js'

const help = `
Examples:
  llava info
  llava info --model llava-v1.5-7b-hf --json

With --json: one object with path, format, device, isa, threads, cpuFeatures, memory (bytes by part), kvCacheDtype, arithmetic,
contextLength, vocabSize, text, vision and card.`

export function addInfo(program: Command, session: Session): void {
  addModelFlags(program.command('info'))
    .description('say what a model is, what it runs on, and what memory it takes')
    .addHelpText('after', help)
    .action((flags: ModelFlags) => info(flags, session))
}

async function info(flags: ModelFlags, session: Session): Promise<void> {
  const model = await openModel(flags, session)
  try {
    const facts = model.info()
    if (flags.json === true) process.stdout.write(`${JSON.stringify(facts)}\n`)
    else process.stdout.write(lines(facts).map(([name, value]) => `${colours(process.stdout).bold(name.padEnd(14))}${value}\n`).join(''))
  } finally {
    model.dispose()
  }
}

function lines(info: ModelInfo): readonly (readonly [string, string])[] {
  const { card, memory, text, vision } = info
  const dtypes = Object.entries(card.weightDtypes).map(([dtype, nbytes]) => `${dtype} ${size(nbytes)}`)
  const tower = (shape: NonNullable<ModelInfo['vision']>) =>
    `${shape.layers} layers, width ${shape.hiddenSize}, ${shape.imageSize} px (${shape.aspectRatio}), ${shape.rowsPerImage} positions per picture`
  const held = `keys and values ${size(memory.kvCache)}, scratch ${size(memory.scratch)}`
  return [
    ['model', card.name],
    ...(card.description === undefined ? [] : [['', card.description] as const]),
    ...(card.license === undefined ? [] : [['license', card.license] as const]),
    ['file', `${info.path} (${info.format})`],
    ['parameters', `${(card.parameters / 1e6).toFixed(1)} M`],
    ['weights', dtypes.join(', ')],
    ['text', `${text.layers} layers, width ${text.hiddenSize}, ${text.heads} heads, context ${info.contextLength}, vocabulary ${info.vocabSize}`],
    ['vision', vision === undefined ? 'none' : tower(vision)],
    ['device', info.device],
    ['isa', `${info.isa}, ${info.threads} threads`],
    ['arithmetic', `${info.arithmetic}, keys and values ${info.kvCacheDtype}`],
    ['memory', `weights ${size(memory.weightsMapped)} mapped + ${size(memory.weightsHeap)}, ${held}`],
  ]
}

/** `3.6 MiB` */
function size(nbytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  for (; nbytes >= 1024 && unit < units.length - 1; unit++) nbytes /= 1024
  return `${unit === 0 ? nbytes : nbytes.toFixed(1)} ${units[unit]}`
}
