import test from 'ava'
import { rowCount, segmentRange } from '../../lib/engine/segments.js'
import type { NativeImageFeatures, NativeSegment } from '../../lib/native.js'

const image: NativeImageFeatures = { rows: 5, read: () => new Float32Array(0), dispose: () => undefined }

/** Rows as one comparable list: token ids, and picture rows as strings. */
function rows(segments: readonly NativeSegment[]): (number | string)[] {
  return segments.flatMap((segment): (number | string)[] => {
    return 'tokens' in segment
      ? [...segment.tokens]
      : Array.from({ length: segment.count }, (_, row) => `row ${segment.start + row}`)
  })
}

const prompt: readonly NativeSegment[] = [
  { tokens: Int32Array.of(1, 2, 3) },
  { image, start: 0, count: 5 },
  { tokens: Int32Array.of(4) },
]

const all = rows(prompt)

for (let start = 0; start <= all.length; start++) {
  test(`from position ${start} on, every row comes once and in order, wherever it ends, also inside a picture`, (t) => {
    for (let end = start; end <= all.length + 1; end++) {
      const range = segmentRange(prompt, start, end)
      t.deepEqual(rows(range), all.slice(start, end))
      t.is(rowCount(range), all.slice(start, end).length)
      t.true(range.every((segment) => rowCount([segment]) > 0))
    }
    t.deepEqual(rows(segmentRange(prompt, start)), all.slice(start))
  })
}
