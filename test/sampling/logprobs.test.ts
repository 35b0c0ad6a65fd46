import test from 'ava'
import fc from 'fast-check'
import { logprobsOf } from '../../lib/sampling/logprobs.js'

test('probabilities of all ids make up 1', (t) => {
  const logits = Float32Array.of(1, -2, 3, 0.5)
  const sum = [0, 1, 2, 3].reduce((total, id) => total + Math.exp(logprobsOf(logits, id, 0).logprob), 0)
  t.true(Math.abs(sum - 1) <= 8 * Number.EPSILON)
})

test('large logits do not overflow', (t) => {
  t.is(logprobsOf(Float32Array.of(1e30, 0), 0, 0).logprob, 0)
  t.is(logprobsOf(Float32Array.of(-1e30, -2e30), 0, 0).logprob, 0)
  t.is(logprobsOf(Float32Array.of(0, -Infinity), 1, 0).logprob, -Infinity)
})

test('the likeliest come best first, of equals the lower id, and none from the limit on', (t) => {
  const logits = Float32Array.of(1, 3, 2, 3, 9)
  const top = (count: number, from?: number) => logprobsOf(logits, 0, count, from).top.map(({ id }) => id)
  t.deepEqual(top(3), [4, 1, 3])
  t.deepEqual(top(3, 4), [1, 3, 2])
  t.deepEqual(top(0), [])
  t.deepEqual(top(20, 2), [1, 0])
})

test('the likeliest are those of a full sort', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(-Infinity)), { minLength: 1, maxLength: 40 }),
      fc.nat(20),
      (list, count) => {
        const sorted = list
          .map((value, id) => ({ value, id }))
          .sort((a, b) => (a.value === b.value ? a.id - b.id : b.value - a.value))
        const { top } = logprobsOf(Float32Array.from(list), 0, count)
        t.deepEqual(
          top.map(({ id }) => id),
          sorted.slice(0, count).map(({ id }) => id),
        )
      },
    ),
  )
})
