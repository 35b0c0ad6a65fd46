// The server that this page came from: what it is asked, and what it says when it cannot answer.

import { EventSourceParserStream } from 'eventsource-parser/stream'

export interface Model {
  readonly id: string
  readonly capabilities: readonly ('completion' | 'vision' | 'embedding')[]
}

/** A part of a message, as OpenAI's chat completions have them. */
export type Part =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image_url'; readonly image_url: { readonly url: string } }

export interface Turn {
  readonly role: 'user' | 'assistant'
  readonly content: string | readonly Part[]
}

export interface Question {
  readonly model: string
  readonly messages: readonly Turn[]
  readonly temperature: number
  readonly topP: number
  readonly maxTokens: number
}

export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
}

/** What ends an answer: `length` where it was cut at the most tokens. */
export type Finish = 'stop' | 'length'

export type Piece = { readonly text: string } | { readonly finish: Finish } | { readonly usage: Usage }

/** The server's error, or `unreachable` where nothing answers. */
export class ServerError extends Error {
  readonly code: string
  /** Seconds after which to ask again. */
  readonly retryAfter: number | undefined

  constructor(code: string, message: string, retryAfter?: number) {
    super(message)
    this.name = 'ServerError'
    this.code = code
    this.retryAfter = retryAfter
  }
}

interface ErrorBody {
  readonly error?: { readonly code?: string; readonly message?: string }
}

interface Chunk extends ErrorBody {
  readonly choices?: readonly {
    readonly delta: { readonly content?: string }
    readonly finish_reason: Finish | null
  }[]
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null
}

export class Server {
  /** The key that requests bring; '' is none. */
  key: () => string

  constructor(key: () => string) {
    this.key = key
  }

  async models(): Promise<readonly Model[]> {
    const response = await this.#ask('v1/models', { cache: 'no-store' })
    return ((await response.json()) as { readonly data: readonly Model[] }).data
  }

  /** Whether it is there and takes requests. */
  async ready(): Promise<boolean> {
    try {
      return (await fetch('readyz', { cache: 'no-store' })).ok
    } catch {
      return false
    }
  }

  /** An answer as it is written. Leaving the loop, or the signal, stops the work. */
  async *answer(question: Question, signal: AbortSignal): AsyncGenerator<Piece, void, undefined> {
    const { model, messages, temperature, topP, maxTokens } = question
    const response = await this.#post(
      'v1/chat/completions',
      {
        ...{ model, messages, temperature, top_p: topP, max_completion_tokens: maxTokens },
        ...{ stream: true, stream_options: { include_usage: true } },
      },
      signal,
    )
    let whole = false
    for await (const { data } of eventsOf(response)) {
      if (data === '[DONE]') {
        whole = true
        break
      }
      const chunk = JSON.parse(data) as Chunk
      if (chunk.error !== undefined) throw errorOf(chunk)
      const [choice] = chunk.choices ?? []
      if (choice?.delta.content !== undefined && choice.delta.content !== '') yield { text: choice.delta.content }
      if (choice?.finish_reason !== undefined && choice.finish_reason !== null) yield { finish: choice.finish_reason }
      if (chunk.usage !== undefined && chunk.usage !== null) {
        const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = chunk.usage
        yield { usage: { promptTokens, completionTokens } }
      }
    }
    if (!whole) throw new ServerError('unreachable', 'the connection ended before the answer did')
  }

  /** Vectors of length 1 in one space: of texts, and of pictures by their data: URLs. */
  async embed(model: string, input: readonly string[], signal?: AbortSignal): Promise<readonly Float32Array[]> {
    const response = await this.#post('v1/embeddings', { model, input }, signal)
    const { data } = (await response.json()) as { readonly data: readonly { readonly embedding: readonly number[] }[] }
    return data.map(({ embedding }) => Float32Array.from(embedding))
  }

  /** What a model sees of a picture. */
  async preview(
    model: string,
    url: string,
    signal?: AbortSignal,
  ): Promise<{ readonly size: number; readonly aspectRatio: 'pad' | 'crop' | 'stretch'; readonly url: string }> {
    const response = await this.#post('v1/preview', { model, image_url: { url } }, signal)
    const seen = (await response.json()) as {
      readonly size: number
      readonly aspect_ratio: 'pad' | 'crop' | 'stretch'
      readonly image_url: { readonly url: string }
    }
    return { size: seen.size, aspectRatio: seen.aspect_ratio, url: seen.image_url.url }
  }

  #post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
    return this.#ask(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
      ...(signal && { signal }),
    })
  }

  async #ask(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers)
    const key = this.key()
    if (key !== '') headers.set('authorization', `Bearer ${key}`)
    const response = await reached(() => fetch(path, { ...init, headers }))
    if (response.ok) return response
    const body = (await response.json().catch(() => ({}))) as ErrorBody
    const retryAfter = Number(response.headers.get('retry-after') ?? NaN)
    throw errorOf(body, Number.isNaN(retryAfter) ? undefined : retryAfter, response.status)
  }
}

async function* eventsOf(response: Response) {
  const reader = (response.body as ReadableStream<BufferSource>)
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
    .getReader()
  try {
    for (;;) {
      const { done, value } = await reached(() => reader.read())
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

/** A browser's error of the network, as one of ours; one of the signal stays what it is. */
async function reached<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ServerError('unreachable', error instanceof Error ? error.message : String(error))
  }
}

function errorOf({ error }: ErrorBody, retryAfter?: number, status = 500): ServerError {
  return new ServerError(error?.code ?? `http_${status}`, error?.message ?? `the server said ${status}`, retryAfter)
}
