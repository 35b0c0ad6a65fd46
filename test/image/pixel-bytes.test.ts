// From pixel_values back to the picture that a tower sees.

import test from 'ava'
import sharp from 'sharp'
import { LLaVA } from '../../lib/index.js'
import { normalisedBytes } from '../../lib/image/normalised-bytes.js'
import { pixelBytes } from '../../lib/image/pixel-bytes.js'

for (const [name, mean, std] of [
  ['CLIP', [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]],
  ['SigLIP', [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
] as const) {
  test(`every byte of every channel comes back from what ${name} normalises it to`, (t) => {
    const spec = { imageSize: 16, aspectRatio: 'pad', mean, std, rescaleFactor: 1 / 255, shortestEdge: 16 } as const
    const { width, height, data } = pixelBytes(normalisedBytes(spec), spec)
    t.deepEqual([width, height], [16, 16])
    t.deepEqual(
      data,
      Uint8Array.from({ length: 3 * 256 }, (_, at) => Math.floor(at / 3)),
    )
  })
}

test('the model sees a picture in the middle of a square, and its margins in the mean colour', async (t) => {
  using llava = await LLaVA.open()
  const red = await sharp({ create: { width: 40, height: 20, channels: 3, background: '#ff0000' } })
    .png()
    .toBuffer()
  const { width, height, data } = await llava.preprocessed(red)
  t.deepEqual([width, height], [144, 144])
  const at = (x: number, y: number) => [...data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3)]
  t.deepEqual(at(72, 72), [255, 0, 0])
  t.deepEqual(at(72, 3), [122, 116, 104])
  t.deepEqual(at(72, 140), [122, 116, 104])
})
