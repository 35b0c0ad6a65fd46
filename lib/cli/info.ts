// llava info

import type { Command } from 'commander'
import { checkModel, LlavaError, type CheckedModel, type MemoryPlan, type ModelInfo } from '../index.js'
import { addModelFlags, openModel, type ModelFlags } from './flags.js'
import { addHelp } from './help.js'
import { ProgressBar } from './progress-bar.js'
import { colours, type Session } from './session.js'
import { size } from './size.js'

const help = {
  about: [
    'Opens the model and says what it is, the instruction set it runs on, and the memory it takes: now, and with a full context; `llava show NAME` reads the headers of one that was pulled, and loads nothing. ' +
      "--check reads every tensor, names those that hold NaN or infinite values (exit code 1), and prints each file's SHA-256.",
  ],
  examples: ['llava info', 'llava info --model llava-v1.5-7b-hf --json', 'llava info --model llava-v1.5-7b-hf --check'],
  json: [
    'With --json: one object with path, format, device, isa, threads, cpuFeatures, memory (bytes by part), kvCacheDtype, arithmetic, contextLength, ' +
      'vocabSize, template, text, vision, card and machine; with --check also ' +
      '"check": {"sound","files":[{"path","nbytes","sha256"}],"tensors":[{"name","dtype","shape","nbytes","nan","infinite","crc32"}],…}.',
  ],
}

interface InfoFlags extends ModelFlags {
  readonly check?: boolean
}

export function addInfo(program: Command, session: Session): void {
  const command = addModelFlags(program.command('info'))
    .description('say what a model is, what it runs on, and what memory it takes')
    .option('--check', 'read all weights: values that are no numbers, checksums')
    .action((flags: InfoFlags) => info(flags, session))
  addHelp(command, help)
}

async function info(flags: InfoFlags, session: Session): Promise<void> {
  const facts = await factsOf(flags, session)
  const checked = flags.check === true ? await check(facts, flags, session) : undefined
  if (flags.json === true) process.stdout.write(`${JSON.stringify({ ...facts, ...(checked && { check: checked }) })}\n`)
  else {
    const all = [...lines(facts), ...(checked === undefined ? [] : checkLines(checked))]
    process.stdout.write(
      all.map(([name, value]) => `${colours(process.stdout).bold(name.padEnd(14))}${value}\n`).join(''),
    )
  }
  if (checked?.sound === false)
    throw new LlavaError('MODEL_CORRUPT', `${facts.path}: some of its weights are no numbers`)
}

async function factsOf(flags: InfoFlags, session: Session): Promise<ModelInfo> {
  const model = await openModel(flags, session)
  try {
    return model.info()
  } finally {
    model.dispose()
  }
}

async function check(
  { path }: ModelInfo,
  { mmproj, visionTower, adapter, threads }: InfoFlags,
  session: Session,
): Promise<CheckedModel> {
  using bar = new ProgressBar('checking')
  return await checkModel(path, {
    ...(mmproj !== undefined && { mmproj }),
    ...(visionTower !== undefined && { visionTower }),
    ...(adapter !== undefined && { adapter }),
    ...(threads !== undefined && { threads }),
    signal: session.signal,
    onProgress: ({ tensor, done, total }) => {
      bar.update(tensor, done, total)
    },
  })
}

function checkLines({ files, tensors, sound, elapsedMs }: CheckedModel): readonly (readonly [string, string])[] {
  const bad = tensors.filter(({ nan, infinite }) => nan + infinite > 0)
  const verdict = sound ? 'every value is a number' : `${bad.length} hold values that are no numbers`
  return [
    ['check', `${tensors.length} tensors read in ${(elapsedMs / 1000).toFixed(1)} s; ${verdict}`],
    ...bad.map(({ name, nan, infinite }) => ['', `${name}: ${nan} NaN, ${infinite} infinite`] as const),
    ...files.map(({ path, nbytes, sha256 }) => ['sha256', `${sha256}  ${path} (${size(nbytes)})`] as const),
  ]
}

function cpuLine({ isa, threads, cpuFeatures }: ModelInfo): string {
  return `${isa} kernels, ${threads} threads; this CPU has ${cpuFeatures.join(', ') || 'no vector extension they use'}`
}

function planLine({ total, free, weights, workspaces, positions }: MemoryPlan): string {
  return (
    `${size(free)} of ${size(total)} were free; weights ${size(weights)}, workspaces ${size(workspaces)}, ` +
    `which leaves keys and values of ${positions} positions`
  )
}

function lines(info: ModelInfo): readonly (readonly [string, string])[] {
  const { card, memory, text, vision, machine } = info
  const dtypes = Object.entries(card.weightDtypes).map(([dtype, nbytes]) => `${dtype} ${size(nbytes)}`)
  const tower = (shape: NonNullable<ModelInfo['vision']>) =>
    `${shape.layers} layers, width ${shape.hiddenSize}, ${shape.imageSize} px (${shape.aspectRatio}), ${shape.rowsPerImage} positions per picture`
  const full = memory.weightsMapped + memory.weightsHeap + memory.scratch + memory.kvCacheFull
  const held = `keys and values ${size(memory.kvCache)}, scratch ${size(memory.scratch)}`
  return [
    ['model', card.name],
    ...(card.description === undefined ? [] : [['', card.description] as const]),
    ...(card.license === undefined ? [] : [['license', card.license] as const]),
    ['file', `${info.path} (${info.format})`],
    ['parameters', `${(card.parameters / 1e6).toFixed(1)} M`],
    ['weights', dtypes.join(', ')],
    [
      'text',
      `${text.layers} layers, width ${text.hiddenSize}, ${text.heads} heads, context ${info.contextLength}, vocabulary ${info.vocabSize}`,
    ],
    ['vision', vision === undefined ? 'none' : tower(vision)],
    ['template', info.template],
    ['device', info.device],
    ['isa', memory.plan === undefined ? cpuLine(info) : `${info.isa} kernels`],
    ['arithmetic', `${info.arithmetic}, keys and values ${info.kvCacheDtype}`],
    ['memory', `weights ${size(memory.weightsMapped)} mapped + ${size(memory.weightsHeap)}, ${held}`],
    ...(memory.plan === undefined ? [] : [['GPU memory', planLine(memory.plan)] as const]),
    ['full context', `${size(full)}, of which keys and values ${size(memory.kvCacheFull)}`],
    ['machine', `${size(machine.memory)} of memory, ${size(machine.available)} of it free`],
  ]
}
