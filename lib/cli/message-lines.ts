// Lines to messages: one line each, or several: between """ and """, or pasted at once.

const fence = '"""'

export class MessageLines {
  readonly #lines: string[] = []
  #fenced = false

  /** Whether a message has begun that is not complete. */
  get unfinished(): boolean {
    return this.#fenced || this.#lines.length > 0
  }

  /** Takes a line, and gives the message that it completes. `more`: the line is part of a longer paste. */
  push(line: string, more = false): string | undefined {
    if (this.#fenced) return this.#pushFenced(line)
    const opened = this.#lines.length === 0 && line.trimStart().startsWith(fence)
    if (opened) {
      this.#fenced = true
      return this.#pushFenced(line.trimStart().slice(fence.length))
    }
    this.#lines.push(line)
    return more ? undefined : this.rest()
  }

  /** What there is of a message, as the input ends or its last line has come; undefined where there is nothing. */
  rest(): string | undefined {
    const text = this.#lines.join('\n').trim()
    const any = this.unfinished
    this.drop()
    return any ? text : undefined
  }

  drop(): void {
    this.#lines.length = 0
    this.#fenced = false
  }

  #pushFenced(line: string): string | undefined {
    const closed = line.trimEnd().endsWith(fence)
    this.#lines.push(closed ? line.trimEnd().slice(0, -fence.length) : line)
    return closed ? this.rest() : undefined
  }
}
