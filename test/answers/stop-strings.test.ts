import test from 'ava'
import fc from 'fast-check'
import { StopStrings } from '../../lib/answers/stop-strings.js'

test('text that may turn into a stop string is held until it is decided', (t) => {
  const stops = new StopStrings(['###'])
  t.is(stops.push('one #'), 'one ')
  t.is(stops.push('#'), '')
  t.is(stops.push('!'), '##!')
  t.false(stops.matched)
})

test('a stop string ends the text before it, and nothing follows', (t) => {
  const stops = new StopStrings(['###'])
  t.is(stops.push('one ##'), 'one ')
  t.is(stops.push('# two'), '')
  t.true(stops.matched)
  t.is(stops.push('three'), '')
  t.is(stops.flush(), '')
})

test('text still held at the end is given out', (t) => {
  const stops = new StopStrings(['###'])
  stops.push('one ##')
  t.is(stops.flush(), '##')
})

test('of two stop strings the one that is complete first wins', (t) => {
  const stops = new StopStrings(['abcd', 'bc'])
  t.is(stops.push('xabcd'), 'xa')
})

test('of two stop strings that end together the longer one is cut off', (t) => {
  const stops = new StopStrings(['c', 'abc'])
  t.is(stops.push('xabc'), 'x')
})

test('how the text is cut into pieces makes no difference', (t) => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 24 })
  const strings = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 }), {
    maxLength: 3,
  })
  fc.assert(
    fc.property(letters, strings, fc.array(fc.nat(24)), (text, list, cuts) => {
      const whole = new StopStrings(list)
      const pieces = new StopStrings(list)
      const expected = whole.push(text) + whole.flush()
      const bounds = [0, ...cuts.map((cut) => Math.min(cut, text.length)).sort((a, b) => a - b), text.length]
      const got = bounds.slice(1).map((end, index) => pieces.push(text.slice(bounds[index], end)))
      t.is(got.join('') + pieces.flush(), expected)
      t.is(pieces.matched, whole.matched)
      t.is(
        whole.matched,
        list.some((string) => text.includes(string)),
      )
    }),
  )
})
