// A word about photographs, which the model that comes with the package does not know.

import { decodeImage } from '../index.js'
import type { ModelFlags } from './flags.js'
import type { Session } from './session.js'

/** Of pixels side by side, the part that is equal: in drawings most of them, in photographs (also as JPEG) few. */
const mostEqual = 0.3

export async function looksLikePhotograph(image: string | Buffer): Promise<boolean> {
  const { data, width, height } = await decodeImage(image)
  let equal = 0
  for (let y = 0; y < height; y++) {
    for (let at = 3 * y * width; at < 3 * (y * width + width - 1); at += 3) {
      if (data[at] === data[at + 3] && data[at + 1] === data[at + 4] && data[at + 2] === data[at + 5]) equal++
    }
  }
  return equal < mostEqual * height * (width - 1)
}

/** Says on a terminal, where no model was named and a picture looks like a photograph, how to open one that knows them. */
export async function remarkOnPhotographs(
  images: readonly (string | Buffer)[],
  flags: ModelFlags,
  session: Session,
): Promise<void> {
  if (flags.model !== undefined || !process.stderr.isTTY) return
  for (const image of images) {
    const remote = typeof image === 'string' && /^https?:/i.test(image) // not fetched again
    if (remote || !(await looksLikePhotograph(image))) continue
    session.remark(
      'this model knows drawings only; for photographs: llava pull llava-1.5-7b, then --model llava-1.5-7b',
    )
    return
  }
}
