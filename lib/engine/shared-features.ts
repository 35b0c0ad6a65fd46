// A picture's native rows with several users: the last one to release them frees them.

import type { NativeImageFeatures } from '../native.js'

export class SharedFeatures {
  readonly native: NativeImageFeatures
  #users = 1

  /** With one user: whoever made it. */
  constructor(native: NativeImageFeatures) {
    this.native = native
  }

  /** One user more. */
  retain(): this {
    this.#users++
    return this
  }

  release(): void {
    if (--this.#users === 0) this.native.dispose()
  }
}
