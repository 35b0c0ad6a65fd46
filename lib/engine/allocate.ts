// Arrays that may be larger than there is memory for.

import { LlavaError } from '../errors.js'

/** A Float32Array that may be large. */
export function allocate(length: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(length)
  } catch (cause) {
    throw new LlavaError('OUT_OF_MEMORY', `${length * 4} bytes for the result could not be allocated`, { cause })
  }
}
