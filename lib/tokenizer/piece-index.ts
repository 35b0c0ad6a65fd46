// A vocabulary's pieces looked up by their text: made once per tokenizer, by a generator that yields where it may pause.

import { entriesPerStep } from './bpe-model.js'
import { PieceType, type TokenizerSpec } from './spec.js'

export interface PieceIndex {
  /** Every piece's id, the first of equal ones; added tokens by what they are looked for as. */
  readonly ids: ReadonlyMap<string, number>
  /** Those that BPE makes of text. */
  readonly normal: ReadonlyMap<string, number>
}

export function* indexPieces({ pieces, types, addedTokens }: TokenizerSpec): Generator<undefined, PieceIndex> {
  const ids = new Map<string, number>()
  const normal = new Map<string, number>()
  for (const [id, piece] of pieces.entries()) {
    if (!ids.has(piece)) ids.set(piece, id)
    if (types[id] === PieceType.normal && !normal.has(piece)) normal.set(piece, id)
    if (id % entriesPerStep === 0) yield
  }
  for (const { id, content } of addedTokens) ids.set(content, id)
  return { ids, normal }
}
