// The two ways in which vocabularies write text:
//   marked spaces (SentencePiece)  " a house" is ▁a▁house, and BPE runs over the whole stretch; bytes without a piece are <0x0A>
//   byte level (GPT-2)             " a house" is Ġa | Ġhouse: words first, then each UTF-8 byte as one visible character

import { SplitPreTokenizer } from '@huggingface/tokenizers'
import { byteAlphabet, bytesOfAlphabet } from './byte-alphabet.js'
import { BytePairEncoder } from './bpe.js'
import { PieceType, type ByteLevel, type TokenizerSpec, type WordSplit } from './spec.js'

/** What SentencePiece has for a space. */
export const spaceMark = '▁'

export interface Writing {
  /** Text as `encode` takes it, and as added tokens with `normalized` are looked for in it. */
  normalize(text: string): string
  /** Appends the ids of normalised text to `out`. */
  encode(text: string, out: number[]): void
  /** The bytes of a piece, given with its `PieceType`. */
  bytes(piece: string, type: number): Uint8Array
}

/** @param pieces ids of the normal ones */
export function writingOf(spec: TokenizerSpec, pieces: ReadonlyMap<string, number>): Writing {
  const encoder = new BytePairEncoder(spec, pieces)
  return spec.byteLevel === undefined ? new MarkedSpaces(spec, encoder) : new Bytes(spec.byteLevel, encoder)
}

class MarkedSpaces implements Writing {
  readonly #encoder: BytePairEncoder
  readonly #splitAtSpaces: boolean

  constructor({ splitAtSpaces }: TokenizerSpec, encoder: BytePairEncoder) {
    this.#encoder = encoder
    this.#splitAtSpaces = splitAtSpaces
  }

  normalize(text: string): string {
    return text.replaceAll(' ', spaceMark)
  }

  encode(text: string, out: number[]): void {
    if (!this.#splitAtSpaces) this.#encoder.encode(text, out)
    else for (const word of text.split(/(?=▁)/u)) this.#encoder.encode(word, out)
  }

  bytes(piece: string, type: number): Uint8Array {
    if (type === PieceType.byte) return Uint8Array.of(Number.parseInt(piece.slice(3, 5), 16))
    return Buffer.from(piece.replaceAll(spaceMark, ' '))
  }
}

class Bytes implements Writing {
  readonly #encoder: BytePairEncoder
  readonly #normalization: ByteLevel['normalization']
  readonly #words: (text: string) => string[]

  constructor({ normalization, splits }: ByteLevel, encoder: BytePairEncoder) {
    this.#encoder = encoder
    this.#normalization = normalization
    this.#words = wordCutter(splits)
  }

  normalize(text: string): string {
    return this.#normalization === undefined ? text : text.normalize(this.#normalization)
  }

  encode(text: string, out: number[]): void {
    for (const word of this.#words(text)) {
      let written = ''
      for (const byte of Buffer.from(word)) written += byteAlphabet[byte] as string
      this.#encoder.encode(written, out)
    }
  }

  bytes(piece: string, type: number): Uint8Array {
    return (type === PieceType.normal ? bytesOfAlphabet(piece) : undefined) ?? Buffer.from(piece)
  }
}

/**
 * Text to words, by regular expressions in Oniguruma's syntax. They are the checkpoint's, whatever it has; to translate
 * them (\s, \w and \b of another
 * Unicode, inline flags, possessive quantifiers) is what the library is here for: BPE itself has to be ours, in slices
 * and over GGUF's pieces.
 * Throws SyntaxError where it cannot.
 */
export function wordCutter(splits: readonly WordSplit[]): (text: string) => string[] {
  const steps = splits.map(({ regex, onlyMatches }) => {
    return new SplitPreTokenizer({
      type: 'Split',
      pattern: { Regex: regex },
      behavior: onlyMatches ? 'Removed' : 'Isolated',
      invert: onlyMatches,
    })
  })
  return (text) => steps.reduce((words, step) => words.flatMap((word) => step.pre_tokenize_text(word)), [text])
}
