// An RGB picture as the vision tower takes it: Hugging Face's CLIPImageProcessor (crop), LlavaImageProcessor with do_pad (pad)
// and SiglipImageProcessor (stretch), PIL back end.
//   pad:  square canvas of side max(w, h) in trunc(255 · mean), the picture in its middle (an odd row or column goes to the bottom or right)
//   all:  bicubic, shorter edge to `shortestEdge` (stretch: both edges to S); centre crop S × S (offsets floored; where the picture is smaller, zeros); rescale; normalise

import { LlavaError } from '../errors.js'
import { type RgbImage } from './decode.js'
import { type ImageProcessorSpec } from './image-processor.js'
import { pixelValues } from './pixel-values.js'
import { type Canvas, resizeBicubic, type ResizedWindow } from './resize.js'
import { finish, finishInSlices } from '../slices.js'

/** Above this side the resize weights, of 22 bits, come too near to zero to be of use, and their table grows beyond 64 MB. */
const maxSide = 2 ** 22

/** pixel_values [3, S, S] of `image`. */
export function preprocess(image: RgbImage, spec: ImageProcessorSpec): Float32Array {
  return pixelValues(resizedSquare(image, spec).data, spec)
}

/** The same in slices of a few milliseconds, between which other work gets its turn; `check` may throw there to stop it. */
export async function preprocessInSlices(
  image: RgbImage,
  spec: ImageProcessorSpec,
  check?: () => void,
): Promise<Float32Array> {
  return pixelValues((await finishInSlices(squareSteps(image, spec), check)).data, spec)
}

/** The 8-bit S × S picture before rescale and normalise. */
export function resizedSquare(image: RgbImage, spec: ImageProcessorSpec): RgbImage {
  return finish(squareSteps(image, spec))
}

function* squareSteps(image: RgbImage, spec: ImageProcessorSpec): Generator<undefined, RgbImage> {
  if (Math.max(image.width, image.height) > maxSide) {
    throw new LlavaError(
      'IMAGE_TOO_LARGE',
      `the picture is ${image.width} × ${image.height} pixels; its sides may have ${maxSide} at most`,
    )
  }
  const canvas = spec.aspectRatio === 'pad' ? squareCanvas(image, spec.mean) : bareCanvas(image)
  const [width, height] =
    spec.aspectRatio === 'stretch' ? [spec.imageSize, spec.imageSize] : resizedSize(canvas, spec.shortestEdge)
  const columns = centred(width, spec.imageSize)
  const rows = centred(height, spec.imageSize)
  const window = {
    width,
    height,
    left: columns.from,
    top: rows.from,
    columns: columns.length,
    rows: rows.length,
  } satisfies ResizedWindow
  return onZeros(yield* resizeBicubic(image, canvas, window), columns.margin, rows.margin, spec.imageSize)
}

function squareCanvas({ width, height }: RgbImage, mean: ImageProcessorSpec['mean']): Canvas {
  const side = Math.max(width, height)
  const fill = [Math.trunc(255 * mean[0]), Math.trunc(255 * mean[1]), Math.trunc(255 * mean[2])] as const
  return { width: side, height: side, left: Math.floor((side - width) / 2), top: Math.floor((side - height) / 2), fill }
}

function bareCanvas({ width, height }: RgbImage): Canvas {
  return { width, height, left: 0, top: 0, fill: [0, 0, 0] }
}

/** [width, height] with the shorter edge at `shortestEdge` and the longer one truncated. */
function resizedSize({ width, height }: Canvas, shortestEdge: number): readonly [number, number] {
  return width <= height
    ? [shortestEdge, Math.trunc((shortestEdge * height) / width)]
    : [Math.trunc((shortestEdge * width) / height), shortestEdge]
}

/** One axis of the centre crop: samples [from, from + length) of `size` go to `margin` and on in the crop. */
function centred(
  size: number,
  crop: number,
): { readonly from: number; readonly length: number; readonly margin: number } {
  const offset = Math.floor((size - crop) / 2)
  return offset >= 0 ? { from: offset, length: crop, margin: 0 } : { from: 0, length: size, margin: -offset }
}

function onZeros(image: RgbImage, left: number, top: number, side: number): RgbImage {
  if (image.width === side && image.height === side) return image
  const data = new Uint8Array(side * side * 3)
  for (let y = 0; y < image.height; y++) {
    data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), ((y + top) * side + left) * 3)
  }
  return { width: side, height: side, data }
}
