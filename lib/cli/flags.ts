// The flags that verbs share, and what they mean to the library.

import { existsSync } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { InvalidArgumentError, Option, type Command } from 'commander'
import {
  LLaVA,
  LlavaError,
  isas,
  templateNames,
  type AnswerOptions,
  type Device,
  type ImageOptions,
  type Isa,
  type OpenOptions,
} from '../index.js'
import { progressStatus } from './answer-report.js'
import type { Session } from './session.js'
import { pictureProtocols, type PictureProtocol } from './terminal-picture.js'

/** A whole number; its range is the library's to check. */
export function integer(value: string): number {
  if (!/^-?\d+$/.test(value)) throw new InvalidArgumentError('It is not a whole number.')
  return Number(value)
}

function decimal(value: string): number {
  if (value.trim() === '' || !Number.isFinite(Number(value))) throw new InvalidArgumentError('It is not a number.')
  return Number(value)
}

export function collect(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value]
}

/** `TOKEN=NUMBER`, after others. */
function bias(value: string, biases: Readonly<Record<string, number>> = {}): Readonly<Record<string, number>> {
  const at = value.lastIndexOf('=')
  if (at < 1) throw new InvalidArgumentError('It is not TOKEN=NUMBER.')
  const amount = value.slice(at + 1)
  return { ...biases, [value.slice(0, at)]: amount === '-inf' ? -Infinity : decimal(amount) }
}

/** Flags that say which model to open, and how. */
export interface ModelFlags {
  readonly model?: string
  readonly mmproj?: string
  readonly visionTower?: string
  readonly adapter?: string
  readonly device?: Device
  readonly threads?: number
  readonly isa?: 'auto' | Isa
  readonly kvCache?: NonNullable<OpenOptions['kvCache']>
  readonly weights?: NonNullable<OpenOptions['weights']>
  readonly visionFeatureLayer?: number
  readonly imageAspectRatio?: NonNullable<OpenOptions['imageAspectRatio']>
  readonly json?: boolean
}

export function addModelFlags(command: Command): Command {
  return command
    .option(
      '-m, --model <path>',
      'checkpoint directory, GGUF file, or a name that was pulled (default: the small model that comes with the package)',
    )
    .option('--mmproj <file>', 'vision half of a GGUF pair, if it is not the only one beside the model')
    .option('--vision-tower <dir>', 'CLIP directory of an original LLaVA checkpoint, if it is not in or beside it')
    .option('--adapter <path>', 'LoRA adapter (or projector) to run on top of the model')
    .option('--device <name>', 'cpu (default), cuda or cuda:N for an NVIDIA GPU, or auto: the GPU where it can be used')
    .option('-t, --threads <n>', 'compute threads (default: as many as the process may use)', integer)
    .addOption(new Option('--isa <name>', 'instruction set of the kernels').choices(['auto', ...isas]))
    .addOption(
      new Option('--kv-cache <type>', 'element type of keys and values; q8_0 takes half of the memory of f16').choices([
        'f16',
        'f32',
        'q8_0',
      ]),
    )
    .addOption(
      new Option(
        '--weights <where>',
        'read weights where their file is mapped (default), or copy them to large pages',
      ).choices(['mapped', 'copied']),
    )
    .option('--vision-feature-layer <n>', "overrides the checkpoint's vision layer", integer)
    .addOption(
      new Option('--image-aspect-ratio <how>', 'overrides how pictures are made square').choices([
        'pad',
        'crop',
        'stretch',
      ]),
    )
    .option('--json', 'machine-readable output')
}

/** Opens the model that the flags name, saying so on a terminal. */
export async function openModel(flags: ModelFlags, session: Session, options: OpenOptions = {}): Promise<LLaVA> {
  session.status('opening the model …')
  const { mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio } = flags
  const { device, threads, isa, kvCache, weights } = flags
  const files = { mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio }
  const asked = { ...files, device, threads, isa, kvCache, weights }
  const model = await LLaVA.open(
    flags.model,
    given({ ...asked, signal: session.signal, onProgress: progressStatus(session), ...options }),
  )
  session.status('')
  return model
}

/** How pictures are read. */
export type ImageFlags = ImageOptions

export function addImageFlags(command: Command): Command {
  return command
    .option('--no-auto-orient', 'do not apply the EXIF orientation of pictures')
    .option('--max-pixels <n>', 'refuse pictures of more pixels (default: 178,956,970)', integer)
    .option('--max-bytes <n>', 'refuse downloads, pipes and devices of more bytes (default: 64 MiB)', integer)
    .option('--timeout-ms <n>', 'give up downloads, pipes and devices that take longer (default: 30,000)', integer)
    .option('--allow-private-network', 'read pictures from loopback and private addresses too')
}

