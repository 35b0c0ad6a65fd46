import test from 'ava'
import fc from 'fast-check'
import { DecodeStream } from '../../lib/tokenizer/decode-stream.js'
import { expected, smallTokenizer } from './vocabularies.js'

const tokenizer = smallTokenizer()

function stream(ids: Iterable<number>): string[] {
  const decoder = new DecodeStream(tokenizer)
  const texts = Array.from(ids, (id) => decoder.push(id))
  return [...texts, decoder.flush()]
}

test('streamed text is the text decoded at once, whatever the ids', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: 0, max: 601 }), fc.integer({ min: 3, max: 258 })), { maxLength: 40 }),
      (ids) => {
        t.is(stream(ids).join(''), tokenizer.decode(ids))
      },
    ),
    { numRuns: 2000 },
  )
})

test('a character of several byte pieces comes out whole with its last byte', (t) => {
  const bytes = [...Buffer.from('🦙é')].map((byte) => byte + 3)
  t.deepEqual(stream(bytes), ['', '', '', '🦙', '', 'é', ''])
})

test('a character left incomplete becomes U+FFFD at the end and not before', (t) => {
  const bytes = [...Buffer.from('🦙')].slice(0, 3).map((byte) => byte + 3)
  t.deepEqual(stream(bytes), ['', '', '', '\ufffd'])
})

test('no text given out holds half a surrogate pair', (t) => {
  for (const text of expected.texts)
    for (const piece of stream(tokenizer.encode(text))) t.notRegex(piece, /[\ud800-\udfff]/u)
})

test('exactly one leading space is dropped, wherever the text begins', (t) => {
  const space = tokenizer.tokenId('▁') as number
  const hello = tokenizer.encode('Hello', { addBos: false })
  t.is(stream(hello).join(''), 'Hello')
  t.is(stream([1, space, ...hello]).join(''), ' Hello')
  t.is(stream([space, space]).join(''), ' ')
})

test('special tokens add no text', (t) => {
  t.is(stream([1, ...tokenizer.encode('a', { addBos: false }), 2, 600, 601]).join(''), 'a')
})
