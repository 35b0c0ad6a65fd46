// What a prompt is made of: token ids and rows of pictures, counted in positions.

import type { NativeSegment } from '../native.js'

/** Positions of a page of keys and values (ops/args.h, kPageTokens). */
export const pageTokens = 64

/** Pages that so many positions take. */
export function pages(positions: number): number {
  return Math.ceil(positions / pageTokens)
}

/** Positions that segments take. */
export function rowCount(segments: readonly NativeSegment[]): number {
  return segments.reduce((rows, segment) => rows + ('tokens' in segment ? segment.tokens.length : segment.count), 0)
}

/** The positions in [start, end); a cut may fall inside a picture. */
export function segmentRange(
  segments: readonly NativeSegment[],
  start: number,
  end: number = Infinity,
): NativeSegment[] {
  const range: NativeSegment[] = []
  let first = 0 // position of the segment
  for (const segment of segments) {
    const length = rowCount([segment])
    const from = Math.max(start - first, 0)
    const to = Math.min(end - first, length)
    first += length
    if (from >= to) continue
    range.push(
      'tokens' in segment
        ? { tokens: segment.tokens.subarray(from, to) }
        : { image: segment.image, start: segment.start + from, count: to - from },
    )
  }
  return range
}
