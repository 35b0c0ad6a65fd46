// The algebra of languages: what `within` forgets no short text can tell, and equal expressions are one object.

import test from 'ava'
import fc from 'fast-check'
import { ByteSet } from '../../lib/structured/byte-set.js'
import { Languages, type Language } from '../../lib/structured/language.js'
import { automatonOf, compiledLanguage } from './acceptance.js'

type Build = (languages: Languages) => Language

const letter = fc.constantFrom('a', 'b').map(
  (one): Build =>
    (languages) =>
      languages.literal(one),
)
const plain = fc.letrec<{ language: Build }>((tie) => ({
  language: fc.oneof(
    { maxDepth: 4 },
    letter,
    fc.tuple(tie('language'), tie('language')).map(
      ([a, b]): Build =>
        (made) =>
          made.sequence(a(made), b(made)),
    ),
    fc.tuple(tie('language'), tie('language')).map(
      ([a, b]): Build =>
        (made) =>
          made.choice(a(made), b(made)),
    ),
    fc.tuple(tie('language'), fc.nat(6), fc.oneof(fc.nat(6), fc.constant(Infinity))).map(
      ([of, min, more]): Build =>
        (made) =>
          made.repeat(of(made), min, min + more),
    ),
  ),
})).language

/** All words over a and b of at most so many letters. */
function words(length: number): string[] {
  return length === 0 ? [''] : ['', ...words(length - 1).flatMap((word) => [`a${word}`, `b${word}`])]
}

/** For each word whether a text begins so, and whether it is one. */
function told(languages: Languages, language: Language, length: number): string[] {
  return [...new Set(words(length))].map((word) => {
    let left = language
    for (const byte of Buffer.from(word)) left = languages.derive(left, byte)
    return `${word} ${left !== languages.none} ${left.nullable}`
  })
}

test('within a length a language is told from its simpler form by no text', (t) => {
  let simpler = 0
  fc.assert(
    fc.property(plain, fc.integer({ min: 1, max: 4 }), (build, length) => {
      const languages = new Languages()
      const language = build(languages)
      const near = languages.within(language, length)
      if (near !== language) simpler++
      t.deepEqual(told(languages, near, length), told(languages, language, length))
      t.is(languages.within(near, length), near)
    }),
    { numRuns: 400 },
  )
  t.true(simpler > 20, String(simpler))
})

test('long counts lead to one language', (t) => {
  const languages = new Languages()
  const letter = languages.byte(ByteSet.range(97, 122))
  const near = (min: number, max: number) => languages.within(languages.repeat(letter, min, max), 5)
  t.is(near(0, 100), near(0, 99))
  t.is(near(50, 100), near(49, 99))
  t.not(near(0, 5), near(0, 4))
})

test('equal expressions are one object', (t) => {
  const languages = new Languages()
  const [a, b, c] = ['aa', 'bb', 'cc'].map((text) => languages.literal(text)) as [Language, Language, Language]
  t.is(languages.choice(a, languages.choice(c, b)), languages.choice(b, a, c, a, languages.none))
  t.is(
    languages.sequence(languages.sequence(a, b), c),
    languages.sequence(a, languages.sequence(b, c), languages.empty),
  )
  t.is(languages.both(a, languages.both(b, c)), languages.both(c, b, a, a))
  t.is(languages.not(languages.not(a)), a)
  t.is(languages.literals(['ab', 'ac', 'ab']), languages.literals(['ac', 'ab']))
})

test('an intersection that holds nothing has no start, and one that ends has an end', (t) => {
  const languages = new Languages()
  const even = languages.repeat(languages.literal('aa'))
  const odd = languages.sequence(languages.literal('a'), even)
  t.is(automatonOf(compiledLanguage(languages, languages.both(even, odd))).start, undefined)
  t.true(automatonOf(compiledLanguage(languages, languages.both(even, languages.not(odd)))).start?.accepting)
})
