// float32 to float16 over all that float16 can say.

import test from 'ava'
import { toHalf } from '../lib/half.js'

/** The value of positive float16 bits, by its definition. */
function valueOf(bits: number): number {
  const exponent = bits >> 10
  const fraction = bits & 1023
  return exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15)
}

const finite = Array.from({ length: 0x7c00 }, (_, bits) => bits)

test('every float16 comes back as it was, with either sign', (t) => {
  t.deepEqual([...toHalf(Float32Array.from(finite, valueOf))], finite)
  t.deepEqual(
    [...toHalf(Float32Array.from(finite, (bits) => -valueOf(bits)))],
    finite.map((bits) => bits | 0x8000),
  )
})

test('half-way between two, the even one is taken; beside it, the nearer one', (t) => {
  const middle = (bits: number) => (valueOf(bits) + (bits === 0x7bff ? 65536 : valueOf(bits + 1))) / 2 // exact in float32
  const beside = (value: number, steps: number) => {
    const bits = new Uint32Array(Float32Array.of(value).buffer)
    bits[0]! += steps
    return new Float32Array(bits.buffer)[0]!
  }
  t.deepEqual(
    [...toHalf(Float32Array.from(finite, middle))],
    finite.map((bits) => bits + (bits & 1)),
  )
  t.deepEqual([...toHalf(Float32Array.from(finite, (bits) => beside(middle(bits), -1)))], finite)
  t.deepEqual(
    [...toHalf(Float32Array.from(finite, (bits) => beside(middle(bits), 1)))],
    finite.map((bits) => bits + 1),
  )
})

test('infinities stay, NaN stays NaN, and what is too large becomes infinite', (t) => {
  t.deepEqual(
    [...toHalf(Float32Array.of(Infinity, -Infinity, 65520, 1e30, -1e30, 65519))],
    [0x7c00, 0xfc00, 0x7c00, 0x7c00, 0xfc00, 0x7bff],
  )
  const [nan] = toHalf(Float32Array.of(Number.NaN))
  t.is((nan ?? 0) & 0x7c00, 0x7c00)
  t.not((nan ?? 0) & 0x3ff, 0)
})
