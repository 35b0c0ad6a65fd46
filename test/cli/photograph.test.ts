// Which pictures the command takes for photographs.

import { fileURLToPath } from 'node:url'
import test from 'ava'
import sharp from 'sharp'
import { looksLikePhotograph } from '../../lib/cli/photograph.js'

const drawing = sharp(
  Buffer.from(
    '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="150"><rect width="200" height="150" fill="#fec"/><circle cx="90" cy="70" r="50" fill="#36c"/></svg>',
  ),
)
/** Soft light and dark places with grain, as a camera sees a wall. */
const photograph = sharp({
  create: {
    width: 200,
    height: 150,
    channels: 3,
    background: '#888',
    noise: { type: 'gaussian', mean: 128, sigma: 90 },
  },
}).blur(3)

for (const format of ['png', 'jpeg'] as const) {
  test(`a drawing is no photograph, also as ${format}`, async (t) => {
    t.false(await looksLikePhotograph(await drawing.clone().toFormat(format).toBuffer()))
  })
  test(`a photograph is one, also as ${format}`, async (t) => {
    t.true(await looksLikePhotograph(await photograph.clone().toFormat(format).toBuffer()))
  })
}

test('the picture of the README is a drawing', async (t) => {
  t.false(await looksLikePhotograph(fileURLToPath(new URL('../../../models/demo.png', import.meta.url))))
})

test('a picture of one column has nothing side by side', async (t) => {
  t.false(
    await looksLikePhotograph(
      await sharp({ create: { width: 1, height: 9, channels: 3, background: '#888' } })
        .png()
        .toBuffer(),
    ),
  )
})
