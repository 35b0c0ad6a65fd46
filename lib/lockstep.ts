// Answers written side by side from one prompt: each asks for the logits after its token, and when all that still run have asked,
// one native call feeds them all, so that the weights are read once for all of them.

interface Asked {
  /** Which answer. */
  readonly row: number
  readonly id: number
  readonly resolve: (place: number) => void
  readonly reject: (reason: Error) => void
}

export class Lockstep {
  readonly #forward: (rows: readonly number[], ids: readonly number[]) => Promise<void>
  #running: number
  #asked: Asked[] = []
  #failure: Error | undefined

  /**
   * @param running how many answers take part
   * @param forward feeds `ids[i]` to answer `rows[i]`
   */
  constructor(running: number, forward: (rows: readonly number[], ids: readonly number[]) => Promise<void>) {
    this.#running = running
    this.#forward = forward
  }

  /** Feeds one token to answer `row`; resolves to the place it had in the native call. */
  step(row: number, id: number): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure)
        return
      }
      this.#asked.push({ row, id, resolve, reject })
      this.#whenAllAsked()
    })
  }

  /** One answer is finished. */
  leave(): void {
    this.#running--
    this.#whenAllAsked()
  }

  /** One answer failed: the others fail with it. */
  fail(reason: Error): void {
    this.#failure ??= reason
    for (const { reject } of this.#asked) reject(reason)
    this.#asked = []
  }

  #whenAllAsked(): void {
    if (this.#asked.length === 0 || this.#asked.length < this.#running) return
    const asked = this.#asked.toSorted((a, b) => a.row - b.row)
    this.#asked = []
    const fed = this.#forward(
      asked.map(({ row }) => row),
      asked.map(({ id }) => id),
    )
    const give = () => {
      for (const [place, { resolve }] of asked.entries()) resolve(place)
    }
    fed.then(give, (reason: unknown) => {
      this.#failure ??= reason as Error
      for (const { reject } of asked) reject(reason as Error)
    })
  }
}
