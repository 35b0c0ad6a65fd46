// Which files of a repository make up a model: a language model in GGUF with its vision half, or, where no GGUF is
// there, a Hugging Face checkpoint.
// A checkpoint is config.json, weights, and whatever else of it this package reads. Where its weights are shards, their
// index says which.

import { LlavaError } from '../errors.js'
import { chooseGguf, isGguf, type Wanted } from './gguf-choice.js'
import { weightEntries } from '../weights/shards.js'

export interface ModelChoice {
  /** Path of what is opened; empty for a checkpoint, which is opened as the directory. */
  readonly model: string
  /** The vision half of a GGUF pair. */
  readonly mmproj?: string
  /** Paths of all files. Without the first one, the others are no model. */
  readonly files: readonly string[]
}

/** Reads which shards the index at this path names. */
export type ReadIndex = (path: string) => Promise<readonly string[]>

/** What a checkpoint may bring beside its weights. */
const checkpointFiles: readonly string[] = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'added_tokens.json',
  'chat_template.json',
  'chat_template.jinja',
  'mm_projector.bin',
]

/** Whether a file of this path may be part of a model. */
export function isModelFile(path: string): boolean {
  return isGguf(path) || checkpointFiles.includes(path) || /^[^/]+\.(?:safetensors|bin)(?:\.index\.json)?$/.test(path)
}

/**
 * Chooses among the paths of files at `where`.
 * @throws LlavaError MODEL_NOT_FOUND where none fits, INVALID_ARGUMENT where several do or a GGUF is asked for and
 * there is none.
 */
export async function chooseModel(
  where: string,
  paths: readonly string[],
  wanted: Wanted,
  readIndex: ReadIndex,
): Promise<ModelChoice> {
  const weights = weightsOf(paths)
  const isCheckpoint = wanted.file === undefined ? !paths.some(isGguf) : wanted.file === weights
  if (isCheckpoint && weights !== undefined) return checkpoint(where, paths, weights, wanted, readIndex)
  if (weights !== undefined && !paths.some(isGguf)) throw noGguf(where, weights)
  if (!paths.some(isGguf)) throw new LlavaError('MODEL_NOT_FOUND', `${where}: ${neither}`)
  const { language, vision = [] } = chooseGguf(where, paths, wanted)
  const [model = ''] = language
  const [mmproj] = vision
  return { model, ...(mmproj !== undefined && { mmproj }), files: [...language, ...vision] }
}

const neither = 'no GGUF file is there, and no checkpoint (config.json with model.safetensors or pytorch_model.bin)'

/** The weights of a checkpoint, whole or as an index; undefined where there is no checkpoint. */
export function weightsOf(paths: readonly string[]): string | undefined {
  return paths.includes('config.json') ? weightEntries.find((entry) => paths.includes(entry)) : undefined
}

async function checkpoint(
  where: string,
  paths: readonly string[],
  weights: string,
  { type }: Wanted,
  readIndex: ReadIndex,
): Promise<ModelChoice> {
  if (type !== undefined) throw noGguf(where, weights)
  const shards = weights.endsWith('.index.json') ? [...new Set(await readIndex(weights))] : []
  const missing = shards.find((shard) => !paths.includes(shard))
  if (missing !== undefined)
    throw new LlavaError('MODEL_NOT_FOUND', `${where}: ${weights} names ${missing}, which is not there`)
  return { model: '', files: [weights, ...shards, ...checkpointFiles.filter((file) => paths.includes(file))] }
}

function noGguf(where: string, weights: string): LlavaError {
  const problem = `no GGUF file is there to choose from, but a checkpoint (${weights})`
  const advice = 'leave `type` and `file` out, and it is taken as it is'
  return new LlavaError('INVALID_ARGUMENT', `${where}: ${problem}; ${advice}`)
}
