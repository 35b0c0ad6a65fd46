// The resize on its own: known weights, windows, and the identity.

import test from 'ava'
import fc from 'fast-check'
import { type RgbImage } from '../../lib/image/decode.js'
import type { PictureAxis } from '../../lib/native.js'
import { bytesAsTheyAre, nativeResize } from './native-resize.js'
import { plainResize, turned } from './plain-resize.js'

async function resize(
  image: RgbImage,
  width: number,
  height: number,
  { left, top, columns, rows } = { left: 0, top: 0, columns: width, rows: height },
): Promise<RgbImage> {
  const side = Math.max(columns, rows)
  const across = { canvas: image.width, start: 0, resized: width, from: left, count: columns, margin: 0 }
  const down = { canvas: image.height, start: 0, resized: height, from: top, count: rows, margin: 0 }
  const { data } = await nativeResize(image, { across, down, side, fill: [0, 0, 0], values: bytesAsTheyAre })
  return part({ width: side, height: side, data }, 0, 0, columns, rows)
}

function part({ width, data }: RgbImage, left: number, top: number, columns: number, rows: number): RgbImage {
  const lines = Array.from({ length: rows }, (_, y) =>
    data.subarray(((top + y) * width + left) * 3, ((top + y) * width + left + columns) * 3),
  )
  return { width: columns, height: rows, data: new Uint8Array(Buffer.concat(lines)) }
}

const same = (one: RgbImage, other: RgbImage): boolean => Buffer.from(one.data).equals(other.data)

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
  test(`output ${output} of ${from} to ${to} samples sees source samples ${first} and on with Pillow's weights`, async (t) => {
    const all = Array.from(
      { length: from },
      async (_, at) => (await resize(impulse(from, at), to, 1)).data[output * 3]!,
    )
    const expected = Array.from({ length: from }, (_, at) =>
      Math.min(255, Math.max(0, Math.round(255 * (weights[at - first] ?? 0)))),
    )
    t.deepEqual(await Promise.all(all), expected)
  })
}

const pictures = fc
  .record({ width: fc.integer({ min: 1, max: 40 }), height: fc.integer({ min: 1, max: 40 }) })
  .chain(({ width, height }) =>
    fc
      .uint8Array({ minLength: width * height * 3, maxLength: width * height * 3 })
      .map((data): RgbImage => ({ width, height, data })),
  )

test('a picture resized to its own size is itself', async (t) => {
  await t.notThrowsAsync(
    fc.assert(fc.asyncProperty(pictures, async (image) => same(await resize(image, image.width, image.height), image))),
  )
})

test('a window of the resized picture equals that part of the whole', async (t) => {
  const sizes = fc.record({
    width: fc.integer({ min: 3, max: 60 }),
    height: fc.integer({ min: 3, max: 60 }),
    left: fc.nat(1),
    top: fc.nat(2),
  })
  await t.notThrowsAsync(
    fc.assert(
      fc.asyncProperty(pictures, sizes, async (image, { width, height, left, top }) => {
        const window = { left, top, columns: width - left - 1, rows: height - top }
        const whole = part(await resize(image, width, height), left, top, window.columns, window.rows)
        return same(await resize(image, width, height, window), whole)
      }),
    ),
  )
})

test('turning a picture by its diagonal before or after a resize along one axis is the same', async (t) => {
  await t.notThrowsAsync(
    fc.assert(
      fc.asyncProperty(pictures, fc.integer({ min: 1, max: 60 }), async (image, size) =>
        same(turned(await resize(image, size, image.height)), await resize(turned(image), image.height, size)),
      ),
    ),
  )
})

/** A part of a resized canvas somewhere in an output of `side`, and a picture of `size` somewhere on that canvas. */
const axes = (size: number, side: number): fc.Arbitrary<PictureAxis> =>
  fc
    .record({ more: fc.oneof(fc.constant(0), fc.nat(40)), resized: fc.integer({ min: 1, max: 70 }) })
    .chain(({ more, resized }) =>
      fc.record({
        canvas: fc.constant(size + more),
        start: fc.nat(more),
        resized: fc.constant(resized),
        count: fc.integer({ min: 1, max: Math.min(resized, side) }),
        seed: fc.nat(),
      }),
    )
    .map(({ canvas, start, resized, count, seed }) => ({
      canvas,
      start,
      resized,
      count,
      from: seed % (resized - count + 1),
      margin: seed % (side - count + 1),
    }))

const resizes = fc
  .record({
    image: pictures,
    side: fc.integer({ min: 1, max: 50 }),
    fill: fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255)),
  })
  .chain(({ image, side, fill }) =>
    fc.record({
      image: fc.constant(image),
      request: fc.record({
        across: axes(image.width, side),
        down: axes(image.height, side),
        side: fc.constant(side),
        fill: fc.constant(fill),
        values: fc.constant(bytesAsTheyAre),
      }),
    }),
  )

test('a part of a picture on a canvas, resized, equals the plainest loop byte for byte', async (t) => {
  await t.notThrowsAsync(
    fc.assert(
      fc.asyncProperty(resizes, async ({ image, request }) =>
        same(await nativeResize(image, request), plainResize(image, request)),
      ),
      { numRuns: 300 },
    ),
  )
})

test('a picture large enough for several threads equals the plainest loop, also beside many others', async (t) => {
  const noise = (width: number, height: number): RgbImage => ({
    width,
    height,
    data: Uint8Array.from({ length: 3 * width * height }, (_, i) => ((i * 7919) >> 3) ^ (i >> 9)),
  })
  for (const [width, height] of [
    [900, 700],
    [300, 1200],
  ] as const) {
    const image = noise(width, height)
    const side = 48
    const axis = (size: number): PictureAxis => ({
      canvas: 1200,
      start: Math.floor((1200 - size) / 2),
      resized: side,
      from: 0,
      count: side,
      margin: 0,
    })
    const request = { across: axis(width), down: axis(height), side, fill: [1, 2, 3], values: bytesAsTheyAre } as const
    const expected = plainResize(image, request)
    for (const one of await Promise.all(Array.from({ length: 12 }, () => nativeResize(image, request))))
      t.true(same(one, expected))
  }
})
