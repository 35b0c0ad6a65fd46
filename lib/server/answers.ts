// Answers to one request, written side by side, as one stream of pieces.

import { setMaxListeners } from 'node:events'
import type { Answer, AnswerOptions, ChatStream, GeneratedToken, LLaVA, Message } from '../index.js'
import type { Call } from './route.js'

/** Text that was added to answer `index`, and the tokens since the last such piece. */
export interface Piece {
  readonly index: number
  readonly text: string
  readonly tokens: readonly GeneratedToken[]
}

export interface Question {
  readonly model: LLaVA
  readonly messages: readonly Message[]
  readonly options: AnswerOptions
  /** How many answers. */
  readonly count: number
}

/** Answers in the making; the work stops when the call's signal aborts, and when one of them fails. */
export class Answers {
  readonly #streams: readonly ChatStream[]
  readonly #waiting: Piece[] = []
  readonly #tokens: GeneratedToken[][]
  readonly #stop = new AbortController()
  readonly #call: Call<unknown>
  readonly #all: Promise<readonly Answer[]>
  #over = false
  #tell: () => void = () => undefined

  /** Mistakes in messages and options are thrown here. */
  constructor({ model, messages, options, count }: Question, call: Call<unknown>) {
    this.#call = call
    const signal = AbortSignal.any([call.signal, this.#stop.signal])
    setMaxListeners(Infinity, signal)
    const { seed, maxTokens } = options
    this.#streams = Array.from({ length: count }, (_, n) =>
      model.chat(messages, {
        ...options,
        ...(seed !== undefined && { seed: seed + n }),
        maxTokens: Math.min(maxTokens ?? defaultMaxTokens, call.served.limits.tokens),
        maxWaitMs: call.served.limits.waitMs,
        client: call.client,
        signal,
      }),
    )
    this.#tokens = this.#streams.map(() => [])
    this.#all = this.#write()
    this.#all.catch(() => undefined) // whoever reads pieces sees it
  }

  /** What is written, as it is written; fails as the answers do. To be iterated once. */
  async *pieces(): AsyncGenerator<Piece, void, undefined> {
    try {
      for (;;) {
        for (let piece = this.#waiting.shift(); piece !== undefined; piece = this.#waiting.shift()) yield piece
        if (this.#over) break
        await new Promise<void>((resolve) => {
          this.#tell = resolve
        })
      }
      await this.#all
    } finally {
      this.#stop.abort() // the reader left
    }
  }

  /** All of them, once they are whole. */
  get all(): Promise<readonly Answer[]> {
    return this.#all
  }

  async #write(): Promise<readonly Answer[]> {
    try {
      const answers = await Promise.all(this.#streams.map((stream, index) => this.#one(stream, index)))
      this.#call.spend(spentOn(answers))
      return answers
    } catch (error) {
      this.#stop.abort()
      throw error
    } finally {
      this.#over = true
      this.#tell()
    }
  }

  async #one(stream: ChatStream, index: number): Promise<Answer> {
    const add = (text: string) => {
      this.#waiting.push({ index, text, tokens: (this.#tokens[index] as GeneratedToken[]).splice(0) })
      this.#tell()
    }
    stream.on('text', add).on('token', (token) => {
      this.#call.firstToken()
      this.#tokens[index]?.push(token)
    })
    const answer = await stream.answer
    if (this.#tokens[index]?.length !== 0) add('') // tokens of a stop string, and of white space at the end
    return answer
  }
}

/** As everywhere in the library. */
const defaultMaxTokens = 512

export function spentOn(answers: readonly Answer[]): {
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
} {
  const [first] = answers
  return {
    promptTokens: first?.usage.promptTokens ?? 0,
    cachedTokens: first?.usage.cachedTokens ?? 0,
    completionTokens: answers.reduce((sum, { usage }) => sum + usage.completionTokens, 0),
  }
}
