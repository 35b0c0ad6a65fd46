// The flags that verbs share, and what they mean to the library.

import { InvalidArgumentError, Option, type Command } from 'commander'
import { LLaVA, type AnswerOptions, type OpenOptions } from '../index.js'
import type { Session } from './session.js'

/** A whole number; its range is the library's to check. */
export function integer(value: string): number {
  if (!/^-?\d+$/.test(value)) throw new InvalidArgumentError('It is not a whole number.')
  return Number(value)
}

function decimal(value: string): number {
  if (value.trim() === '' || !Number.isFinite(Number(value))) throw new InvalidArgumentError('It is not a number.')
  return Number(value)
}

function collect(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value]
}

/** Flags that say which model to open, and how. */
export interface ModelFlags {
  readonly model?: string
  readonly mmproj?: string
  readonly threads?: number
  readonly isa?: 'auto' | 'scalar' | 'avx2' | 'avx512'
  readonly visionFeatureLayer?: number
  readonly imageAspectRatio?: 'pad' | 'crop'
  readonly json?: boolean
}

export function addModelFlags(command: Command): Command {
  return command
    .option('-m, --model <path>', 'Hugging Face directory or GGUF file (default: the small model that comes with the package)')
    .option('--mmproj <file>', 'vision half of a GGUF pair, if it is not the only one beside the model')
    .option('-t, --threads <n>', 'compute threads (default: as many as the process may use)', integer)
    .addOption(new Option('--isa <name>', 'instruction set of the kernels').choices(['auto', 'scalar', 'avx2', 'avx512']))
    .option('--vision-feature-layer <n>', "overrides the checkpoint's vision layer", integer)
    .addOption(new Option('--image-aspect-ratio <how>', 'overrides how pictures are made square').choices(['pad', 'crop']))
    .option('--json', 'machine-readable output')
}

/** Opens the model that the flags name, saying so on a terminal. */
export async function openModel(flags: ModelFlags, session: Session, options: OpenOptions = {}): Promise<LLaVA> {
  session.status('opening the model …')
  const { mmproj, threads, isa, visionFeatureLayer, imageAspectRatio } = flags
  const model = await LLaVA.open(flags.model, given({ mmproj, threads, isa, visionFeatureLayer, imageAspectRatio, signal: session.signal, ...options }))
  session.status('')
  return model
}

/** Flags of the verbs that answer. */
export interface AnswerFlags extends ModelFlags {
  readonly maxTokens?: number
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly seed?: number
  readonly stop?: readonly string[]
  readonly system?: string
  readonly template?: string
  readonly autoOrient: boolean
}

export function addAnswerFlags(command: Command): Command {
  return addModelFlags(command)
    .option('-n, --max-tokens <n>', 'most tokens to generate (default: 512)', integer)
    .option('--temperature <t>', '0 takes the likeliest token (default), higher is more varied', decimal)
    .option('--top-k <k>', 'sample from the k likeliest tokens only', integer)
    .option('--top-p <p>', 'sample from the likeliest tokens that make up this probability', decimal)
    .option('--seed <n>', 'same seed, same answer', integer)
    .option('--stop <text>', 'text that ends the answer; may be given several times', collect)
    .option('--system <text>', 'replaces the system text')
    .option('--template <name>', 'prompt format: vicuna_v1 (default), llava_v1, hf, or checkpoint for the one the model brings')
    .option('--no-auto-orient', 'do not apply the EXIF orientation of pictures')
}

export function answerOptions({ maxTokens, temperature, topK, topP, seed, stop, system, template }: AnswerFlags): AnswerOptions {
  return given({ maxTokens, temperature, topK, topP, seed, stop, system, template })
}

/** Drops what was not given. The library checks the values themselves. */
function given(values: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
