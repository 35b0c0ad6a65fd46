import test from 'ava'
import { biasById } from '../../lib/answers/logit-bias.js'
import type { Tokenizer } from '../../lib/tokenizer/tokenizer.js'

/** A vocabulary that writes bytes in letters of its own, as byte-level BPE does: `Ġ` for a space, `Ċ` for a line feed. */
const pieces = ['Ġred', 'red', 'Ċ', 'Ġ']
const texts = [' red', 'red', '\n', ' ']
const tokenizer = {
  tokenId: (piece: string) => (pieces.includes(piece) ? pieces.indexOf(piece) : undefined),
  encode: (text: string) => Int32Array.from(texts.includes(text) ? [texts.indexOf(text)] : [3, 1]),
  pieceBytes: (id: number) => Buffer.from(texts[id] ?? ''),
} as unknown as Tokenizer

test('keys are ids, pieces, or what a token reads as', (t) => {
  t.deepEqual(biasById({ 2: 1 }, tokenizer, 4), { 2: 1 })
  t.deepEqual(biasById({ Ġred: 1, red: 2, '\n': -Infinity }, tokenizer, 4), { 0: 1, 1: 2, 2: -Infinity })
  t.deepEqual(biasById({ ' red': 3 }, tokenizer, 4), { 0: 3 })
})

test('keys of the same token add up', (t) => {
  t.deepEqual(biasById({ 0: 1, ' red': 2, Ġred: 0.5 }, tokenizer, 4), { 0: 3.5 })
})

test('a text of several tokens, and an id that is none, are refused', (t) => {
  t.throws(() => biasById({ 'red red': 1 }, tokenizer, 4), {
    code: 'INVALID_ARGUMENT',
    message: /"red red", whose tokens are 3, 1/,
  })
  t.throws(() => biasById({ 4: 1 }, tokenizer, 4), { code: 'INVALID_ARGUMENT', message: /\[0, 3\]/ })
})
