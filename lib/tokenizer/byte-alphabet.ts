// GPT-2's alphabet: every byte is one visible character. Printable Latin-1 stands for itself; the other 68 bytes are U+0100 upward, in order,
// so that a space is Ġ (U+0120) and a line feed Ċ (U+010A).

/** By byte, its character. */
export const byteAlphabet: readonly string[] = makeAlphabet()

const byteOf = new Map(byteAlphabet.map((character, byte) => [character, byte]))

function makeAlphabet(): string[] {
  let others = 0
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    return String.fromCharCode(printable ? byte : 256 + others++)
  })
}

/** The bytes that text in the alphabet stands for; `undefined` where a character is not of it. */
export function bytesOfAlphabet(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) {
    const byte = byteOf.get(text[i] as string)
    if (byte === undefined) return undefined
    bytes[i] = byte
  }
  return bytes
}
