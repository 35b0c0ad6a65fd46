// What a tokenizer file says, in one form for tokenizer.json, tokenizer.model and GGUF; tokenizer.ts computes from it.

import type { PairRanks } from './pair-ranks.js'

/** A piece's type, numbered as SentencePiece and GGUF do. */
export const PieceType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/** A piece recognised as a whole in the text, before BPE sees what lies between. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  /** Recognised only where specials are allowed (`parseSpecial`); others, such as user-defined pieces, always are. */
  readonly special: boolean
  /** Looked for after the prefix space and the `▁` are in place rather than in the raw text. */
  readonly normalized: boolean
  /** Takes the white space on its left, on its right, with it. */
  readonly lstrip: boolean
  readonly rstrip: boolean
  /** Not recognised inside a word. */
  readonly singleWord: boolean
}

/** Merges of tokenizer.json, GGUF or merges.txt: which neighbouring ids join, in what order, to which id. */
export interface MergeTable {
  /** Lower ranks join first. */
  readonly ranks: PairRanks
  /** By rank, the id of the joined piece. */
  readonly ids: Int32Array
}

/** One step of cutting text into words, as tokenizer.json's `Split` does. */
export interface WordSplit {
  /** In Oniguruma's syntax, in which tokenizer.json has it. */
  readonly regex: string
  /** `true`: what lies between matches is dropped; `false`: it is a word too. */
  readonly onlyMatches: boolean
}

/** Byte-level BPE (GPT-2): BPE runs inside words, over UTF-8 bytes of which each is written as one visible character. */
export interface ByteLevel {
  /** Unicode normalisation before anything but added tokens that are looked for in the raw text. */
  readonly normalization?: 'NFC' | 'NFD' | 'NFKC' | 'NFKD'
  /** Each step cuts the words of the one before. */
  readonly splits: readonly WordSplit[]
  /** A word that is a piece as a whole is that piece, whatever the merges make of it (`ignore_merges`). */
  readonly wholeWords: boolean
  /** Stands behind the last character of every word in the vocabulary; CLIP's `</w>`. */
  readonly endOfWord?: string
  /**
   * The unknown piece, which a byte without a piece becomes (`unk_token`); `fused`: several of them in a row are one (`fuse_unk`).
   * Absent: such bytes become nothing, and what stood around them joins, as in Hugging Face's tokenizers.
   */
  readonly unknown?: { readonly id: number; readonly fused: boolean }
}

export interface TokenizerSpec {
  /** By id, the piece's text with `▁` for a space; byte pieces read `<0x0A>`. With `byteLevel`, in its alphabet; added tokens as they are. */
  readonly pieces: readonly string[]
  /** By id; a higher score joins first. All 0 where `merges` decides. */
  readonly scores: Float32Array
  /** By id, a `PieceType`. */
  readonly types: Uint8Array
  /** Wins over `scores`; SentencePiece's own files have none. */
  readonly merges?: MergeTable
  /** Absent: SentencePiece's way, in which `▁` is a space. */
  readonly byteLevel?: ByteLevel
  readonly addedTokens: readonly AddedToken[]
  readonly bosId?: number
  readonly eosIds: readonly number[]
  readonly unknownId?: number
  readonly padId?: number
  readonly addBos: boolean
  /** Which segments get a space in front: each one (legacy), only the one that opens the text, none. A special token ends a segment. */
  readonly prefixSpace: 'every-segment' | 'first-segment' | 'never'
  /** `true`: a segment that begins with a space already gets no second one (Metaspace); `false`: it does (SentencePiece). */
  readonly prefixSpaceOnce: boolean
  /** `true`: no piece reaches across a space (Metaspace with `split`). */
  readonly splitAtSpaces: boolean
  /** `true`: characters without a piece become byte pieces; `false`: the unknown piece. */
  readonly byteFallback: boolean
  /** `true`: decoding drops the one space that encoding put in front. */
  readonly stripLeadingSpace: boolean
}
