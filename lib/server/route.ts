// A route as data: what it takes and gives as schemas, from which it is validated, typed and described in openapi.json,
// and the function that answers it.

import type * as v from 'valibot'
import type { LLaVA } from '../index.js'
import type { ApiError } from './api-error.js'
import type { CheckedLimits } from './server-options.js'

/** What routes share. */
export interface Served {
  readonly models: Readonly<Record<string, LLaVA>>
  readonly limits: CheckedLimits
  readonly remotePictures: boolean
  /** When the server began. */
  readonly since: Date
  readonly version: string
}

/** What a call took, for log and metrics. */
export interface Spent {
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
}

/** One request. */
export interface Call<Body> {
  readonly id: string
  readonly served: Served
  readonly body: Body
  /** Parts of the path, decoded. */
  readonly params: Readonly<Record<string, string>>
  /** Whom it is for: memory is shared out among them. */
  readonly client: string
  /** Aborts when the client leaves, at the deadline, and at the end of the server; its reason is an ApiError. */
  readonly signal: AbortSignal
  /** To be called when the first token is there. */
  readonly firstToken: () => void
  readonly spend: (spent: Spent) => void
}

/** An answer in pieces. */
export class StreamedReply {
  readonly contentType: string
  readonly pieces: AsyncGenerator<string, void, undefined>
  /** What stands at the end of one that fails after its first piece. */
  readonly failure: (error: ApiError) => string

  constructor(
    contentType: string,
    pieces: AsyncGenerator<string, void, undefined>,
    failure: (error: ApiError) => string,
  ) {
    this.contentType = contentType
    this.pieces = pieces
    this.failure = failure
  }
}

/** A text that is not JSON. */
export class TextReply {
  readonly contentType: string
  readonly text: string

  constructor(contentType: string, text: string) {
    this.contentType = contentType
    this.text = text
  }
}

export interface Route {
  readonly method: 'get' | 'post'
  /** `:name` stands for a part. */
  readonly path: string
  readonly summary: string
  /** Undefined where it takes none. */
  readonly body: v.GenericSchema | undefined
  readonly answer: v.GenericSchema
  /** What a streamed answer is made of. */
  readonly streams: { readonly contentType: string; readonly piece: v.GenericSchema } | undefined
  /** Status and body of an answer, or a streamed one. */
  readonly handle: (call: Call<unknown>) => Promise<unknown>
}

type BodyOf<Schema> = Schema extends v.GenericSchema ? v.InferOutput<Schema> : undefined

/** What a handler of routes gives: what its schema says, or a stream of pieces. */
type Reply<Answer extends v.GenericSchema> = v.InferInput<Answer> | StreamedReply | TextReply

/** A route whose handler is held to its schemas by the compiler. */
export function route<Answer extends v.GenericSchema, Body extends v.GenericSchema | undefined = undefined>(spec: {
  readonly method: 'get' | 'post'
  readonly path: string
  readonly summary: string
  readonly body?: Body
  readonly answer: Answer
  readonly streams?: Route['streams']
  readonly handle: (call: Call<BodyOf<Body>>) => Reply<Answer> | Promise<Reply<Answer>>
}): Route {
  const { method, path, summary, body, answer, streams, handle } = spec
  const run = async (call: Call<unknown>): Promise<unknown> => handle(call as Call<BodyOf<Body>>)
  return { method, path, summary, body, answer, streams, handle: run }
}
