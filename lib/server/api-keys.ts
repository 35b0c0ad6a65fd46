// Keys of those who may ask. What is kept is their SHA-256, and all are compared, each in constant time, so that the
// time of a refusal tells nothing.

import { createHash, timingSafeEqual } from 'node:crypto'

export class ApiKeys {
  readonly #hashes: readonly Buffer[]

  /** @param keys each the key itself, or `sha256:` and its hash in 64 hexadecimal digits */
  constructor(keys: readonly string[]) {
    this.#hashes = keys.map((key) => {
      const [, hash] = /^sha256:([0-9a-f]{64})$/i.exec(key) ?? []
      return hash === undefined ? sha256(key) : Buffer.from(hash, 'hex')
    })
  }

  /**
   * Who brings this `Authorization` header: a name for their key that does not give it away, the same each time; ''
   * where no keys are asked for, undefined where it is none of them.
   */
  clientOf(authorization: string | undefined): string | undefined {
    if (this.#hashes.length === 0) return ''
    const [, key = ''] = /^Bearer +(.+)$/i.exec(authorization ?? '') ?? []
    const given = sha256(key)
    let found: Buffer | undefined
    for (const hash of this.#hashes) if (timingSafeEqual(hash, given)) found = hash
    return found?.toString('hex').slice(0, 12)
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
