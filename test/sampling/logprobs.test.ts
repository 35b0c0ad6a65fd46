import test from 'ava'
import { logprobsOf } from '../../lib/sampling/logprobs.js'
import { plainCandidates } from './plain-candidates.js'

const of = (logits: Float32Array, id: number, top: number, from?: number) =>
  logprobsOf(plainCandidates(logits, Math.max(top, 1), from), id, logits[id] as number, top)

test('probabilities of all ids make up 1', (t) => {
  const logits = Float32Array.of(1, -2, 3, 0.5)
  const sum = [0, 1, 2, 3].reduce((total, id) => total + Math.exp(of(logits, id, 0).logprob), 0)
  t.true(Math.abs(sum - 1) <= 8 * Number.EPSILON)
})

test('large logits do not overflow', (t) => {
  t.is(of(Float32Array.of(1e30, 0), 0, 0).logprob, 0)
  t.is(of(Float32Array.of(-1e30, -2e30), 0, 0).logprob, 0)
  t.is(of(Float32Array.of(0, -Infinity), 1, 0).logprob, -Infinity)
})

test('the likeliest come best first, of equals the lower id, and none from the limit on', (t) => {
  const logits = Float32Array.of(1, 3, 2, 3, 9)
  const top = (count: number, from?: number) => of(logits, 0, count, from).top.map(({ id }) => id)
  t.deepEqual(top(3), [4, 1, 3])
  t.deepEqual(top(3, 4), [1, 3, 2])
  t.deepEqual(top(0), [])
  t.deepEqual(top(20, 2), [1, 0])
})
