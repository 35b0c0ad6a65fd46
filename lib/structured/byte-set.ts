// A set of bytes, 256 bits.

export class ByteSet {
  readonly #words: Uint32Array
  /** Equal for equal sets. */
  readonly key: string

  private constructor(words: Uint32Array) {
    this.#words = words
    this.key = words.join()
  }

  /** The bytes of [low, high]. */
  static range(low: number, high = low): ByteSet {
    return ByteSet.of(Array.from({ length: high - low + 1 }, (_, n) => low + n))
  }

  static of(bytes: Iterable<number>): ByteSet {
    const words = new Uint32Array(8)
    for (const byte of bytes) words[byte >> 5]! |= 1 << (byte & 31)
    return new ByteSet(words)
  }

  has(byte: number): boolean {
    return ((this.#words[byte >> 5]! >>> (byte & 31)) & 1) === 1
  }

  get isEmpty(): boolean {
    return this.#words.every((word) => word === 0)
  }

  union(other: ByteSet): ByteSet {
    return new ByteSet(this.#words.map((word, n) => word | other.#words[n]!))
  }

  intersection(other: ByteSet): ByteSet {
    return new ByteSet(this.#words.map((word, n) => word & other.#words[n]!))
  }
}
