// 8-bit RGB to normalised floats, channel first: y = (f32(x · rescale) − mean) / std.
// The product is float64, rounded to float32; difference and quotient are float32, as Hugging Face computes them. A byte has 256 values, so
// three tables of 256 floats give the same bits without any arithmetic per pixel.

import { type ImageProcessorSpec } from './image-processor.js'

/** rgb [S, S, 3] → [3, S, S]. */
export function pixelValues(
  rgb: Uint8Array,
  spec: Pick<ImageProcessorSpec, 'mean' | 'std' | 'rescaleFactor'>,
): Float32Array {
  const area = rgb.length / 3
  const values = new Float32Array(3 * area)
  for (let channel = 0; channel < 3; channel++) {
    const table = normalisedBytes(spec.rescaleFactor, spec.mean[channel]!, spec.std[channel]!)
    const plane = channel * area
    for (let pixel = 0, source = channel; pixel < area; pixel++, source += 3)
      values[plane + pixel] = table[rgb[source]!]!
  }
  return values
}

/** The normalised value of each byte, [256]. */
function normalisedBytes(rescaleFactor: number, mean: number, std: number): Float32Array {
  const mean32 = Math.fround(mean)
  const std32 = Math.fround(std)
  return Float32Array.from(
    { length: 256 },
    (_, byte) => Math.fround(Math.fround(byte * rescaleFactor) - mean32) / std32,
  )
}
