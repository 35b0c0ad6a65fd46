// The requests under way and the bytes of their bodies, both bounded: one too many is told so before it is read.

import { overloaded } from './api-error.js'
import type { CheckedLimits } from './server-options.js'

export class InFlight {
  readonly #limits: Pick<CheckedLimits, 'requests' | 'allBodiesBytes'>
  #requests = 0
  #bytes = 0

  constructor(limits: Pick<CheckedLimits, 'requests' | 'allBodiesBytes'>) {
    this.#limits = limits
  }

  get requests(): number {
    return this.#requests
  }

  get bodyBytes(): number {
    return this.#bytes
  }

  /** Takes a place. Fails with 429 where there is none. */
  enter(): Place {
    const { requests, allBodiesBytes } = this.#limits
    if (this.#requests >= requests) throw overloaded(`${requests} requests are under way: ask again later`)
    this.#requests++
    let bytes = 0
    let left = false
    return {
      take: (more) => {
        if (this.#bytes + more > allBodiesBytes)
          throw overloaded(
            'the bodies of the requests under way take all the memory there is for them: ask again later',
          )
        bytes += more
        this.#bytes += more
      },
      leave: () => {
        if (left) return
        left = true
        this.#requests--
        this.#bytes -= bytes
      },
    }
  }
}

/** Of one request. */
export interface Place {
  /** Counts bytes of its body. Fails with 429 where there is no room for them. */
  readonly take: (bytes: number) => void
  readonly leave: () => void
}
