// The three ways a model on disk can fail to open, each worded as "which file: what is wrong, and what to do".

import { LlavaError } from '../errors.js'

/** The file contradicts its own format, or itself. */
export function corrupt(where: string, problem: string, cause?: unknown): LlavaError {
  return new LlavaError('MODEL_CORRUPT', `${where}: ${problem}`, { cause })
}

/** The file is sound, but asks for something this package does not compute; `supported` says what it does. */
export function unsupported(where: string, problem: string, supported: string): LlavaError {
  return new LlavaError('MODEL_UNSUPPORTED', `${where}: ${problem}; supported: ${supported}`)
}

/** A file that is needed is not there, or may not be read. */
export function notFound(where: string, problem: string, cause?: unknown): LlavaError {
  return new LlavaError('MODEL_NOT_FOUND', `${where}: ${problem}`, { cause })
}
