// `embedMany` of any number of pictures, from a generator, with a CLIP so small that a million take minutes: whether
// resident memory stays flat.

import { CLIP } from '../lib/index.js'
import { clipB32 } from './clip-batches.js'
import { writeClip } from './embed.js'

export interface RawPicturesLine {
  readonly pictures: number
  readonly seconds: number
  readonly picturesPerSecond: number
  readonly residentBytes: number
  /** Of JavaScript objects, and of arrays outside of its heap. */
  readonly heapBytes: number
  readonly arrayBytes: number
}

const side = 32
const tiny = {
  ...clipB32,
  vision: {
    ...clipB32.vision,
    hiddenSize: 32,
    intermediateSize: 64,
    layers: 1,
    heads: 2,
    imageSize: side,
    patchSize: 16,
  },
  projectionDim: 16,
}

function* pictures(count: number) {
  for (let n = 0; n < count; n++)
    yield { width: side, height: side, data: new Uint8Array(3 * side * side).fill(n % 251) }
}

/** A line for each twentieth of the pictures. */
export async function* measureRawPictures(
  directory: string,
  count: number,
  threads?: number,
): AsyncGenerator<RawPicturesLine> {
  using model = await CLIP.open(await writeClip(directory, tiny), threads === undefined ? {} : { threads })
  const every = Math.max(1, Math.floor(count / 20))
  const start = performance.now()
  let done = 0
  for await (const result of model.embedMany(pictures(count))) {
    if ('error' in result) throw new Error(`picture ${result.index} failed`, { cause: result.error })
    if (++done % every !== 0) continue
    const seconds = (performance.now() - start) / 1000
    const { rss, heapUsed, arrayBuffers } = process.memoryUsage()
    const rate = done / seconds
    yield {
      pictures: done,
      seconds,
      picturesPerSecond: rate,
      residentBytes: rss,
      heapBytes: heapUsed,
      arrayBytes: arrayBuffers,
    }
  }
}
