// Pillow's bicubic resize as the plainest loop: the canvas is painted, resized across and then down as a whole, and the wanted part is cut out.

import type { RgbImage } from '../../lib/image/decode.js'
import type { PictureRequest } from '../../lib/native.js'

export function plainResize(image: RgbImage, { across, down, side, fill }: PictureRequest): RgbImage {
  const canvas = painted(across.canvas, down.canvas, (x, y, c) => {
    const [u, v] = [x - across.start, y - down.start]
    const inside = u >= 0 && u < image.width && v >= 0 && v < image.height
    return inside ? image.data[(v * image.width + u) * 3 + c]! : fill[c]!
  })
  const whole = turned(resizedAcross(turned(resizedAcross(canvas, across.resized)), down.resized))
  return painted(side, side, (x, y, c) => {
    const [u, v] = [x - across.margin, y - down.margin]
    const inside = u >= 0 && u < across.count && v >= 0 && v < down.count
    return inside ? whole.data[((down.from + v) * whole.width + across.from + u) * 3 + c]! : 0
  })
}

export function painted(width: number, height: number, colour: (x: number, y: number, c: number) => number): RgbImage {
  const data = new Uint8Array(width * height * 3)
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++, at++) data[at] = colour(x, y, c)
  return { width, height, data }
}

export function turned({ width, height, data }: RgbImage): RgbImage {
  return painted(height, width, (x, y, c) => data[(x * width + y) * 3 + c]!)
}

function resizedAcross({ width, height, data }: RgbImage, resized: number): RgbImage {
  const columns = Array.from({ length: resized }, (_, u) => taps(width, resized, u))
  return painted(resized, height, (u, y, c) => {
    const { first, weights } = columns[u]!
    let sum = 2 ** 21
    for (const [i, weight] of weights.entries()) sum += weight * data[(y * width + first + i) * 3 + c]!
    return Math.min(255, Math.max(0, Math.floor(sum / 2 ** 22)))
  })
}

function taps(
  size: number,
  resized: number,
  u: number,
): { readonly first: number; readonly weights: readonly number[] } {
  const scale = size / resized
  const stretch = Math.max(scale, 1)
  const centre = (u + 0.5) * scale
  const first = Math.max(0, Math.trunc(centre - 2 * stretch + 0.5))
  const end = Math.min(size, Math.trunc(centre + 2 * stretch + 0.5))
  const real = Array.from({ length: end - first }, (_, i) => cubic((i + first - centre + 0.5) * (1 / stretch)))
  const sum = real.reduce((total, weight) => total + weight, 0)
  return { first, weights: real.map((weight) => Math.trunc((weight / sum) * 2 ** 22 + (weight < 0 ? -0.5 : 0.5))) }
}

/** Keys' cubic convolution kernel with a = −1/2. */
function cubic(t: number): number {
  const x = Math.abs(t)
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
}
