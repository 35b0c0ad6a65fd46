// How an RGB picture becomes what the vision tower takes: Hugging Face's CLIPImageProcessor (crop), LlavaImageProcessor with do_pad (pad)
// and SiglipImageProcessor (stretch), PIL back end.
//   pad:  square canvas of side max(w, h) in trunc(255 · mean), the picture in its middle (an odd row or column goes to the bottom or right)
//   all:  bicubic, shorter edge to `shortestEdge` (stretch: both edges to S); centre crop S × S (offsets floored; where the picture is smaller, zeros); rescale; normalise

import { LlavaError } from '../errors.js'
import type { PictureAxis, PictureRequest } from '../native.js'
import { type RgbImage } from './decode.js'
import { type ImageProcessorSpec } from './image-processor.js'
import { normalisedBytes } from './normalised-bytes.js'

/** Above this side the resize weights, of 22 bits, come too near to zero to be of use, and their table grows beyond 64 MB. */
const maxSide = 2 ** 22

type Size = Pick<RgbImage, 'width' | 'height'>

/** What native code is asked for, to make pixel_values [3, S, S] of a picture of this size. */
export function pictureRequest({ width, height }: Size, spec: ImageProcessorSpec): PictureRequest {
  if (Math.max(width, height) > maxSide) {
    throw new LlavaError(
      'IMAGE_TOO_LARGE',
      `the picture is ${width} × ${height} pixels; its sides may have ${maxSide} at most`,
    )
  }
  const { imageSize: side, aspectRatio } = spec
  const longest = Math.max(width, height)
  const canvas = aspectRatio === 'pad' ? { width: longest, height: longest } : { width, height }
  const resized = aspectRatio === 'stretch' ? { width: side, height: side } : resizedSize(canvas, spec.shortestEdge)
  return {
    across: axis(width, canvas.width, resized.width, side),
    down: axis(height, canvas.height, resized.height, side),
    side,
    fill: meanColour(spec),
    values: normalisedBytes(spec),
  }
}

/** The processor's mean colour, in bytes. */
export function meanColour({ mean }: Pick<ImageProcessorSpec, 'mean'>): readonly [number, number, number] {
  return [Math.trunc(255 * mean[0]), Math.trunc(255 * mean[1]), Math.trunc(255 * mean[2])]
}

/** The shorter edge at `shortestEdge` and the longer one truncated. */
function resizedSize({ width, height }: Size, shortestEdge: number): Size {
  return width <= height
    ? { width: shortestEdge, height: Math.trunc((shortestEdge * height) / width) }
    : { width: Math.trunc((shortestEdge * width) / height), height: shortestEdge }
}

/** The picture in the middle of its canvas, and the middle of what that becomes. */
function axis(size: number, canvas: number, resized: number, side: number): PictureAxis {
  const offset = Math.floor((resized - side) / 2)
  const cut = offset >= 0 ? { from: offset, count: side, margin: 0 } : { from: 0, count: resized, margin: -offset }
  return { canvas, start: Math.floor((canvas - size) / 2), resized, ...cut }
}
