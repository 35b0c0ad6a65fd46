import test from 'ava'
import { chunks, rowCount } from '../lib/engine.js'
import type { NativeImageFeatures, NativeSegment } from '../lib/native.js'

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

for (const most of [1, 2, 3, 4, 8, 9, 100]) {
  test(`cut into chunks of ${most}, every row comes once and in order, also inside a picture`, (t) => {
    const cut = [...chunks(prompt, most)]
    t.deepEqual(rows(cut.flat()), rows(prompt))
    t.true(cut.slice(0, -1).every((chunk) => rowCount(chunk) === most))
    t.true(cut.every((chunk) => rowCount(chunk) <= most && rowCount(chunk) > 0))
  })
}

test('empty segments make no chunk', (t) => {
  t.deepEqual([...chunks([{ tokens: new Int32Array(0) }], 4)], [])
})
