import test from 'ava'
import { philox, Random } from '../../lib/sampling/random.js'

// Known answers of the generator's authors (Random123, philox4x32 with 10 rounds).
test('Philox gives the known answers', (t) => {
  t.deepEqual(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
  const ones = 0xffffffff
  t.deepEqual(philox([ones, ones, ones, ones], [ones, ones]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
  t.deepEqual(
    philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  )
})

test('a seed gives its numbers again, another seed other ones', (t) => {
  const numbers = (seed: number): number[] => {
    const random = new Random(seed)
    return Array.from({ length: 20 }, () => random.next())
  }
  t.deepEqual(numbers(7), numbers(7))
  for (const other of [8, -7, 7 + 2 ** 32]) t.notDeepEqual(numbers(7), numbers(other))
})

// The mean of n uniform numbers has the deviation 1/sqrt(12 n); six of them is one case in 500 million, and the seed is fixed.
test('numbers lie in [0, 1) and are even on the whole', (t) => {
  const random = new Random(1)
  const n = 20_000
  let sum = 0
  for (let i = 0; i < n; i++) {
    const value = random.next()
    t.true(value >= 0 && value < 1)
    sum += value
  }
  t.true(Math.abs(sum / n - 0.5) < 6 / Math.sqrt(12 * n))
})