export function imageOptions({
  autoOrient,
  maxPixels,
  maxBytes,
  timeoutMs,
  allowPrivateNetwork,
}: ImageFlags): ImageOptions {
  return given({ autoOrient, maxPixels, maxBytes, timeoutMs, allowPrivateNetwork })
}

/** A picture by its path or URL; `-` is stdin. */
export async function readImage(word: string, session: Session): Promise<string | Buffer> {
  return word === '-' ? buffer(addAbortSignal(session.signal, process.stdin)) : word
}

/** Flags of the verbs that show their pictures. */
export interface ShowFlags {
  readonly show?: PictureProtocol | 'auto'
}

export function addShowFlag(command: Command): Command {
  return command.addOption(
    new Option('--show [how]', 'show the pictures, in a terminal that can')
      .choices(['auto', ...pictureProtocols])
      .preset('auto'),
  )
}

/** Gives `--show` its value where the word after it is a picture or a question: an option with an optional value takes any word that follows. */
export function withShowValue(args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  const mayBeValue = (word = '') => /^[a-z]+$/i.test(word) && !existsSync(word)
  return args.map((word, at) => (word === '--show' && at < end && !mayBeValue(args[at + 1]) ? '--show=auto' : word))
}

/** Options that a flag cannot give, or gives under another name or in another form. */
type Reworded =
  | ('noRepeatNgramSize' | 'logitsProcessor' | 'stop' | 'template' | 'onProgress' | 'signal')
  | ('schema' | 'choices' | 'regex')

/** Flags of the verbs that answer: the library's options. */
export interface AnswerFlags extends Omit<AnswerOptions, Reworded> {
  readonly json?: boolean
  readonly ngramSize?: number
  readonly stop?: readonly string[]
  readonly template?: string
}

export function addAnswerFlags(command: Command): Command {
  return command
    .option('-n, --max-tokens <n>', 'most tokens to generate (default: 512)', integer)
    .option(
      '--prompt-lookup-tokens <n>',
      'most tokens to compute ahead where the answer repeats what was said (default: 15, 0: none)',
      integer,
    )
    .option('--temperature <t>', '0 takes the likeliest token (default), higher is more varied', decimal)
    .option('--top-k <k>', 'sample from the k likeliest tokens only', integer)
    .option('--top-p <p>', 'sample from the likeliest tokens that make up this probability', decimal)
    .option('--min-p <m>', 'sample from those at least m times as likely as the likeliest', decimal)
    .option('--typical-p <p>', 'sample from the most typical tokens that make up this probability', decimal)
    .option('--repetition-penalty <r>', 'divides the logits of tokens that were there (1: off)', decimal)
    .option('--presence-penalty <p>', 'taken off the logits of tokens that were there, once', decimal)
    .option('--frequency-penalty <f>', 'taken off them as often as they were there', decimal)
    .option('--ngram-size <n>', 'no n tokens in a row come twice', integer)
    .option(
      '--logit-bias <token=b>',
      'added to the logits of a token, given as id or text; -inf bans it; may be given several times',
      bias,
    )
    .option('--min-tokens <n>', 'no end-of-sequence token before so many', integer)
    .option(
      '--logprobs <n>',
      'with --json: log-probabilities of each token and of its n likeliest alternatives',
      integer,
    )
    .option('--seed <n>', 'same seed, same answer', integer)
    .option('--stop <text>', 'text that ends the answer; may be given several times', collect)
    .option('--system <text>', 'replaces the system text')
    .option(
      '--template <name>',
      `prompt format: ${templateNames.join(', ')} (the one the model brings); default: what fits the model`,
    )
}

export function answerOptions(flags: AnswerFlags): AnswerOptions {
  const {
    maxTokens,
    temperature,
    topK,
    topP,
    minP,
    typicalP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    logitBias,
    minTokens,
    seed,
  } = flags
  const { promptLookupTokens, ngramSize: noRepeatNgramSize, logprobs, stop, system, template, json } = flags
  if (logprobs !== undefined && json !== true)
    throw new LlavaError('INVALID_ARGUMENT', '--logprobs needs --json, which shows them')
  const penalties = { repetitionPenalty, presencePenalty, frequencyPenalty, noRepeatNgramSize, logitBias, minTokens }
  return given({
    maxTokens,
    promptLookupTokens,
    temperature,
    topK,
    topP,
    minP,
    typicalP,
    ...penalties,
    logprobs,
    seed,
    stop,
    system,
    template,
  })
}

/** Drops what was not given. The library checks the values themselves. */
function given(values: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
