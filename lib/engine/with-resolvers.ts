// Promise.withResolvers, which Node 20 does not have, for promises of nothing.

export interface WithResolvers {
  readonly promise: Promise<void>
  readonly resolve: () => void
}

export function withResolvers(): WithResolvers {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
