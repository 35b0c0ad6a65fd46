// What a conversation lends to the answers it asks for.

import type { EncodedImage } from '../engine/encoded-image.js'
import type { PrefixCache } from '../engine/prefix-cache.js'
import type { ImageInput } from '../image/decode.js'

export interface Past {
  readonly cache: PrefixCache
  /** The prompt goes on from all turns: what was computed of it is of use even if it gets no answer. */
  readonly continues: boolean
  /**
   * The prompt's pictures in order, as the conversation keeps them; `encode` does it for those that it has not seen.
   */
  pictures(encode: (image: ImageInput) => Promise<EncodedImage>): Promise<readonly EncodedImage[]>
}
