// pixel_values back to bytes: what the vision tower sees, as a picture.

import type { RgbImage } from './decode.js'
import type { ImageProcessorSpec } from './image-processor.js'

/** [S, S, 3] of pixel_values [3, S, S]: the inverse of normalised-bytes.ts. */
export function seenPicture(pixelValues: Float32Array, { mean, std, rescaleFactor }: ImageProcessorSpec): RgbImage {
  const pixels = pixelValues.length / 3
  const side = Math.sqrt(pixels)
  const data = new Uint8ClampedArray(pixelValues.length)
  for (const channel of [0, 1, 2] as const) {
    for (let at = 0; at < pixels; at++) {
      const value = pixelValues[channel * pixels + at] as number
      data[3 * at + channel] = (value * std[channel] + mean[channel]) / rescaleFactor // rounded, as the array's values are
    }
  }
  return { width: side, height: side, data: new Uint8Array(data.buffer) }
}
