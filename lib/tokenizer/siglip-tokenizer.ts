// SigLIP's tokenizer: text without punctuation and in lower case to Unigram pieces, an end token, and end tokens up to
// the context, as the text tower sees all positions and is pooled at the last one. As Hugging Face's SiglipTokenizer,
// but that special tokens written out in the text stay text.

import type { Unigram, UnigramSpec } from './unigram.js'

export class SiglipTokenizer {
  readonly #unigram: Unigram
  readonly #spec: UnigramSpec
  readonly #contextLength: number

  /** @param contextLength Ids of every text. */
  constructor(unigram: Unigram, spec: UnigramSpec, contextLength: number) {
    this.#unigram = unigram
    this.#spec = spec
    this.#contextLength = contextLength
  }

  /** `[contextLength]`: the text's ids, the end, and padding; text that is too long loses its own end. */
  encode(text: string): Int32Array {
    const { eosId, padId, lowerCase } = this.#spec
    const ids = this.#unigram.encode(canonical(`▁${text.replaceAll('▁', ' ')}`, lowerCase))
    const kept = ids.slice(0, this.#contextLength - 1)
    const ended = kept.at(-1) === eosId ? kept : [...kept, eosId]
    return new Int32Array(this.#contextLength).fill(padId).map((pad, n) => ended[n] ?? pad)
  }
}

// Python's string.punctuation, and its \s.
const punctuation = /[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/g
const spaces = new RegExp(String.raw`[\p{White_Space}\x1c-\x1f]+`, 'gu')

function canonical(text: string, lowerCase: boolean): string {
  return (lowerCase ? text.toLowerCase() : text).replace(punctuation, '').replace(spaces, ' ').replace(/^ | $/g, '')
}
