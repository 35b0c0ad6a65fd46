// Pictures on their way from wherever they are to a tower: load → decode → resize → tower. As many are under way at once as keep the tower busy; the others
// wait as what the caller gave, a path mostly, so that memory does not grow with their number.

import pLimit from 'p-limit'
import type { Job } from './engine/job.js'
import { loadImage, type DecodeOptions, type ImageInput } from './image/decode.js'
import type { ImageProcessorSpec } from './image/image-processor.js'
import { preprocess } from './preprocess.js'

/** Between loading and the end of the tower: two of its batches. */
const mostUnderWay = 32

/** Being decoded or resized at once, in the whole process: libuv's threads do both, and there are four. */
const decoding = pLimit(4)

export class PictureQueue {
  readonly #underWay = pLimit(mostUnderWay)

  /**
   * Gives the pixel_values [3, S, S] of a picture to `encode` and resolves to what comes of it. What the caller may change is copied at the call. `late` receives
   * a result that nobody waits for any more.
   */
  async through<T>(
    image: ImageInput,
    processor: ImageProcessorSpec,
    options: DecodeOptions,
    job: Job,
    encode: (pixelValues: Float32Array) => Promise<T>,
    late?: (result: T) => void,
  ): Promise<T> {
    const isElsewhere = typeof image === 'string' || image instanceof URL
    const loaded = isElsewhere ? undefined : await job.race(loadImage(image, options))
    const work = this.#underWay(async () => {
      job.check()
      const decode = loaded ?? (await loadImage(image, options))
      const pixelValues = await decoding(async () => {
        job.check()
        return preprocess(await decode(), processor, job)
      })
      return encode(pixelValues)
    })
    return job.race(work, late)
  }
}
