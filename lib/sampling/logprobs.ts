// Log-probabilities of raw logits: log_softmax(z) = z - max - ln sum exp(z - max), before bias, penalties and temperature.

/** A token and the logarithm of its probability. */
export interface ScoredId {
  readonly id: number
  readonly logprob: number
}

/** log_softmax of `logits` [V] at `id`, and at the `top` likeliest of the ids under `from`, best first; of equals the lower id. */
export function logprobsOf(
  logits: Float32Array,
  id: number,
  top: number,
  from = logits.length,
): ScoredId & { readonly top: readonly ScoredId[] } {
  const normaliser = logSumExp(logits)
  const likeliest = largest(logits, Math.min(top, from), from)
  const scored = (one: number): ScoredId => ({ id: one, logprob: (logits[one] as number) - normaliser })
  return { ...scored(id), top: likeliest.map(scored) }
}

function logSumExp(logits: Float32Array): number {
  let max = -Infinity
  for (let i = 0; i < logits.length; i++) if ((logits[i] as number) > max) max = logits[i] as number
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp((logits[i] as number) - max)
  return max + Math.log(sum)
}

/** The ids of the `count` largest of the first `from` values, in order: a short sorted list, into which few of the values have to be put. */
function largest(values: Float32Array, count: number, from: number): number[] {
  const ids: number[] = []
  for (let id = 0; id < from && count > 0; id++) {
    const value = values[id] as number
    if (ids.length === count && !(value > (values[ids[count - 1] as number] as number))) continue
    if (ids.length === count) ids.pop()
    let place = ids.length
    while (place > 0 && (values[ids[place - 1] as number] as number) < value) place--
    ids.splice(place, 0, id)
  }
  return ids
}
