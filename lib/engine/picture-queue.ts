// Pictures on their way from wherever they are to a tower: load → decode → resize → tower. As many are under way at once as keep the tower busy; the others
// wait as what the caller gave, a path mostly, so that memory does not grow with their number.

import pLimit from 'p-limit'
import type { Job } from './job.js'
import { loadImage, type DecodeOptions, type ImageInput, type RgbImage } from '../image/decode.js'
import type { ImageProcessorSpec } from '../image/image-processor.js'
import { preprocess } from './preprocess.js'

/** Between loading and the end of the tower: two of its batches. */
const mostUnderWay = 32

/** Being decoded or resized at once, in the whole process: libuv's threads do both, and there are four. */
const decoding = pLimit(4)

/** Loads a picture and gives what decodes it. What the caller may change has been copied, or is being so, since the picture was taken. */
export type TakenPicture = () => Promise<() => Promise<RgbImage>>

/** To be called where the caller's call begins. */
export function takePicture(image: ImageInput, options: DecodeOptions, job: Job): TakenPicture {
  if (typeof image === 'string' || image instanceof URL) return () => loadImage(image, options)
  const loading = job.race(loadImage(image, options))
  loading.catch(() => undefined) // heard where it is waited for
  return () => loading
}

export class PictureQueue {
  readonly #underWay = pLimit(mostUnderWay)

  /**
   * Gives the pixel_values [3, S, S] of a picture to `encode` and resolves to what comes of it. `late` receives a result that nobody waits for any more.
   */
  async through<T>(
    picture: TakenPicture,
    processor: ImageProcessorSpec,
    job: Job,
    encode: (pixelValues: Float32Array) => Promise<T>,
    late?: (result: T) => void,
  ): Promise<T> {
    const work = this.#underWay(async () => {
      job.check()
      const decode = await picture()
      const pixelValues = await decoding(async () => {
        job.check()
        return preprocess(await decode(), processor, job)
      })
      return encode(pixelValues)
    })
    return job.race(work, late)
  }
}
