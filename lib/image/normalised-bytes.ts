// 8-bit RGB to normalised floats: y = (f32(x · rescale) − mean) / std.
// The product is float64, rounded to float32; difference and quotient are float32, as Hugging Face computes them. A byte has 256 values, so
// three tables of 256 floats give the same bits without any arithmetic per pixel.

import { type ImageProcessorSpec } from './image-processor.js'

/** The value of each byte in each channel, [3, 256]. */
export function normalisedBytes({
  mean,
  std,
  rescaleFactor,
}: Pick<ImageProcessorSpec, 'mean' | 'std' | 'rescaleFactor'>): Float32Array {
  const values = new Float32Array(3 * 256)
  for (let channel = 0; channel < 3; channel++) {
    const mean32 = Math.fround(mean[channel]!)
    const std32 = Math.fround(std[channel]!)
    for (let byte = 0; byte < 256; byte++)
      values[256 * channel + byte] = Math.fround(Math.fround(byte * rescaleFactor) - mean32) / std32
  }
  return values
}
