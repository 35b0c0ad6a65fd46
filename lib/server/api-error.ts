// What a client is told when a request fails: a status, and OpenAI's or Ollama's form of the error.
// One table says what each code of the library is over HTTP.

import { LlavaError, type LlavaErrorCode } from '../index.js'

/** An error that a client is told of as it stands. */
export class ApiError extends Error {
  readonly status: number
  /** OpenAI's `error.type`. */
  readonly type: string
  /** OpenAI's `error.code`. */
  readonly code: string
  /** The field of the request that is wrong. */
  readonly param: string | null
  /** Seconds after which to ask again. */
  readonly retryAfter: number | undefined

  constructor(
    [status, type, code]: readonly [status: number, type: string, code: string],
    message: string,
    { param = null, retryAfter, cause }: ApiErrorDetails = {},
  ) {
    super(message, { cause })
    this.name = 'ApiError'
    this.status = status
    this.type = type
    this.code = code
    this.param = param
    this.retryAfter = retryAfter
  }
}

interface ApiErrorDetails {
  readonly param?: string | null
  readonly retryAfter?: number
  readonly cause?: unknown
}

const request = 'invalid_request_error'
const server = 'server_error'

/** What each code of the library is; OpenAI's own codes where it has one that clients look for. */
const kinds: Readonly<Record<LlavaErrorCode, readonly [status: number, type: string, code: string]>> = {
  INVALID_ARGUMENT: [400, request, 'invalid_value'],
  IMAGE_UNREADABLE: [400, request, 'invalid_image'],
  IMAGE_TOO_LARGE: [400, request, 'image_too_large'],
  CONTEXT_OVERFLOW: [400, request, 'context_length_exceeded'],
  MODEL_NOT_FOUND: [404, request, 'model_not_found'],
  OVERLOADED: [429, 'requests', 'rate_limit_exceeded'],
  BUSY: [429, 'requests', 'rate_limit_exceeded'],
  ABORTED: [499, request, 'client_closed_request'], // nginx's status for a client that has left
  DISPOSED: [503, server, 'shutting_down'],
  OUT_OF_MEMORY: [503, server, 'out_of_memory'],
  VALUE_INVALID: [500, server, 'value_invalid'],
  MODEL_CORRUPT: [500, server, 'model_corrupt'],
  MODEL_UNSUPPORTED: [500, server, 'model_unsupported'],
  ACCESS_DENIED: [500, server, 'access_denied'],
  DOWNLOAD_FAILED: [500, server, 'download_failed'],
  OUTPUT_FAILED: [500, server, 'output_failed'],
  DEVICE_UNAVAILABLE: [500, server, 'device_unavailable'],
  DEVICE_FAILED: [500, server, 'device_failed'],
  NATIVE_UNAVAILABLE: [500, server, 'native_unavailable'],
  INTERNAL: [500, server, 'internal_error'],
}

/** Seconds that a client should wait before it asks an overloaded server again. */
const retrySeconds = 1

export const reasons = {
  invalid: kinds.INVALID_ARGUMENT,
  modelNotFound: kinds.MODEL_NOT_FOUND,
  overloaded: kinds.OVERLOADED,
  clientLeft: kinds.ABORTED,
  shuttingDown: kinds.DISPOSED,
  unsupported: [400, request, 'unsupported_value'],
  noKey: [401, 'authentication_error', 'invalid_api_key'],
  forbidden: [403, 'permission_error', 'forbidden'],
  notFound: [404, request, 'not_found'],
  wrongMethod: [405, request, 'method_not_allowed'],
  bodyTooLarge: [413, request, 'request_too_large'],
  deadline: [504, server, 'deadline_exceeded'],
} as const satisfies Readonly<Record<string, readonly [number, string, string]>>

export function overloaded(message: string): ApiError {
  return new ApiError(reasons.overloaded, message, { retryAfter: retrySeconds })
}

/** What a client is told of any error. What a server should keep to itself (paths, addresses, stacks) is not in it. */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (!(error instanceof LlavaError)) return new ApiError(kinds.INTERNAL, 'internal error', { cause: error })
  // an aborted call says why in its cause: the deadline, or the end of the server
  if (error.code === 'ABORTED' && error.cause instanceof ApiError) return error.cause
  const kind = kinds[error.code]
  const details = { cause: error, ...(kind[0] === 429 && { retryAfter: retrySeconds }) }
  if (kind[0] >= 500) return new ApiError(kind, `the model could not answer (${error.code})`, details)
  const message = remotePicture.test(error.message) ? withoutReason(error.message) : renamed(error.message)
  return new ApiError(kind, message, { ...details, param: /`([\w.[\]]+)`/.exec(renamed(error.message))?.[1] ?? null })
}

/** The reason why a picture on another host cannot be read tells of networks that the client does not see. */
const remotePicture = /^cannot read https?:/

function withoutReason(message: string): string {
  return message.replace(/^(cannot read \S+?):?(?: .*)?$/s, '$1')
}

/** The library's names of options as the API spells them: `topP` is `top_p`. */
function renamed(message: string): string {
  return message.replaceAll(/`[^`]+`/g, (name) =>
    name.replaceAll(/[a-z][A-Z]/g, (pair) => `${pair[0] ?? ''}_${(pair[1] ?? '').toLowerCase()}`),
  )
}

/** OpenAI's form of an error. */
export function openaiError({ message, type, param, code }: ApiError) {
  return { error: { message, type, param, code } }
}

/** Ollama's. */
export function ollamaError({ message }: ApiError) {
  return { error: message }
}
