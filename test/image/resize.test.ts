// The resize on its own: known weights, windows, and the identity.

import test from 'ava'
import fc from 'fast-check'
import { type RgbImage } from '../../lib/image/decode.js'
import { resizeBicubic } from '../../lib/image/resize.js'
import { finish } from '../../lib/slices.js'

function resize(
  image: RgbImage,
  width: number,
  height: number,
  window = { left: 0, top: 0, columns: width, rows: height },
): RgbImage {
  return finish(
    resizeBicubic(
      image,
      { width: image.width, height: image.height, left: 0, top: 0, fill: [0, 0, 0] },
      { width, height, ...window },
    ),
  )
}

/** A row that is black but for one white pixel. */
function impulse(width: number, at: number): RgbImage {
  const data = new Uint8Array(width * 3)
  data.fill(255, at * 3, at * 3 + 3)
  return { width, height: 1, data }
}

// [from, to, output, first source sample, weights]: Pillow's, to six digits
for (const [from, to, output, first, weights] of [
  [640, 336, 0, 0, [0.493854, 0.465723, 0.086613, -0.041609, -0.00458]],
  [640, 336, 100, 188, [-0.030159, -0.003197, 0.30409, 0.522811, 0.249691, -0.019111, -0.024125]],
  [200, 336, 0, 0, [1.076126, -0.076126]],
  [200, 336, 10, 4, [-0.023438, 0.226562, 0.867188, -0.070312]],
] as const) {
  test(`output ${output} of ${from} to ${to} samples sees source samples ${first} and on with Pillow's weights`, (t) => {
    const seen = Array.from({ length: from }, (_, at) => resize(impulse(from, at), to, 1).data[output * 3]!)
    const expected = Array.from({ length: from }, (_, at) =>
      Math.min(255, Math.max(0, Math.round(255 * (weights[at - first] ?? 0)))),
    )
    t.deepEqual(seen, expected)
  })
}

const pictures = fc
  .record({ width: fc.integer({ min: 1, max: 40 }), height: fc.integer({ min: 1, max: 40 }) })
  .chain(({ width, height }) =>
    fc
      .uint8Array({ minLength: width * height * 3, maxLength: width * height * 3 })
      .map((data): RgbImage => ({ width, height, data })),
  )

test('a picture resized to its own size is itself', (t) => {
  t.notThrows(() => {
    fc.assert(
      fc.property(pictures, (image) => Buffer.from(resize(image, image.width, image.height).data).equals(image.data)),
    )
  })
})

test('a window of the resized picture equals that part of the whole', (t) => {
  const sizes = fc.record({
    width: fc.integer({ min: 3, max: 60 }),
    height: fc.integer({ min: 3, max: 60 }),
    left: fc.nat(1),
    top: fc.nat(2),
  })
  const part = ({ width, data }: RgbImage, left: number, top: number, columns: number, rows: number) =>
    Array.from({ length: rows }, (_, y) => [
      ...data.subarray(((top + y) * width + left) * 3, ((top + y) * width + left + columns) * 3),
    ]).flat()
  t.notThrows(() => {
    fc.assert(
      fc.property(pictures, sizes, (image, { width, height, left, top }) => {
        const window = { left, top, columns: width - left - 1, rows: height - top }
        const whole = part(resize(image, width, height), left, top, window.columns, window.rows)
        return Buffer.from(resize(image, width, height, window).data).equals(Buffer.from(whole))
      }),
    )
  })
})

test('turning a picture by its diagonal before or after a resize along one axis is the same', (t) => {
  const turn = ({ width, height, data }: RgbImage): RgbImage => ({
    width: height,
    height: width,
    data: Uint8Array.from(
      data,
      (_, i) => data[((Math.trunc(i / 3) % height) * width + Math.trunc(Math.trunc(i / 3) / height)) * 3 + (i % 3)]!,
    ),
  })
  t.notThrows(() => {
    fc.assert(
      fc.property(pictures, fc.integer({ min: 1, max: 60 }), (image, size) =>
        Buffer.from(turn(resize(image, size, image.height)).data).equals(resize(turn(image), image.height, size).data),
      ),
    )
  })
})
