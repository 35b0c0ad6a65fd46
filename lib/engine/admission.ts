// How many texts run at once: as many as the memory for their keys and values has room for. The others wait in line:
// higher priorities first, then whoever's client has the least memory in use, then first come, first served. Nobody is
// passed by a smaller one that would have room. Where the line is full, whoever comes is told so at once, and who has
// waited for as long as it would, then (OVERLOADED), so that a server can say so to its clients.

import { LlavaError } from '../errors.js'
import type { Job } from './job.js'

export interface AdmissionLimits {
  /** Bytes of keys and values of all texts that run, at most; one text runs however large it is. */
  readonly kvCacheBytes: number
  /** Texts that wait, at most. */
  readonly maxWaiting: number
}

/** Where a text stands in the line. */
export interface Place {
  /** Default 0. */
  readonly priority?: number | undefined
  /** Whom it is for; default one client for all who name none. */
  readonly client?: string | undefined
  /** Milliseconds after which it gives up; default never. */
  readonly maxWaitMs?: number | undefined
}

interface Waiting {
  readonly bytes: number
  readonly priority: number
  readonly client: string
  readonly admit: () => void
}

export class Admission {
  readonly limits: AdmissionLimits
  #running = 0
  #bytes = 0
  /** Of each client, where there are some. */
  readonly #bytesOf = new Map<string, number>()
  readonly #line: Waiting[] = []

  constructor(limits: AdmissionLimits) {
    this.limits = limits
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#line.length
  }

  /**
   * Resolves when a text that may grow to `bytes` of keys and values can run, to what says that it is over. Fails with
   * OVERLOADED, or as the job stops.
   */
  enter(bytes: number, job: Job, { priority = 0, client = '', maxWaitMs }: Place = {}): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const fail: (reason: Error) => void = reject
      job.check()
      if (this.#line.length >= this.limits.maxWaiting && !(this.#line.length === 0 && this.#hasRoom(bytes))) {
        fail(
          this.#overloaded(
            `${this.#line.length} wait, the most that \`maxWaiting\` (${this.limits.maxWaiting}) allows`,
          ),
        )
        return
      }
      const waiting: Waiting = {
        bytes,
        priority,
        client,
        admit: () => {
          release()
          this.#running++
          this.#take(client, bytes)
          resolve(this.#leaving(client, bytes))
        },
      }
      const giveUp = (reason: Error) => {
        release()
        this.#line.splice(this.#line.indexOf(waiting), 1)
        fail(reason)
        this.#admit() // it may have stood in the way of a smaller one
      }
      const timer =
        maxWaitMs === undefined
          ? undefined
          : setTimeout(() => {
              giveUp(this.#overloaded(`this one found no room within \`maxWaitMs\` (${maxWaitMs})`))
            }, maxWaitMs)
      const stopped = job.onStop((reason) => {
        giveUp(reason as Error)
      })
      const release = () => {
        clearTimeout(timer)
        stopped()
      }
      this.#line.push(waiting)
      if (this.#hasRoom(bytes)) this.#admit() // else nobody has who had none before
    })
  }

  #take(client: string, bytes: number): void {
    this.#bytes += bytes
    const own = (this.#bytesOf.get(client) ?? 0) + bytes
    if (own === 0) this.#bytesOf.delete(client)
    else this.#bytesOf.set(client, own)
  }

  #leaving(client: string, bytes: number): () => void {
    let left = false
    return () => {
      if (left) return
      left = true
      this.#running--
      this.#take(client, -bytes)
      this.#admit()
    }
  }

  #admit(): void {
    for (let first = this.#first(); first !== undefined && this.#hasRoom(first.bytes); first = this.#first()) {
      this.#line.splice(this.#line.indexOf(first), 1)
      first.admit()
    }
  }

  /** Whose turn it is. */
  #first(): Waiting | undefined {
    const inUse = ({ client }: Waiting) => this.#bytesOf.get(client) ?? 0
    let first: Waiting | undefined
    for (const waiting of this.#line) {
      const goesBefore =
        first === undefined ||
        waiting.priority > first.priority ||
        (waiting.priority === first.priority && inUse(waiting) < inUse(first))
      if (goesBefore) first = waiting
    }
    return first
  }

  #hasRoom(bytes: number): boolean {
    return this.#running === 0 || this.#bytes + bytes <= this.limits.kvCacheBytes
  }

  #overloaded(why: string): LlavaError {
    return new LlavaError('OVERLOADED', `${this.#running} texts run and ${why}: ask again later`)
  }
}
