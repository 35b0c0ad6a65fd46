import test from 'ava'
import fc from 'fast-check'
import { TrimmedText } from '../../lib/answers/trimmed-text.js'

test('the pieces given out, joined, are the whole text trimmed', (t) => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: fc.constantFrom(' ', '\n', 'a', 'b') })), (pieces) => {
      const trimmed = new TrimmedText()
      t.is(pieces.map((piece) => trimmed.push(piece)).join(''), pieces.join('').trim())
    }),
  )
})
