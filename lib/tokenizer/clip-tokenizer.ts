// CLIP's tokenizer: lower-cased text to words, words to byte-level BPE whose last symbol carries "</w>", between a start and an end token.
// As Hugging Face's CLIPTokenizer: NFC, then lower case character by character. Two things differ on purpose: special tokens written out in the
// text stay text, and nothing is padded (the text tower is causal and pooled at the end token, so padding changes nothing).

import { readMerges, readVocabulary } from './bpe-model.js'
import { requirePrintable } from './byte-level.js'
import { corrupt, object, unsupported } from './fields.js'
import { PieceType, type ByteLevel, type TokenizerSpec } from './spec.js'
import type { Tokenizer } from './tokenizer.js'

const start = '<|startoftext|>'
const end = '<|endoftext|>'

const byteLevel: ByteLevel = {
  splits: [{ regex: String.raw`'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`, onlyMatches: true }],
  wholeWords: false,
  endOfWord: '</w>',
}

export class ClipTokenizer {
  readonly startId: number
  readonly endId: number
  readonly #tokenizer: Tokenizer
  readonly #contextLength: number

  /** @param contextLength Most ids the text tower takes, start and end included. */
  constructor(tokenizer: Tokenizer, contextLength = 77) {
    this.#tokenizer = tokenizer
    this.#contextLength = contextLength
    this.startId = this.#required(start)
    this.endId = this.#required(end)
  }

  /** Start, the text's ids, end; text that is too long loses its own end. */
  encode(text: string): Int32Array {
    const ids = this.#tokenizer.encode(lowerCase(text.normalize('NFC')))
    return Int32Array.of(this.startId, ...ids.subarray(0, this.#contextLength - 2), this.endId)
  }

  #required(piece: string): number {
    const id = this.#tokenizer.tokenId(piece)
    if (id === undefined) throw corrupt(`${piece} is missing`)
    return id
  }
}

/** Character by character: a sigma at the end of a word becomes σ like others. */
function lowerCase(text: string): string {
  return Array.from(text, (character) => character.toLowerCase()).join('')
}

/** From a CLIP directory's tokenizer.json. */
export function clipVocabularyFromJson(tokenizerJson: unknown): Generator<undefined, TokenizerSpec> {
  const model = object(object(tokenizerJson, 'tokenizer.json')['model'], '`model`')
  if (model['end_of_word_suffix'] !== byteLevel.endOfWord)
    throw unsupported("a vocabulary that is not CLIP's (no end_of_word_suffix </w>)")
  return clipVocabulary(model['vocab'], model['merges'])
}

/** From a CLIP directory's vocab.json and merges.txt, whose first line is its version. */
export function clipVocabularyFromFiles(vocabJson: unknown, mergesText: string): Generator<undefined, TokenizerSpec> {
  const lines = mergesText.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'))
  return clipVocabulary(vocabJson, lines)
}

function* clipVocabulary(vocab: unknown, merges: unknown): Generator<undefined, TokenizerSpec> {
  const vocabulary = yield* readVocabulary(vocab)
  requirePrintable(vocabulary, byteLevel)
  const unknownId = vocabulary.get(end)
  let count = 0
  for (const id of vocabulary.values()) count = Math.max(count, id + 1)
  if (count > 2 * vocabulary.size) throw corrupt(`id ${count - 1} lies far beyond its ${vocabulary.size} pieces`)
  const pieces = new Array<string>(count).fill('')
  const types = new Uint8Array(count).fill(PieceType.unused)
  for (const [piece, id] of vocabulary) {
    pieces[id] = piece
    types[id] = PieceType.normal
  }
  return {
    pieces,
    scores: new Float32Array(count),
    types,
    merges: yield* readMerges(merges, 'the merges', vocabulary),
    byteLevel: { ...byteLevel, ...(unknownId !== undefined && { unknown: { id: unknownId, fused: false } }) },
    addedTokens: [],
    eosIds: [],
    addBos: false,
    prefixSpace: 'never',
    prefixSpaceOnce: false,
    splitAtSpaces: false,
    byteFallback: false,
    stripLeadingSpace: false,
  }
}
