// Preprocessing against checksums that Pillow and Hugging Face's processors (PIL back end) gave for pictures made by a formula.

import { crc32 } from 'node:zlib'
import test from 'ava'
import { type RgbImage } from '../../lib/image/decode.js'
import { type ImageProcessorSpec } from '../../lib/image/image-processor.js'
import { pictureRequest } from '../../lib/image/picture-request.js'
import { LlavaError } from '../../lib/errors.js'
import { Job } from '../../lib/engine/job.js'
import { newCancellation } from '../../lib/native.js'
import { preprocess } from '../../lib/engine/preprocess.js'
import { nativePicture, nativeResize } from '../image/native-resize.js'

const job = (): Job => new Job(undefined, newCancellation())
const valuesOf = (image: RgbImage, spec: ImageProcessorSpec): Promise<Float32Array> => preprocess(image, spec, job())
/** The 8-bit S × S picture before rescale and normalise. */
const resizedSquare = (image: RgbImage, spec: ImageProcessorSpec): Promise<RgbImage> =>
  nativeResize(image, pictureRequest(image, spec))

const pad: ImageProcessorSpec = {
  imageSize: 336,
  aspectRatio: 'pad',
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  rescaleFactor: 0.00392156862745098,
  shortestEdge: 336,
}
const crop: ImageProcessorSpec = { ...pad, aspectRatio: 'crop' }
const stretch: ImageProcessorSpec = { ...pad, aspectRatio: 'stretch' }

type Formula = (x: number, y: number, c: number) => number
const f1: Formula = (x, y, c) => 37 * x + 91 * y + 11 * c
const f2: Formula = (x, y, c) => 3 * x + 5 * y + 7 * c + Math.floor((x * y) / 16)

function picture(width: number, height: number, formula: Formula): RgbImage {
  const data = new Uint8Array(width * height * 3)
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++, at++) data[at] = formula(x, y, c)
  return { width, height, data }
}

const pixel = ({ width, data }: RgbImage, y: number, x: number): number[] => [
  ...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
]

/** The golden values: 8-bit squares, some pixels [y, x] of them, and the normalised tensor of mode pad. */
const golden = [
  {
    name: 'A',
    image: picture(5, 7, f1),
    padCrc: 0x555f813b,
    cropCrc: 0x47855be6,
    stretchCrc: 0x41737892,
    padSum: 39826037,
    tensorCrc: 0xcff23fd3,
    padPixels: [
      [138, 130, 115],
      [33, 45, 57],
      [105, 102, 94],
    ],
    cropPixel: [54, 65, 76],
    floats: [-1.3105145, -1.0767475, -0.669676],
  },
  {
    name: 'B',
    image: picture(640, 480, f2),
    padCrc: 0x4a4f4dfa,
    cropCrc: 0xc09dd76f,
    stretchCrc: 0x1b84cf83,
    padSum: 42041661,
    tensorCrc: 0xc2741d2b,
    padPixels: [
      [122, 116, 104],
      [134, 42, 48],
      [181, 188, 198],
    ],
    cropPixel: [72, 79, 86],
    floats: [0.16392669, -1.1217709, -0.7976566],
  },
  {
    name: 'C',
    image: picture(480, 641, f2),
    padCrc: 0xec4f1b23,
    cropCrc: 0xbbef8d62,
    stretchCrc: 0xc8980e9d,
    padSum: 42037226,
    tensorCrc: 0x8122002a,
    padPixels: [
      [122, 116, 104],
      [38, 50, 62],
      [122, 116, 104],
    ],
    cropPixel: [34, 33, 13],
  },
  {
    name: 'D',
    image: picture(336, 336, f2),
    padCrc: 0x5ca9474e,
    cropCrc: 0x5ca9474e,
    stretchCrc: 0x5ca9474e,
    padSum: 43183540,
    tensorCrc: 0x2b8ef84f,
    padPixels: [
      [0, 7, 14],
      [130, 137, 144],
      [18, 25, 32],
    ],
    cropPixel: [130, 137, 144],
    floats: [0.10553299, 0.3039672, 0.56746984],
  },
  {
    name: 'E',
    image: picture(1001, 333, f2),
    padCrc: 0xb51769af,
    cropCrc: 0xffe20996,
    stretchCrc: 0x4512d1b0,
    padSum: 40130396,
    tensorCrc: 0xbd2734e8,
    padPixels: [
      [122, 116, 104],
      [193, 204, 202],
      [116, 125, 135],
    ],
    cropPixel: [207, 230, 237],
  },
]

