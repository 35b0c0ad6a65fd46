// Every error this package throws on purpose: a stable code, a sentence that says what to do, and the cause.

/** The stable codes; docs/troubleshoot.md lists what each one means. */
export type LlavaErrorCode =
  | 'INVALID_ARGUMENT'
  | 'MODEL_NOT_FOUND'
  | 'MODEL_CORRUPT'
  | 'MODEL_UNSUPPORTED'
  | 'IMAGE_UNREADABLE'
  | 'IMAGE_TOO_LARGE'
  | 'CONTEXT_OVERFLOW'
  | 'ACCESS_DENIED'
  | 'DOWNLOAD_FAILED'
  | 'BUSY'
  | 'OVERLOADED'
  | 'DISPOSED'
  | 'ABORTED'
  | 'OUT_OF_MEMORY'
  | 'DEVICE_UNAVAILABLE'
  | 'DEVICE_FAILED'
  | 'NATIVE_UNAVAILABLE'
  | 'OUTPUT_FAILED'
  | 'VALUE_INVALID'
  | 'INTERNAL'

/** An error with a stable `code`. `name` is `AbortError` when `code` is `ABORTED`, so that generic abort handling recognises it. */
export class LlavaError extends Error {
  readonly code: LlavaErrorCode

  constructor(code: LlavaErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(shortened(message, mostCharacters), options)
    this.code = code
    this.name = code === 'ABORTED' ? 'AbortError' : 'LlavaError'
  }
}

/** Longer messages hold somebody's data by mistake: a picture in base64 where a path belongs. */
const mostCharacters = 2000

/** The beginning and the end of a text that is longer than `most`. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text
  const end = Math.floor(most / 4)
  return `${text.slice(0, most - end)}…${text.slice(-end)}`
}

/** Words an argument mistake the same way everywhere: ``expected `topP` to be a number in (0, 1], got 1.5``. */
export function invalidArgument(name: string, expectation: string, got: unknown): LlavaError {
  return new LlavaError('INVALID_ARGUMENT', `expected \`${name}\` to be ${expectation}, got ${describe(got)}`)
}

/** Runs work that writes to a disk; what fails there is OUTPUT_FAILED and says what to do about `where`. */
export async function outputFailure<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof LlavaError) throw cause
    const { code } = cause as NodeJS.ErrnoException
    throw new LlavaError(
      'OUTPUT_FAILED',
      `${where}: ${outputReasons.get(code) ?? `it cannot be written (${code ?? String(cause)})`}`,
      { cause },
    )
  }
}

const outputReasons: ReadonlyMap<string | undefined, string> = new Map([
  ['ENOENT', 'its directory is not there'],
  ['ENOTDIR', 'its directory is not there'],
  ['EISDIR', 'a directory has this name'],
  ['EACCES', 'its directory may not be written to'],
  ['EPERM', 'its directory may not be written to'],
  ['EROFS', 'its disk is read-only'],
  ['ENOSPC', 'the disk is full'],
  ['EDQUOT', 'the quota is used up'],
])

/** What a value is, in few words, for an error message. */
function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  if (typeof value === 'function') return 'a function'
  if (value === null || typeof value !== 'object') return String(value)
  const constructor: unknown = (value as { readonly constructor?: unknown }).constructor
  return typeof constructor === 'function' && constructor.name !== ''
    ? `an instance of ${constructor.name}`
    : 'an object'
}
