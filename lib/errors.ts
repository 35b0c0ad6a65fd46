// Every error this package throws on purpose: a stable code, a sentence that says what to do, and the cause.

/** The stable codes; README.md lists what each one means. */
export type LlavaErrorCode =
  | 'INVALID_ARGUMENT'
  | 'MODEL_NOT_FOUND'
  | 'MODEL_CORRUPT'
  | 'MODEL_UNSUPPORTED'
  | 'IMAGE_UNREADABLE'
  | 'IMAGE_TOO_LARGE'
  | 'CONTEXT_OVERFLOW'
  | 'BUSY'
  | 'DISPOSED'
  | 'ABORTED'
  | 'OUT_OF_MEMORY'
  | 'NATIVE_UNAVAILABLE'
  | 'OUTPUT_FAILED'
  | 'INTERNAL'

/** An error with a stable `code`. `name` is `AbortError` when `code` is `ABORTED`, so that generic abort handling recognises it. */
export class LlavaError extends Error {
  readonly code: LlavaErrorCode

  constructor(code: LlavaErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
    this.name = code === 'ABORTED' ? 'AbortError' : 'LlavaError'
  }
}

/** Words an argument mistake the same way everywhere: ``expected `topP` to be a number in (0, 1], got 1.5``. */
export function invalidArgument(name: string, expectation: string, got: unknown): LlavaError {
  return new LlavaError('INVALID_ARGUMENT', `expected \`${name}\` to be ${expectation}, got ${describe(got)}`)
}

/** What a value is, in few words, for an error message. */
function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (value === null || typeof value !== 'object') return String(value)
  const constructor: unknown = (value as { readonly constructor?: unknown }).constructor
  return typeof constructor === 'function' && constructor.name !== '' ? `an instance of ${constructor.name}` : 'an object'
}
