// llava show NAME

import path from 'node:path'
import type { Command } from 'commander'
import { inspectModel, type InspectedModel } from '../index.js'
import { addHelp } from './help.js'
import { colours } from './session.js'
import { size } from './size.js'

const help = {
  about: [
    'NAME is one of `llava list`. This reads the headers of its files and loads nothing; `llava info --model NAME` opens the model, ' +
      'and says what it runs on and what memory it takes.',
  ],
  examples: ['llava show llava-1.5-7b', 'llava show default --json | jq .parameters'],
  json: [
    'With --json: {"name","repository","commit","license","path","format","files":[{"path","nbytes"}],"parameters",' +
      '"weightDtypes":{TYPE: BYTES},"contextLength","text","vision","template"}',
  ],
}

export function addShow(program: Command): void {
  const command = program
    .command('show')
    .description('say what a model that was pulled is, and where its files are')
    .argument('<name>', 'its name')
    .option('--json', 'machine-readable output')
    .action(async (name: string, flags: { readonly json?: boolean }) => {
      const model = await inspectModel(name)
      process.stdout.write(flags.json === true ? `${JSON.stringify(model)}\n` : text(model))
    })
  addHelp(command, help)
}

function text(model: InspectedModel): string {
  const bold = (word: string) => colours(process.stdout).bold(word.padEnd(14))
  return lines(model)
    .map(([name, value]) => `${bold(name)}${value}\n`)
    .join('')
}

function tower({ layers, hiddenSize, imageSize }: NonNullable<InspectedModel['vision']>): string {
  return `${layers} layers, width ${hiddenSize}, ${imageSize} px`
}

function lines(model: InspectedModel): readonly (readonly [string, string])[] {
  const { text: decoder, vision } = model
  const directory = model.format === 'hf-directory' ? model.path : path.dirname(model.path)
  const dtypes = Object.entries(model.weightDtypes).map(([dtype, nbytes]) => `${dtype} ${size(nbytes)}`)
  const files = model.files.map(({ path: file, nbytes }) => `${path.relative(directory, file)}  ${size(nbytes)}`)
  const given = (name: string, value: string | undefined) => (value === undefined ? [] : [[name, value] as const])
  return [
    ['model', model.name],
    ...given('repository', model.repository),
    ...given('commit', model.commit),
    ...given('license', model.license),
    ['path', `${model.path} (${model.format})`],
    ...files.map((file, i) => [i === 0 ? 'files' : '', file] as const),
    ['parameters', `${(model.parameters / 1e6).toFixed(1)} M`],
    ['weights', dtypes.join(', ')],
    ['text', `${decoder.layers} layers, width ${decoder.hiddenSize}, context ${model.contextLength}`],
    ['vision', vision === undefined ? 'none' : tower(vision)],
    ['template', model.template],
  ]
}