for (const { name, image, padCrc, cropCrc, stretchCrc, padSum, tensorCrc, padPixels, cropPixel, floats } of golden) {
  test(`picture ${name}, ${image.width} × ${image.height}, padded, equals Pillow byte for byte`, async (t) => {
    const square = await resizedSquare(image, pad)
    t.deepEqual([pixel(square, 0, 0), pixel(square, 167, 100), pixel(square, 200, 300)], padPixels)
    t.is(
      square.data.reduce((sum, value) => sum + value, 0),
      padSum,
    )
    t.is(crc32(square.data), padCrc)
  })

  test(`picture ${name}, cropped, equals Pillow byte for byte`, async (t) => {
    const square = await resizedSquare(image, crop)
    t.deepEqual(pixel(square, 167, 100), cropPixel)
    t.is(crc32(square.data), cropCrc)
  })

  test(`picture ${name}, stretched, equals Pillow byte for byte`, async (t) => {
    t.is(crc32((await resizedSquare(image, stretch)).data), stretchCrc)
  })

  test(`picture ${name}, padded and normalised, equals Hugging Face bit for bit`, async (t) => {
    const values = await valuesOf(image, pad)
    if (floats !== undefined)
      t.deepEqual(
        [0, 1, 2].map((c) => values[(c * 336 + 167) * 336 + 100]),
        floats.map(Math.fround),
      )
    t.is(crc32(new Uint8Array(values.buffer)), tensorCrc)
  })
}

// Normalised tensors of CLIPImageProcessorPil and LlavaImageProcessorPil (do_pad), transformers 5.23.0, Pillow 13.0.0
for (const { width, height, shortestEdge, imageSize, padCrc, cropCrc } of [
  { width: 1, height: 1, shortestEdge: 336, imageSize: 336, padCrc: 0x042223cd, cropCrc: 0x042223cd },
  { width: 1, height: 1000, shortestEdge: 336, imageSize: 336, padCrc: 0xdebbf147, cropCrc: 0x85a99c82 },
  { width: 1000, height: 1, shortestEdge: 336, imageSize: 336, padCrc: 0x9ad94b6e, cropCrc: 0x89948990 },
  { width: 337, height: 336, shortestEdge: 336, imageSize: 336, padCrc: 0xb2c4f6fd, cropCrc: 0x2b8ef84f },
  { width: 336, height: 337, shortestEdge: 336, imageSize: 336, padCrc: 0x7876b02e, cropCrc: 0x2b8ef84f },
  { width: 335, height: 900, shortestEdge: 336, imageSize: 336, padCrc: 0xa50c24a8, cropCrc: 0x104acc1f },
  { width: 1600, height: 1200, shortestEdge: 336, imageSize: 336, padCrc: 0x1270d1c8, cropCrc: 0x1b806289 },
  { width: 73, height: 51, shortestEdge: 224, imageSize: 224, padCrc: 0x1b2d186c, cropCrc: 0xe0adac46 },
  { width: 73, height: 51, shortestEdge: 256, imageSize: 224, padCrc: 0x2023d76d, cropCrc: 0xa03aa4e5 },
  { width: 73, height: 51, shortestEdge: 40, imageSize: 56, padCrc: 0xde8bf631, cropCrc: 0xeb734f6c },
  { width: 51, height: 73, shortestEdge: 41, imageSize: 56, padCrc: 0xf11d3e0d, cropCrc: 0xb2c3f0c6 },
]) {
  test(`a picture of ${width} × ${height} at shortest edge ${shortestEdge}, crop ${imageSize}, equals Hugging Face in both modes`, async (t) => {
    const image = picture(width, height, f2)
    t.is(crc32(new Uint8Array((await valuesOf(image, { ...pad, shortestEdge, imageSize })).buffer)), padCrc)
    t.is(crc32(new Uint8Array((await valuesOf(image, { ...crop, shortestEdge, imageSize })).buffer)), cropCrc)
  })
}

