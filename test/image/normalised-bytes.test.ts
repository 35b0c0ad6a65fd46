// Bytes to normalised floats.

import test from 'ava'
import { normalisedBytes } from '../../lib/image/normalised-bytes.js'

const clip = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  rescaleFactor: 0.00392156862745098,
} as const

test('every byte of every channel is rescaled in float64 and normalised in float32', (t) => {
  const values = normalisedBytes(clip)
  t.is(values.length, 3 * 256)
  for (let channel = 0; channel < 3; channel++) {
    for (let byte = 0; byte < 256; byte++) {
      const rescaled = Math.fround(byte * clip.rescaleFactor)
      const centred = Math.fround(rescaled - Math.fround(clip.mean[channel]!))
      t.is(values[channel * 256 + byte], Math.fround(centred / Math.fround(clip.std[channel]!)))
    }
  }
})

test('the padding colour is nearly but not exactly zero', (t) => {
  const values = normalisedBytes(clip)
  t.deepEqual(
    [122, 116, 104].map((byte, channel) => values[channel * 256 + byte]!.toFixed(5)),
    ['-0.01125', '-0.01120', '-0.00133'],
  )
})
