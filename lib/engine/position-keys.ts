// By what prompts are compared, position by position: a token by its id (0 or more), a row of a picture by a number below 0 that comes from what the tower saw.
// Row i has word i mod 8 of the picture's SHA-256, so that pictures that agree in eight rows are the same.

import { createHash, randomBytes } from 'node:crypto'
import type { NativeImageFeatures, NativeSegment } from '../native.js'

const words = 8
const digests = new WeakMap<NativeImageFeatures, string>()
const named = new WeakMap<NativeImageFeatures, Int32Array>()

/** What tells pictures apart: the hash of pixel_values, as hexadecimal digits. */
export function pictureDigest(pixelValues: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(pixelValues.buffer, pixelValues.byteOffset, pixelValues.byteLength))
    .digest('hex')
}

/** Names the rows that were made of a picture. */
export function nameRows(image: NativeImageFeatures, digest: string): void {
  digests.set(image, digest)
  named.set(image, keysOf(Buffer.from(digest, 'hex')))
}

/** Of the picture that rows were made of and named by. */
export function digestOf(image: NativeImageFeatures): string {
  return digests.get(image) ?? ''
}

/** One key for each position. */
export function positionKeys(segments: readonly NativeSegment[]): Int32Array {
  const lengths = segments.map((segment) => ('tokens' in segment ? segment.tokens.length : segment.count))
  const keys = new Int32Array(lengths.reduce((sum, length) => sum + length, 0))
  let at = 0
  for (const [n, segment] of segments.entries()) {
    const length = lengths[n] as number
    if ('tokens' in segment) {
      keys.set(segment.tokens, at)
    } else {
      const rows = rowKeys(segment.image)
      for (let i = 0; i < length; i++) keys[at + i] = rows[(segment.start + i) % words] as number
    }
    at += length
  }
  return keys
}

/** Keys that both begin with. */
export function commonLength(a: Int32Array, b: Int32Array): number {
  const shorter = Math.min(a.length, b.length)
  let position = 0
  while (position < shorter && a[position] === b[position]) position++
  return position
}

/** The positions that `keys` shares with another prompt from which it parts at `end`: a picture in which they part is another one, from its first row on. */
export function sharedPositions(keys: Int32Array, end: number): number {
  if (end === keys.length || (keys[end] as number) >= 0) return end
  let position = end
  while (position > 0 && (keys[position - 1] as number) < 0) position--
  return position
}

/** Rows that nobody named are like no others. */
function rowKeys(image: NativeImageFeatures): Int32Array {
  const known = named.get(image)
  if (known !== undefined) return known
  const keys = keysOf(randomBytes(4 * words))
  named.set(image, keys)
  return keys
}

function keysOf(bytes: Buffer): Int32Array {
  return Int32Array.from({ length: words }, (_, i) => bytes.readInt32LE(4 * i) | -0x80000000)
}
