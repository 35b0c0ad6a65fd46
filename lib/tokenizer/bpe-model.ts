// The heart of a BPE vocabulary in Hugging Face's files: pieces with their ids (`vocab`) and the pairs that join (`merges`).

import { corrupt, idWithin, list, object } from './fields.js'
import { PairRanks } from './pair-ranks.js'
import type { MergeTable } from './spec.js'

/** Pieces or merges between two pauses: well under a millisecond of work. */
export const entriesPerStep = 1024

export function* readVocabulary(vocab: unknown): Generator<undefined, ReadonlyMap<string, number>> {
  const ids = object(vocab, '`model.vocab`')
  const vocabulary = new Map<string, number>()
  for (const [i, piece] of Object.keys(ids).entries()) {
    vocabulary.set(piece, tokenIndex(ids[piece], piece))
    if (i % entriesPerStep === 0) yield
  }
  return vocabulary
}

/** `what` names the list in errors. An entry is a pair of pieces, or both in one string with a space between. */
export function* readMerges(
  merges: unknown,
  what: string,
  vocabulary: ReadonlyMap<string, number>,
): Generator<undefined, MergeTable> {
  const entries = list(merges ?? [], what)
  const ranks = new PairRanks(entries.length)
  const ids = new Int32Array(entries.length)
  yield
  for (const [rank, entry] of entries.entries()) {
    const [left, right, ...more] = typeof entry === 'string' ? entry.split(' ') : list(entry, `an entry of ${what}`)
    if (typeof left !== 'string' || typeof right !== 'string' || more.length > 0)
      throw corrupt(`merge ${rank} is not a pair of pieces`)
    const leftId = vocabulary.get(left)
    const rightId = vocabulary.get(right)
    const joined = vocabulary.get(left + right)
    if (leftId === undefined || rightId === undefined || joined === undefined) {
      throw corrupt(`merge ${rank} (${left} + ${right}) names a piece that the vocabulary does not have`)
    }
    ranks.set(leftId, rightId, rank)
    ids[rank] = joined
    if (rank % entriesPerStep === 0) yield
  }
  return { ranks, ids }
}

/** An id that a file gives a piece. */
export function tokenIndex(id: unknown, piece: string): number {
  return idWithin(id, 2 ** 24, piece)
}
