// From an RGB picture to pixel_values: worked out in image/, done by native code on libuv's threads.

import type { RgbImage } from '../image/decode.js'
import type { ImageProcessorSpec } from '../image/image-processor.js'
import { pictureRequest } from '../image/picture-request.js'
import type { Job } from './job.js'
import { guarded, guardedNow, native, type NativePicture } from '../native.js'
import { finishInSlices } from '../slices.js'

/** pixel_values [3, S, S] of `image`. */
export async function preprocess(
  image: RgbImage,
  spec: ImageProcessorSpec,
  job: Pick<Job, 'cancellation' | 'check'>,
): Promise<Float32Array> {
  const request = pictureRequest(image, spec)
  const picture = guardedNow(() => new (native().Picture)(image.width, image.height))
  try {
    await finishInSlices(write(image.data, picture), () => {
      job.check()
    })
    return await guarded(() => picture.pixelValues(request, job.cancellation))
  } finally {
    picture.dispose()
  }
}

/** What is copied between two pauses: some tenths of a millisecond. */
const bytesPerStep = 2 ** 20

function* write(data: Uint8Array, picture: NativePicture): Generator<undefined, undefined> {
  for (let from = 0; from < data.length; from += bytesPerStep) {
    guardedNow(() => {
      picture.write(data.subarray(from, from + bytesPerStep))
    })
    yield
  }
}
