// Tokenizer and weights come from different files: every id the tokenizer can produce must have a row in the embedding table.

import { PieceType, type TokenizerSpec } from '../tokenizer/spec.js'
import { corrupt } from './model-error.js'

/** Pieces that are only produced on request (specials such as `<image>`) may lie beyond the table. */
export function checkVocabulary(where: string, tokenizer: Pick<TokenizerSpec, 'pieces' | 'types'>, rows: number): void {
  const produced: readonly (number | undefined)[] = [PieceType.normal, PieceType.unknown, PieceType.byte]
  const beyond = tokenizer.types.findIndex((type, id) => id >= rows && produced.includes(type))
  if (beyond < 0) return
  throw corrupt(
    where,
    `the tokenizer has the piece ${JSON.stringify(tokenizer.pieces[beyond])} with id ${beyond}, but the embedding table has ${rows} rows`,
  )
}
