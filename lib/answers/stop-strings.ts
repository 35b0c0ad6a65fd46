// Stop strings in streamed text: text that may still turn into one is held back until it is decided.
// The result does not depend on how the text was cut into pieces: the stop string that is complete first wins.

export class StopStrings {
  readonly #strings: readonly string[]
  #held = ''
  #matched = false

  constructor(strings: readonly string[]) {
    this.#strings = strings
  }

  /** A stop string is complete; no more text comes. */
  get matched(): boolean {
    return this.#matched
  }

  /** Takes the next piece; returns the text that is certain by now. */
  push(piece: string): string {
    if (this.#matched) return ''
    const text = this.#held + piece
    const start = this.#firstComplete(text)
    if (start !== undefined) {
      this.#matched = true
      this.#held = ''
      return text.slice(0, start)
    }
    const certain = text.length - this.#undecided(text)
    this.#held = text.slice(certain)
    return text.slice(0, certain)
  }

  /** The text held back, once no more can come. */
  flush(): string {
    const text = this.#held
    this.#held = ''
    return text
  }

  /** Where the stop string that ends first begins; of two that end together, the longer. */
  #firstComplete(text: string): number | undefined {
    let first: { readonly start: number; readonly end: number } | undefined
    for (const string of this.#strings) {
      const start = text.indexOf(string)
      const end = start + string.length
      if (start >= 0 && (first === undefined || end < first.end || (end === first.end && start < first.start)))
        first = { start, end }
    }
    return first?.start
  }

  /** Length of the longest end of `text` with which some stop string begins. */
  #undecided(text: string): number {
    const longest = Math.max(0, ...this.#strings.map((string) => string.length - 1))
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length)
      if (this.#strings.some((string) => string.length > length && string.startsWith(end))) return length
    }
    return 0
  }
}
