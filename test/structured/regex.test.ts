// Patterns as languages, against the engine's own RegExp: what the automaton takes is what the engine matches as a whole, and nothing else.

import test from 'ava'
import fc from 'fast-check'
import { Random } from '../../lib/sampling/random.js'
import { automatonOf, compiledRegex, compiledSchema, stateAfter, takes } from './acceptance.js'
import { textOf } from './text-of.js'

/** The same pattern for the engine, held to the whole text. */
function whole({ source, flags }: RegExp): RegExp {
  return new RegExp(`^(?:${source})$`, flags.includes('u') || flags.includes('v') ? flags : `${flags}u`)
}

const patterns = [
  /abc/,
  /a|bc|/,
  /a*b+c?/,
  /(?:ab){2,3}/,
  /[a-c]{0,2}[^a-c]/u,
  /\d+(?:\.\d{1,2})?/,
  /\w\W\s\S\D/,
  /./,
  /./s,
  /[^]/,
  /\u{1f600}|\x41|\u00e9/u,
  /[\u0080-\u07ff]{2}/,
  /[\u{10000}-\u{10ffff}]|[\ud7ff-\ue000]/u,
  /\p{Lu}\p{L}*/u,
  /\P{ASCII}/u,
  /\p{Script=Greek}+/u,
  new RegExp('[\\p{L}--[a-z]]&?', 'v'),
  new RegExp('[\\w&&\\d]', 'v'),
  /^(?!.*aa)[ab]{1,6}$/,
  /(?=.*\d)(?=.*[a-z])[a-z\d]{2,5}/,
  /^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$/,
  /(a?){3}b/,
  /(?:a|b|ab)*c/,
  /((a*)*b?)*/,
  /x{0}y/,
] as const

const alphabet = fc.string({
  unit: fc.constantFrom(...Array.from('aabbcABC0129.@-_ \n\u00e9\u03b1\u{1f600}\u2028\ue000')),
  maxLength: 8,
})

for (const pattern of patterns) {
  test(`${String(pattern)} takes what the engine matches`, (t) => {
    const automaton = automatonOf(compiledRegex(pattern))
    const engine = whole(pattern)
    fc.assert(
      fc.property(alphabet, (text) => {
        t.is(takes(automaton, text), engine.test(text), JSON.stringify(text))
      }),
      { numRuns: 300 },
    )
    const random = new Random(5)
    for (let n = 0; n < 60; n++) {
      const bytes = textOf(automaton, random)
      if (bytes === undefined) continue
      const text = bytes.toString()
      t.deepEqual(Buffer.from(text), bytes, 'UTF-8')
      t.true(engine.test(text), JSON.stringify(text))
    }
  })
}

const atoms = fc.constantFrom('a', 'b', '[ab]', '[^a]', '.', 'c', '\\d')
const generated = fc.letrec<{ pattern: string }>((tie) => ({
  pattern: fc.oneof(
    { maxDepth: 4 },
    atoms,
    fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => a + b),
    fc.tuple(tie('pattern'), tie('pattern')).map(([a, b]) => `(?:${a}|${b})`),
    fc.tuple(tie('pattern'), fc.constantFrom('*', '+', '?', '{2}', '{1,3}', '{0,2}?')).map(([a, q]) => `(?:${a})${q}`),
  ),
})).pattern

test('any pattern of alternatives, repeats and classes takes what the engine matches', (t) => {
  fc.assert(
    fc.property(
      generated,
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1', 'é'), maxLength: 6 })),
      (source, texts) => {
        const automaton = automatonOf(compiledRegex(new RegExp(source)))
        const engine = whole(new RegExp(source))
        for (const text of texts) t.is(takes(automaton, text), engine.test(text), JSON.stringify({ source, text }))
      },
    ),
    { numRuns: 300 },
  )
})

const found = [
  'b',
  '^b',
  'b$',
  '^b$',
  '^a|b$',
  '(^a|b)$',
  '^(?:a|^b)',
  '',
  '^',
  '$',
  'a(?=b)',
  '^(?!a)',
  '(?!a$)[ab]$',
] as const

for (const pattern of found) {
  test(`pattern ${JSON.stringify(pattern)} of a schema is looked for anywhere in the string`, (t) => {
    const automaton = automatonOf(compiledSchema({ type: 'string', pattern }))
    const engine = new RegExp(pattern, 'u')
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b', '"', '\\', '\n', '\u0001', 'é'), maxLength: 4 }),
        (text) => {
          const isWritten = !text.includes('\u0001')
          t.is(takes(automaton, JSON.stringify(text)), isWritten && engine.test(text), JSON.stringify(text))
        },
      ),
      { numRuns: 200 },
    )
  })
}

for (const [pattern, message] of [
  [/(?<=a)b/, /regex: a lookbehind \(`\(\?<=a\)`\) is not supported/],
  [/(?<!a)b/, /a lookbehind/],
  [/(a)\1/, /a backreference \(`\\1`\)/],
  [/\bword/, /a word boundary/],
  [/(?:(?=a)a)+/, /a lookahead inside a group/],
  [/a^b/, /\^ inside a pattern/],
  [/a/i, /the flag `i` of a pattern/],
  [/^a/m, /the flag `m` of a pattern/],
  [new RegExp('[\\q{ab|c}]', 'v'), /a class of strings/],
  [new RegExp('\\p{RGI_Emoji}', 'v'), /a property of strings/],
] as const) {
  test(`${String(pattern)} is refused by name`, (t) => {
    t.throws(() => compiledRegex(pattern), { code: 'INVALID_ARGUMENT', message })
  })
}

test('what is no pattern is said', (t) => {
  t.throws(() => compiledSchema({ properties: { a: { pattern: '(' } } }), {
    code: 'INVALID_ARGUMENT',
    message: /schema #\/properties\/a: "\(" is no regular expression/,
  })
})

test('no step leads to where there is no end', (t) => {
  for (const pattern of patterns) {
    const automaton = automatonOf(compiledRegex(pattern))
    const random = new Random(9)
    for (let n = 0; n < 20; n++) {
      const bytes = textOf(automaton, random) // throws where a state leads to no end
      if (bytes !== undefined) t.true(stateAfter(automaton, bytes)?.accepting)
    }
  }
})
