// What the flags of the bench's commands hold, checked where they are parsed.

import { InvalidArgumentError } from 'commander'

export function whole(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('expected a whole number of at least 1')
  return Number(text)
}

/** Numbers between commas. */
export function wholes(text: string): number[] {
  return text.split(',').map(whole)
}

export function oneOf<Name extends string>(allowed: readonly Name[]): (text: string) => Name {
  return (text) => {
    const found = allowed.find((name) => name === text)
    if (found === undefined) throw new InvalidArgumentError(`expected one of ${allowed.join(', ')}`)
    return found
  }
}

/** Names between commas. */
export function listOf<Name extends string>(allowed: readonly Name[]): (text: string) => Name[] {
  return (text) => text.split(',').map(oneOf(allowed))
}
