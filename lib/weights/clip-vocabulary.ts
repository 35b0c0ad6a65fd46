// The vocabulary beside a CLIP's weights (tokenizer.json, or vocab.json with merges.txt), or beside a SigLIP's
// (spiece.model).

import path from 'node:path'
import { finishInSlices } from '../slices.js'
import { clipVocabularyFromFiles, clipVocabularyFromJson } from '../tokenizer/clip-tokenizer.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import { unigramFromSentencePiece, type UnigramSpec } from '../tokenizer/unigram.js'
import { LlavaError } from '../errors.js'
import { readJson } from './fields.js'
import { readSideFile } from './file-head.js'
import { corrupt, notFound, unsupported } from './model-error.js'

/** @throws LlavaError MODEL_NOT_FOUND, MODEL_CORRUPT or MODEL_UNSUPPORTED. */
export async function readClipVocabulary(directory: string): Promise<TokenizerSpec> {
  const json = path.join(directory, 'tokenizer.json')
  const whole = await readJson(json)
  if (whole !== undefined) return naming(json, () => finishInSlices(clipVocabularyFromJson(whole)))
  const vocab = path.join(directory, 'vocab.json')
  const [pieces, merges] = [await readJson(vocab), await readSideFile(path.join(directory, 'merges.txt'))]
  if (pieces === undefined || merges === undefined)
    throw notFound(directory, 'neither tokenizer.json nor vocab.json with merges.txt is in this CLIP directory')
  return naming(vocab, () => finishInSlices(clipVocabularyFromFiles(pieces, merges.toString('utf8'))))
}

/** @throws LlavaError MODEL_CORRUPT or MODEL_UNSUPPORTED: SigLIP 2 has Gemma's vocabulary. */
export async function readSiglipVocabulary(directory: string): Promise<UnigramSpec> {
  const file = path.join(directory, 'spiece.model')
  const pieces = await readSideFile(file)
  if (pieces === undefined)
    throw unsupported(
      directory,
      'a SigLIP without spiece.model (as SigLIP 2 is)',
      "SigLIP with SentencePiece's own file",
    )
  const config = (await readJson(path.join(directory, 'tokenizer_config.json'))) ?? {}
  return naming(file, () => unigramFromSentencePiece(pieces, config as Readonly<Record<string, unknown>>))
}

/** With the file's name in what is thrown. */
async function naming<T>(file: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    if (cause instanceof LlavaError && cause.code !== 'MODEL_CORRUPT') throw cause
    throw corrupt(file, cause instanceof Error ? cause.message : String(cause), cause)
  }
}