test('padding a picture equals painting it on a canvas first', async (t) => {
  for (const [width, height] of [
    [1, 400],
    [400, 1],
    [37, 38],
    [38, 37],
    [3, 700],
    [701, 2],
  ] as const) {
    const image = picture(width, height, f1)
    const side = Math.max(width, height)
    const left = Math.floor((side - width) / 2)
    const top = Math.floor((side - height) / 2)
    const painted = picture(side, side, (x, y, c) => {
      const inside = x >= left && x < left + width && y >= top && y < top + height
      return inside ? f1(x - left, y - top, c) : [122, 116, 104][c]!
    })
    t.deepEqual(await resizedSquare(image, pad), await resizedSquare(painted, crop))
  }
})

test('a very wide picture and a very high one on a canvas of their own colour are all in that colour', async (t) => {
  const grey = 200
  const mean = [(grey + 0.5) / 255, (grey + 0.5) / 255, (grey + 0.5) / 255] as const
  for (const [width, height] of [
    [40_000, 200],
    [200, 40_000],
  ] as const) {
    // in 8 columns each of them sees so many pixels of a row that the row is not done in one step
    const small = { ...pad, mean, imageSize: 8, shortestEdge: 8 }
    const square = await resizedSquare({ width, height, data: new Uint8Array(3 * width * height).fill(grey) }, small)
    t.true(square.data.every((value) => value === grey))
  }
})

test('a picture in one colour stays in that colour, whatever its size', async (t) => {
  for (const [width, height] of [
    [1, 1],
    [2, 1],
    [335, 337],
    [1000, 1001],
    [5000, 3],
  ] as const) {
    const square = await resizedSquare(
      picture(width, height, (_x, _y, c) => 40 + 80 * c),
      crop,
    )
    t.true(square.data.every((value, i) => value === 40 + 80 * (i % 3)))
  }
})

// serial: what others hold meanwhile would count
test.serial(
  'a line of as many pixels as may be costs neither memory nor time beyond its own size in either mode',
  async (t) => {
    const side = 2 ** 22
    for (const [width, height] of [
      [1, side],
      [side, 1],
    ] as const) {
      const image = { width, height, data: new Uint8Array(3 * side).fill(200) }
      for (const spec of [pad, crop]) {
        const before = process.resourceUsage().maxRSS * 1024
        t.is((await valuesOf(image, spec)).length, 3 * 336 * 336)
        // the copy of the picture; the taps of the long axis, 4 per source pixel, 4 bytes each; the crop is 1 MB, in three forms
        t.true(process.resourceUsage().maxRSS * 1024 - before < (3 + 16) * side + 32 * 2 ** 20)
      }
    }
  },
)

test('a picture with a side beyond what 22-bit weights can hold is refused as too large', async (t) => {
  const error = await t.throwsAsync(valuesOf({ width: 2 ** 22 + 1, height: 1, data: new Uint8Array(0) }, pad), {
    instanceOf: LlavaError,
  })
  t.is(error.code, 'IMAGE_TOO_LARGE')
})

test('preprocessing leaves the picture as it was and gives the same answer twice', async (t) => {
  const image = picture(50, 31, f1)
  const first = await valuesOf(image, pad)
  t.deepEqual(image, picture(50, 31, f1))
  t.deepEqual(await valuesOf(image, pad), first)
})

test.serial(
  'a picture of 12 megapixels lets others have their turn, while it is copied and while it is resized',
  async (t) => {
    const large = picture(4000, 3000, f1)
    let turns = 0
    let over = false
    const turn = () => {
      turns++
      if (!over) setImmediate(turn)
    }
    const native = nativePicture(large)
    setImmediate(turn)
    // were it done in the call itself, nobody would have a turn before it is over
    try {
      await native.pixelValues(pictureRequest(large, pad), null)
      t.true(turns > 0, `${turns} turns while it was resized`)
      turns = 0
      await valuesOf(large, pad)
      t.true(turns > 0, `${turns} turns`)
    } finally {
      over = true
    }
  },
)

test('a call that is to stop stops while its picture is copied', async (t) => {
  const stopped = job()
  const work = preprocess(picture(4000, 3000, f1), pad, stopped)
  stopped.stop(() => new LlavaError('ABORTED', 'enough'))
  await t.throwsAsync(work, { code: 'ABORTED' })
})

test('a picture that lacks pixels is refused', async (t) => {
  await t.throwsAsync(valuesOf({ width: 4, height: 4, data: new Uint8Array(47) }, pad), { code: 'INVALID_ARGUMENT' })
})
