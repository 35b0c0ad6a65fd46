// The native resize in bytes: its table of values gives each byte as it is.

import type { RgbImage } from '../../lib/image/decode.js'
import { native, type NativePicture, type PictureRequest } from '../../lib/native.js'

export const bytesAsTheyAre = Float32Array.from({ length: 3 * 256 }, (_, i) => i % 256)

export function nativePicture({ width, height, data }: RgbImage): NativePicture {
  const picture = new (native().Picture)(width, height)
  picture.write(data)
  return picture
}

/** The output square of `request` as a picture in bytes. */
export async function nativeResize(image: RgbImage, request: PictureRequest): Promise<RgbImage> {
  const planes = await nativePicture(image).pixelValues({ ...request, values: bytesAsTheyAre }, null)
  const { side } = request
  const data = Uint8Array.from(
    { length: 3 * side * side },
    (_, i) => planes[(i % 3) * side * side + Math.trunc(i / 3)]!,
  )
  return { width: side, height: side, data }
}
