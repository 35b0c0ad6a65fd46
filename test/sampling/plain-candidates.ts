// The likeliest of a row of logits, as native code gives them, by a plain sort.

import type { Candidates } from '../../lib/native.js'

export function plainCandidates(all: Float32Array, count: number, columns = all.length): Candidates {
  const order = (id: number) => (Number.isNaN(all[id]) ? Infinity : (all[id] as number))
  const ids = Int32Array.from(all.subarray(0, columns).keys())
    .sort((a, b) =>
      Number.isNaN(all[a]) === Number.isNaN(all[b])
        ? order(a) === order(b)
          ? a - b
          : order(b) - order(a)
        : Number.isNaN(all[a])
          ? -1
          : 1,
    )
    .subarray(0, count)
  const max = all.reduce((most, value) => Math.max(most, value), -Infinity)
  const sum = all.reduce((total, value) => total + Math.exp(value - max), 0)
  return { ids, logits: Float32Array.from(ids, (id) => all[id] as number), logSumExp: max + Math.log(sum) }
}
