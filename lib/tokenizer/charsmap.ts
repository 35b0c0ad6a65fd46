// SentencePiece's table of normalisation (`precompiled_charsmap`): a double-array trie of UTF-8 sequences, and what
// stands for each.
//   u32 nbytes of the trie · its units, u32 each · the replacements, each with a 0 behind it
// The longest sequence that begins at a place is replaced; a character that begins none stays. The format of the units
// is Darts-clone's:
//   bits 0-7 label, 8 has a value, 9 and 10-31 offset (times 256 where 9 is set); a unit with bit 31 is a value: where
//     its replacement begins.

import { corrupt } from './fields.js'

export class Charsmap {
  readonly #units: Uint32Array
  readonly #replacements: Uint8Array

  /** @param bytes As the file has it; empty: every character stays. */
  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const nbytes = bytes.length === 0 ? 0 : bytes.length < 4 ? -1 : view.getUint32(0, true)
    if (nbytes < 0 || nbytes % 4 !== 0 || (nbytes > 0 && nbytes + 4 > bytes.length))
      throw corrupt('its table of normalisation does not hold the trie it announces')
    this.#units = Uint32Array.from({ length: nbytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
    this.#replacements = bytes.subarray(nbytes + 4)
  }

  /** The text in pieces: what stands for one sequence each. */
  *replaced(text: string): Generator<string> {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length;) {
      const found = this.#longest(bytes, at)
      const length = found?.length ?? characterLength(bytes[at] as number)
      yield found === undefined ? bytes.toString('utf8', at, at + length) : this.#replacement(found.value)
      at += length
    }
  }

  #longest(bytes: Uint8Array, from: number): { readonly length: number; readonly value: number } | undefined {
    const units = this.#units
    let found: { readonly length: number; readonly value: number } | undefined
    if (units.length === 0) return undefined
    let node = offsetOf(units[0] as number)
    for (let at = from; at < bytes.length; at++) {
      node ^= bytes[at] as number
      const unit = units[node] ?? 0
      // a label with bit 31 is a value's, which no byte leads to
      if ((unit & 0x800000ff) >>> 0 !== bytes[at]) break
      node ^= offsetOf(unit)
      if ((unit & 0x100) !== 0) found = { length: at + 1 - from, value: (units[node] ?? 0) & 0x7fffffff }
    }
    return found
  }

  #replacement(from: number): string {
    const end = this.#replacements.indexOf(0, from)
    if (end < 0) throw corrupt('its table of normalisation points behind its end')
    return Buffer.from(this.#replacements.subarray(from, end)).toString('utf8')
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6)
}

function characterLength(first: number): number {
  if (first < 0x80) return 1
  return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
}
