// Ids in, text out, one at a time: bytes wait until they make whole UTF-8 characters, so that what is given out never changes.

import type { Tokenizer } from './tokenizer.js'

export class DecodeStream {
  readonly #tokenizer: Tokenizer
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  #begun = false

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
  }

  /** The text that is certain after this id; often empty inside a character of several byte pieces. */
  push(id: number): string {
    return this.#begin(this.#decoder.decode(this.#tokenizer.pieceBytes(id), { stream: true }))
  }

  /** What is left at the end: U+FFFD where a character stayed incomplete. The stream may be used anew afterwards. */
  flush(): string {
    const text = this.#begin(this.#decoder.decode())
    this.#begun = false
    return text
  }

  /** The first text given out loses the space that stands in front of it. */
  #begin(text: string): string {
    if (this.#begun || text === '') return text
    this.#begun = true
    return this.#tokenizer.stripLeadingSpace(text)
  }
}
