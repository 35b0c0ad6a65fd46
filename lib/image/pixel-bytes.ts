// Back from pixel_values to the 8-bit picture that they were made of, for those who want to see what a tower sees.

import type { RgbImage } from './decode.js'
import type { ImageProcessorSpec } from './image-processor.js'

/** pixel_values [3, S, S] as RGB [S, S, 3]; exact, as `normalisedBytes` keeps the bytes of a channel far apart. */
export function pixelBytes(
  pixelValues: Float32Array,
  { imageSize: side, mean, std, rescaleFactor }: ImageProcessorSpec,
): RgbImage {
  const data = new Uint8Array(side * side * 3)
  for (let channel = 0; channel < 3; channel++)
    for (let at = 0; at < side * side; at++)
      data[3 * at + channel] = Math.round(
        (pixelValues[channel * side * side + at]! * std[channel]! + mean[channel]!) / rescaleFactor,
      )
  return { width: side, height: side, data }
}
