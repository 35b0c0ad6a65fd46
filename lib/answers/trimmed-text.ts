// Streamed text without the white space at its two ends: the pieces given out, joined, equal the whole text trimmed.

export class TrimmedText {
  #begun = false
  #space = ''

  /** Takes the next piece; returns what surely belongs to the trimmed text. White space is held until something follows it. */
  push(piece: string): string {
    const text = this.#space + (this.#begun ? piece : piece.trimStart())
    const certain = text.trimEnd()
    this.#space = text.slice(certain.length)
    this.#begun ||= certain !== ''
    return certain
  }
}
