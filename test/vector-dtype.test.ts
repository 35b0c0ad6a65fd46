// Element types of vectors, against their definitions.

import test from 'ava'
import fc from 'fast-check'
import { asDtype, elementsOf } from '../lib/vector-dtype.js'

/** Rows of some width, and their values. */
const vectors = fc
  .tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 4 }))
  .chain(([width, rows]) =>
    fc
      .array(fc.float({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: width * rows, maxLength: width * rows })
      .map((values) => ({ width, values: Float32Array.from(values) })),
  )

function rowsOf<T>(values: Iterable<T>, width: number): T[][] {
  const all = [...values]
  return Array.from({ length: all.length / width }, (_, row) => all.slice(row * width, (row + 1) * width))
}

test('int8 is the nearest of 127 steps of each row’s largest magnitude', async (t) => {
  await fc.assert(
    fc.asyncProperty(vectors, async ({ width, values }) => {
      const rows = rowsOf(await asDtype(values, width, 'int8'), width)
      for (const [n, row] of rowsOf(values, width).entries()) {
        const largest = Math.max(...row.map(Math.abs))
        const near = row.every((value, i) => Math.abs(rows[n]![i]! - (127 * value) / (largest || 1)) <= 0.5 + 1e-9)
        t.true(near)
        t.is(Math.max(...rows[n]!.map(Math.abs)), largest === 0 ? 0 : 127)
      }
    }),
  )
})

test('bits are values above 0, the first the highest of its byte, a row from a byte of its own on', async (t) => {
  await fc.assert(
    fc.asyncProperty(vectors, async ({ width, values }) => {
      const bytes = elementsOf(width, 'binary')
      const packed = rowsOf(await asDtype(values, width, 'binary'), bytes)
      const expected = rowsOf(values, width).map((row) => row.map((value) => (value > 0 ? '1' : '0')).join(''))
      t.deepEqual(
        packed.map((row) => row.map((byte) => byte.toString(2).padStart(8, '0')).join('')),
        expected.map((bits) => bits.padEnd(8 * bytes, '0')),
      )
    }),
  )
  // numpy.packbits(numpy.array([1, -1, 0, 2, 0, 0, 0, 0, 3]) > 0)
  t.deepEqual(await asDtype(Float32Array.of(1, -1, 0, 2, 0, 0, 0, 0, 3), 9, 'binary'), Uint8Array.of(0x90, 0x80))
})

test('base64 is that of little-endian float32, of the values alone', async (t) => {
  const values = Float32Array.of(9, 1, -2, 0.5).subarray(1)
  // base64.b64encode(struct.pack('<3f', 1, -2, 0.5))
  t.is(await asDtype(values, 3, 'base64'), 'AACAPwAAAMAAAAA/')
})
