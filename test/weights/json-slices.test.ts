// JSON parsed in segments is what JSON.parse makes of it, and fails where that fails.

import test from 'ava'
import fc from 'fast-check'
import { finish } from '../../lib/slices.js'
import { parseJsonInSlices } from '../../lib/weights/json-slices.js'

/** The value, or `undefined` where the text is refused. */
function outcome(parse: () => unknown): unknown {
  try {
    return { value: parse() }
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Without the prototypes, which large objects lack. */
const plain = (value: unknown): string => JSON.stringify(value)

test('any value comes out as JSON.parse gives it, however short the segments', (t) => {
  const check = (value: unknown, space: number, segment: number): void => {
    const text = JSON.stringify(value, null, space)
    t.is(plain(finish(parseJsonInSlices(text, segment))), plain(JSON.parse(text)))
  }
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 5 }), fc.nat(2), fc.nat(40), check), { numRuns: 500 })
})

test('damaged text is refused exactly where JSON.parse refuses it', (t) => {
  const check = (value: unknown, at: number, inserted: string, removed: number, segment: number): void => {
    const text = JSON.stringify(value)
    const place = at % (text.length + 1)
    const damaged = text.slice(0, place) + inserted + text.slice(place + removed)
    t.deepEqual(
      plain(outcome(() => finish(parseJsonInSlices(damaged, segment)))),
      plain(outcome(() => JSON.parse(damaged) as unknown)),
      damaged,
    )
  }
  const piece = fc.constantFrom(
    '',
    ',',
    ',,',
    '[',
    ']',
    '{',
    '}',
    '"',
    ':',
    ' ',
    '0',
    '\\',
    'x',
    '{}',
    '[]',
    '"a":1',
    ']}',
    '}{',
    '\n',
  )
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), piece, fc.nat(2), fc.nat(20), check), {
    numRuns: 3000,
  })
})

test('members that nothing separates are refused, also behind one that was parsed by itself', (t) => {
  for (const text of ['[{"a": [1, 2, 3]}["b"]]', '{"a": {"b": 1}{"c": 2}}', '[[1, 2, 3] "b"]', '[[1, 2, 3] 4, 5]']) {
    t.throws(() => finish(parseJsonInSlices(text, 0)), { instanceOf: SyntaxError }, text)
  }
})

test('keys that objects have by themselves are keys, and the later of two wins', (t) => {
  const text = '{"__proto__": [1, 2, 3], "constructor": 4, "a": {"__proto__": 5, "b": 6}, "c": 7, "c": 8}'
  const value = finish(parseJsonInSlices(text, 0)) as Record<string, unknown>
  t.deepEqual(Object.keys(value), ['__proto__', 'constructor', 'a', 'c'])
  t.deepEqual(
    [value['__proto__'], value['c'], Object.entries(value['a'] as object)],
    [
      [1, 2, 3],
      8,
      [
        ['__proto__', 5],
        ['b', 6],
      ],
    ],
  )
})

test('a long text is parsed in many steps', (t) => {
  const vocabulary = Object.fromEntries(Array.from({ length: 50_000 }, (_, id) => [`Ġ${id.toString(36)},"[`, id]))
  const merges = Array.from({ length: 50_000 }, (_, id) => [`${id}`, 'x'])
  const text = JSON.stringify({ version: '1', model: { vocab: vocabulary, merges }, last: null })
  const work = parseJsonInSlices(text)
  let steps = 0
  for (;;) {
    const { done, value } = work.next()
    if (done !== true) steps++
    else {
      t.is(plain(value), plain({ version: '1', model: { vocab: vocabulary, merges }, last: null }))
      break
    }
  }
  t.true(steps > 50)
})
