// What a host may watch: every request for answers is published when it begins and when it ends, on the diagnostics channel `llava-native:request`.
//   import { subscribe } from 'node:diagnostics_channel'
//   subscribe('llava-native:request', (message) => { const request = message as RequestMessage … })

import { channel } from 'node:diagnostics_channel'
import type { Timings, Usage } from './answer.js'
import type { FinishReason } from './generation.js'

/** What both messages say about a request. */
export interface RequestSubject {
  /** The public method, such as `ask()`. */
  readonly call: string
  /** The model's path. */
  readonly model: string
  /** Pictures in the prompt. */
  readonly images: number
  /** Answers asked for. */
  readonly answers: number
  readonly maxTokens: number
}

/** A message of the channel `llava-native:request`. `start` comes before any work, `end` in any case; `id` is the same in both, and no other request's. */
export type RequestMessage =
  | ({ readonly event: 'start'; readonly id: number } & RequestSubject)
  | ({ readonly event: 'end'; readonly id: number } & RequestSubject & RequestOutcome)

/** How a request ended. */
export interface RequestOutcome {
  /** Of all answers together; absent where it failed before the prompt was known to fit. */
  readonly usage?: Usage
  /** Of what was reached. */
  readonly timings: Timings
  /** Of each answer; none where it failed. */
  readonly finishReasons: readonly FinishReason[]
  /** Why it failed. */
  readonly error?: unknown
}

const requests = channel('llava-native:request')

let lastId = 0

/** Runs a request between its two messages. `outcome` tells how far it got. */
export async function asRequest<T>(
  subject: RequestSubject,
  outcome: () => Omit<RequestOutcome, 'error'>,
  work: () => Promise<T>,
): Promise<T> {
  const id = ++lastId
  requests.publish({ event: 'start', id, ...subject } satisfies RequestMessage)
  try {
    const result = await work()
    requests.publish({ event: 'end', id, ...subject, ...outcome() } satisfies RequestMessage)
    return result
  } catch (error) {
    requests.publish({ event: 'end', id, ...subject, ...outcome(), error } satisfies RequestMessage)
    throw error
  }
}
