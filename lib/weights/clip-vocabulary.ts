// The vocabulary beside a CLIP's weights: tokenizer.json, or vocab.json with merges.txt.

import path from 'node:path'
import { finishInSlices } from '../slices.js'
import { clipVocabularyFromFiles, clipVocabularyFromJson } from '../tokenizer/clip-tokenizer.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import { LlavaError } from '../errors.js'
import { readJson } from './fields.js'
import { readSideFile } from './file-head.js'
import { corrupt, notFound } from './model-error.js'

/** @throws LlavaError MODEL_NOT_FOUND, MODEL_CORRUPT or MODEL_UNSUPPORTED. */
export async function readClipVocabulary(directory: string): Promise<TokenizerSpec> {
  const json = path.join(directory, 'tokenizer.json')
  const whole = await readJson(json)
  if (whole !== undefined) return naming(json, clipVocabularyFromJson(whole))
  const vocab = path.join(directory, 'vocab.json')
  const [pieces, merges] = [await readJson(vocab), await readSideFile(path.join(directory, 'merges.txt'))]
  if (pieces === undefined || merges === undefined)
    throw notFound(directory, 'neither tokenizer.json nor vocab.json with merges.txt is in this CLIP directory')
  return naming(vocab, clipVocabularyFromFiles(pieces, merges.toString('utf8')))
}

/** With the file's name in what is thrown. */
async function naming(file: string, reading: Generator<undefined, TokenizerSpec>): Promise<TokenizerSpec> {
  try {
    return await finishInSlices(reading)
  } catch (cause) {
    if (cause instanceof LlavaError && cause.code !== 'MODEL_CORRUPT') throw cause
    throw corrupt(file, cause instanceof Error ? cause.message : String(cause), cause)
  }
}
