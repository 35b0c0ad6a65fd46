// A random text of a format, drawn byte by byte; it is brought to an end where it has grown long.

import type { Automaton, State } from '../../lib/structured/automaton.js'
import type { Random } from '../../lib/sampling/random.js'

/** So many bytes may be drawn freely; then the nearest end is looked for. */
const free = 60

/** States that are looked through for an end. */
const mostStates = 2000

/** `undefined` where no end is near. A state that leads to no end at all is an error. */
export function textOf(automaton: Automaton, random: Random): Buffer | undefined {
  const bytes: number[] = []
  let state = automaton.start as State
  while (!(state.accepting && (!state.goesOn || bytes.length >= free || random.next() < 0.3))) {
    if (bytes.length >= free) {
      const way = wayOut(automaton, state)
      if (way === undefined) return undefined
      bytes.push(...way.path)
      state = way.to
      continue
    }
    const steps = stepsFrom(automaton, state)
    const [byte, next] = steps[Math.floor(random.next() * steps.length)] as Step
    bytes.push(byte)
    state = next
  }
  return Buffer.from(bytes)
}

type Step = readonly [byte: number, next: State]

/** Of bytes that lead to the same state the first and the last. */
function stepsFrom(automaton: Automaton, state: State): Step[] {
  const byNext = new Map<State, number[]>()
  for (let byte = 0; byte < 256; byte++) {
    const next = automaton.step(state, byte)
    if (next === null) continue
    const bytes = byNext.get(next)
    if (bytes === undefined) byNext.set(next, [byte])
    else bytes.push(byte)
  }
  return [...byNext].flatMap(([next, bytes]) =>
    [bytes[0] as number, bytes.at(-1) as number].map((byte): Step => [byte, next]),
  )
}

/** How many parts must still follow, at least. */
function toCome({ positions, accepting }: State): number {
  if (accepting) return 0
  const lengths = positions.map(({ frame }) => {
    let parts = 1
    for (let on = frame; on !== undefined; on = on.next) parts += on.sequence.parts.length - on.at
    return parts
  })
  return Math.min(...lengths)
}

/** The shortest way, breadth first, to where fewer parts must follow. */
function wayOut(
  automaton: Automaton,
  from: State,
): { readonly path: readonly number[]; readonly to: State } | undefined {
  const paths = new Map<State, readonly number[]>([[from, []]])
  for (const [state, path] of paths) {
    if (toCome(state) < toCome(from) || (state.accepting && state !== from)) return { path, to: state }
    if (paths.size > mostStates) return undefined
    for (const [byte, next] of stepsFrom(automaton, state)) if (!paths.has(next)) paths.set(next, [...path, byte])
  }
  throw new Error('a state that leads to no end')
}
