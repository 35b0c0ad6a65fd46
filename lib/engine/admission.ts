// How many texts run at once: as many as the memory for their keys and values has room for. The others wait in line, first come, first served; where the line is
// full, whoever comes is told so at once (OVERLOADED), so that a server can say so to its clients.

import { LlavaError } from '../errors.js'
import type { Job } from './job.js'

export interface AdmissionLimits {
  /** Bytes of keys and values of all texts that run, at most; one text runs however large it is. */
  readonly kvCacheBytes: number
  /** Texts that wait, at most. */
  readonly maxWaiting: number
}

interface Waiting {
  readonly bytes: number
  readonly admit: () => void
}

export class Admission {
  readonly limits: AdmissionLimits
  #running = 0
  #bytes = 0
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

  /** Resolves when a text that may grow to `bytes` of keys and values can run, to what says that it is over. Fails with OVERLOADED, or as the job stops. */
  enter(bytes: number, job: Job): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const fail: (reason: Error) => void = reject
      job.check()
      if (this.#line.length >= this.limits.maxWaiting && !(this.#line.length === 0 && this.#hasRoom(bytes))) {
        fail(this.#overloaded())
        return
      }
      const waiting: Waiting = {
        bytes,
        admit: () => {
          release()
          this.#running++
          this.#bytes += bytes
          resolve(this.#leaving(bytes))
        },
      }
      const release = job.onStop((reason) => {
        release()
        this.#line.splice(this.#line.indexOf(waiting), 1)
        fail(reason as Error)
        this.#admit() // it may have stood in the way of a smaller one
      })
      this.#line.push(waiting)
      this.#admit()
    })
  }

  #leaving(bytes: number): () => void {
    let left = false
    return () => {
      if (left) return
      left = true
      this.#running--
      this.#bytes -= bytes
      this.#admit()
    }
  }

  #admit(): void {
    for (let first = this.#line[0]; first !== undefined && this.#hasRoom(first.bytes); first = this.#line[0]) {
      this.#line.shift()
      first.admit()
    }
  }

  #hasRoom(bytes: number): boolean {
    return this.#running === 0 || this.#bytes + bytes <= this.limits.kvCacheBytes
  }

  #overloaded(): LlavaError {
    const { maxWaiting } = this.limits
    return new LlavaError(
      'OVERLOADED',
      `${this.#running} texts run and ${this.#line.length} wait, the most that \`maxWaiting\` (${maxWaiting}) allows: ask again later`,
    )
  }
}
