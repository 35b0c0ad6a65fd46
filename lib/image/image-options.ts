// How pictures are read, for every call that takes one.

import type { DecodeOptions } from './decode.js'
import { abortSignal, flag, given, wholeNumber, type OptionCheck } from '../options.js'

/** How pictures are read. */
export interface ImageOptions {
  /** Apply the EXIF orientation; default true. */
  readonly autoOrient?: boolean
  /** Most pixels (width × height) a picture may have before it is refused with IMAGE_TOO_LARGE; default 178,956,970. */
  readonly maxPixels?: number
  /** Most bytes a download, a stream, a pipe or a device may have before it is refused with IMAGE_TOO_LARGE; default 64 MiB. */
  readonly maxBytes?: number
  /** Milliseconds these may take; default 30,000. */
  readonly timeoutMs?: number
  /** Lets http and https URLs lead to loopback, link-local and private addresses; default false, as whoever writes the URL would read what is there. */
  readonly allowPrivateNetwork?: boolean
}

/** Those of a call that reads one picture. */
export interface EncodeOptions extends ImageOptions {
  readonly signal?: AbortSignal
}

export const imageChecks = {
  autoOrient: flag,
  maxPixels: wholeNumber(1),
  maxBytes: wholeNumber(1),
  timeoutMs: wholeNumber(1, 2 ** 31 - 1), // of a timer
  allowPrivateNetwork: flag,
} satisfies Record<keyof ImageOptions, OptionCheck>

export const encodeChecks = { ...imageChecks, signal: abortSignal } satisfies Record<keyof EncodeOptions, OptionCheck>

/** What a call says of its pictures, on top of what the model was opened with. */
export function decodeOptions(opened: ImageOptions, call: ImageOptions, signal: AbortSignal): DecodeOptions {
  const { autoOrient, maxPixels, maxBytes, timeoutMs, allowPrivateNetwork } = { ...opened, ...given(call) }
  return { ...given({ autoOrient, maxPixels, maxBytes, timeoutMs, allowPrivateNetwork }), signal }
}
