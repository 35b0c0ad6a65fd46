// Masks against trying every token, and answers drawn from random logits under every option: all end as texts of their format.

import { Ajv2020 } from 'ajv/dist/2020.js'
import test from 'ava'
import fc from 'fast-check'
import { Random } from '../../lib/sampling/random.js'
import type { SamplingOptions } from '../../lib/sampling/options.js'
import { Sampler } from '../../lib/sampling/sampler.js'
import type { State } from '../../lib/structured/automaton.js'
import { applyMask, maskOf, type Mask } from '../../lib/structured/mask.js'
import { Matcher } from '../../lib/structured/matcher.js'
import { TokenAutomaton } from '../../lib/structured/token-automaton.js'
import { Vocabulary, type Pieces } from '../../lib/structured/vocabulary.js'
import { finish } from '../../lib/slices.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import { tokenizerFromJson } from '../../lib/tokenizer/parse.js'
import { byteLevelVariant, sentencePieceTokenizer, smallTokenizer } from '../tokenizer/vocabularies.js'
import { automatonOf, compiledRegex, compiledSchema, stateAfter, type Compiled } from './acceptance.js'

function piecesOf(tokenizer: Tokenizer): Pieces {
  return { count: tokenizer.vocabSize, bytes: (id) => tokenizer.pieceBytes(id) }
}

function listed(...texts: readonly (string | readonly number[])[]): Pieces {
  const bytes = texts.map((text) => (typeof text === 'string' ? Buffer.from(text) : Uint8Array.from(text)))
  return { count: bytes.length, bytes: (id) => bytes[id] as Uint8Array }
}

const vocabularies: Readonly<Record<string, Pieces>> = {
  'SentencePiece, bytes for what has no piece': piecesOf(sentencePieceTokenizer()),
  'tokenizer.json': piecesOf(smallTokenizer()),
  'byte level': piecesOf(new Tokenizer(finish(tokenizerFromJson(byteLevelVariant('gpt-2').document)))),
}

const formats: Readonly<Record<string, Compiled>> = {
  object: compiledSchema({
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 12 },
      kind: { enum: ['cat', 'category', 'dog', 'é😀'] },
      score: { type: 'number', minimum: 0, maximum: 1 },
      tags: { type: 'array', items: { type: 'string', pattern: '^[a-z ]+$' }, minItems: 1, maxItems: 3 },
    },
    required: ['name', 'kind'],
  }),
  anything: compiledSchema(true),
  'at least so long': compiledSchema({ type: 'string', minLength: 4, maxLength: 90 }),
  choices: compiledRegex(/red|green|light green|r/),
  regex: compiledRegex(/[A-Z]\w{0,20}(?: [a-zé]+){2}\.?/),
}

function allowed({ bits, ids }: Mask, count: number): boolean[] {
  return Array.from({ length: count }, (_, id) =>
    ids === undefined ? (((bits as Uint32Array)[id >> 5] as number) >>> (id & 31)) % 2 === 1 : ids.includes(id),
  )
}

/** Each token tried by itself. */
function tried(state: State, pieces: Pieces, step: (state: State, byte: number) => State | null): boolean[] {
  return Array.from({ length: pieces.count }, (_, id) => {
    const bytes = pieces.bytes(id)
    let at: State | null = state
    for (const byte of bytes) at = at === null ? null : step(at, byte)
    return bytes.length > 0 && at !== null
  })
}

for (const [vocabularyName, pieces] of Object.entries(vocabularies)) {
  const vocabulary = finish(Vocabulary.read(pieces))
  for (const [formatName, format] of Object.entries(formats)) {
    test(`${vocabularyName}, ${formatName}: the mask is what trying every token gives, all the way`, (t) => {
      const automaton = automatonOf(format)
      const tokens = TokenAutomaton.of(format.grammar, format.root, vocabulary, pieces) as TokenAutomaton
      const random = new Random(3)
      for (let run = 0; run < 4; run++) {
        let bytes = Buffer.alloc(0)
        let state = tokens.start
        for (let length = 0; length < 12; length++) {
          const plain = stateAfter(automaton, bytes) as State
          const expected = tried(plain, pieces, (at, byte) => automaton.step(at, byte))
          t.deepEqual(allowed(tokens.mask(state), pieces.count), expected, JSON.stringify(bytes.toString()))
          t.deepEqual(allowed(finish(maskOf(plain, automaton, vocabulary)), pieces.count), expected)
          t.is(state.accepting, plain.accepting)
          const ids = expected.flatMap((may, id) => (may ? [id] : []))
          if (ids.length === 0) break
          const id = ids[Math.floor(random.next() * ids.length)] as number
          bytes = Buffer.concat([bytes, pieces.bytes(id)])
          state = tokens.read(state, pieces.bytes(id)) as State
        }
      }
    })
  }
}

test('a mask that is prepared in slices is the same one, made once for all who wait, and needs no more work', async (t) => {
  const pieces = vocabularies['tokenizer.json'] as Pieces
  const format = formats['object'] as Compiled
  const [prepared, made] = [tokensOf(format, pieces), tokensOf(format, pieces)] as [TokenAutomaton, TokenAutomaton]
  const first = prepared.prepare(prepared.start)
  t.true(first instanceof Promise)
  t.is(prepared.prepare(prepared.start), first)
  await first
  t.is(prepared.prepare(prepared.start), undefined)
  const size = prepared.size
  t.deepEqual(prepared.mask(prepared.start), made.mask(made.start))
  t.is(prepared.size, size)
})

test('a mask of few and a mask of many rule out the same way', (t) => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 100 }), fc.nat(40), (may, more) => {
      const z = Float32Array.from({ length: may.length + more }, (_, id) => id + 1)
      const expected = z.map((value, id) => (may[id] === true ? value : -Infinity))
      const bits = new Uint32Array((may.length + 31) >> 5)
      may.forEach((one, id) => (bits[id >> 5] = ((bits[id >> 5] as number) | (Number(one) << (id & 31))) >>> 0))
      const ids = Int32Array.from(may.flatMap((one, id) => (one ? [id] : [])))
      const [byBits, byIds] = [z.slice(), z.slice()]
      applyMask({ bits, ids: undefined, nbytes: 0 }, byBits)
      applyMask({ bits: undefined, ids, nbytes: 0 }, byIds)
      t.deepEqual(byBits, expected)
      t.deepEqual(byIds, expected)
    }),
  )
})

function tokensOf({ grammar, root }: Compiled, pieces: Pieces): TokenAutomaton | undefined {
  return TokenAutomaton.of(grammar, root, finish(Vocabulary.read(pieces)), pieces)
}

/** An answer from random logits: its text, or `undefined` where it is not over after so many tokens. */
function drawn(
  tokens: TokenAutomaton | undefined,
  pieces: Pieces,
  options: SamplingOptions,
  seed: number,
  most: number,
  eosIds: readonly number[] = [pieces.count],
): { readonly text: string | undefined; readonly count: number } {
  if (tokens === undefined) throw new Error('no text')
  const sampler = new Sampler({ seed, ...options }, { ids: [], from: pieces.count + 1, eosIds })
  const matcher = new Matcher(tokens, eosIds)
  sampler.constrain(matcher)
  const random = new Random(seed)
  const logits = new Float32Array(pieces.count + 3)
  for (let count = 0; count < most; count++) {
    if (sampler.ended) return { text: matcher.text, count }
    for (let id = 0; id < logits.length; id++) logits[id] = 8 * random.next()
    const id = sampler.next(logits)
    if (eosIds.includes(id)) {
      if (!matcher.complete) throw new Error('ended before its end')
      return { text: matcher.text, count }
    }
  }
  return { text: undefined, count: most }
}

const bounded = compiledSchema({
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 6 },
    n: { type: 'integer', minimum: -20, maximum: 300 },
    kind: { enum: ['cat', 'category'] },
    list: { type: 'array', items: { type: 'boolean' }, maxItems: 3 },
  },
  required: ['name', 'n', 'kind'],
})
const isBounded = new Ajv2020().compile({
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 6 },
    n: { type: 'integer', minimum: -20, maximum: 300 },
    kind: { enum: ['cat', 'category'] },
    list: { type: 'array', items: { type: 'boolean' }, maxItems: 3 },
  },
  required: ['name', 'n', 'kind'],
  additionalProperties: false,
})

const banEverything: SamplingOptions['logitsProcessor'] = {
  process(logits) {
    logits.fill(-Infinity)
  },
}

const hostile: Readonly<Record<string, SamplingOptions>> = {
  greedy: {},
  'temperature 5': { temperature: 5 },
  'everything at once': {
    temperature: 1.5,
    topK: 3,
    topP: 0.8,
    minP: 0.05,
    typicalP: 0.9,
    repetitionPenalty: 1.5,
    frequencyPenalty: 1,
    presencePenalty: -1,
  },
  'no token twice': { temperature: 2, noRepeatNgramSize: 1 },
  'min tokens': { temperature: 3, minTokens: 25 },
  'min tokens and no token twice': { temperature: 3, minTokens: 40, noRepeatNgramSize: 1 },
  'a processor that bans everything': { temperature: 1, logitsProcessor: banEverything },
  'biases that ban the needed': {
    temperature: 1,
    logitBias: Object.fromEntries(Array.from({ length: 200 }, (_, id) => [id, -Infinity])),
  },
}

for (const [vocabularyName, pieces] of Object.entries(vocabularies)) {
  const tokens = tokensOf(bounded, pieces)
  for (const [name, options] of Object.entries(hostile)) {
    test(`${vocabularyName}, ${name}: random logits end as a value that fits`, (t) => {
      for (let seed = 0; seed < 8; seed++) {
        const { text } = drawn(tokens, pieces, options, seed, 400)
        t.true(text !== undefined && isBounded(JSON.parse(text)), text)
      }
    })
  }
}

test('the end is put off while minTokens asks for it and the text can go on', (t) => {
  const pieces = listed('a', 'b', [0x2e])
  for (let seed = 0; seed < 20; seed++) {
    t.true(drawn(tokensOf(compiledRegex(/a*/), pieces), pieces, { temperature: 5, minTokens: 9 }, seed, 100).count >= 9)
    t.is(
      drawn(tokensOf(compiledRegex(/a{3}/), pieces), pieces, { temperature: 5, minTokens: 9 }, seed, 100).text,
      'aaa',
    )
  }
})

test('a ban of every other token does not end the text before minTokens', (t) => {
  const pieces = listed('a', 'b')
  const options = { temperature: 5, minTokens: 9, noRepeatNgramSize: 1 }
  for (let seed = 0; seed < 20; seed++)
    t.true(drawn(tokensOf(compiledRegex(/a*/), pieces), pieces, options, seed, 100).count >= 9)
})

test('a model without an end-of-sequence token ends where its text is whole first', (t) => {
  const pieces = listed('a', 'b')
  t.deepEqual(drawn(tokensOf(compiledRegex(/a{2,5}/), pieces), pieces, {}, 1, 100, []), { text: 'aa', count: 2 })
})

test('a text without end goes on until it is cut', (t) => {
  const pieces = listed('a', 'b')
  const logitBias = { 0: 100 }
  t.is(drawn(tokensOf(compiledRegex(/a+b/), pieces), pieces, { logitBias }, 1, 50).text, undefined)
})

test('a byte without a token of its own is written where a longer one has it, and nothing is begun that cannot be ended', (t) => {
  const pieces = listed('a', 'bc', 'b', 'x')
  t.is(tokensOf(compiledRegex(/y/), pieces), undefined)
  // c can follow b in one token alone, which no choice of bytes sees: it is left out
  const start = tokensOf(compiledRegex(/a(?:bc|x)/), pieces) as TokenAutomaton
  const after = start.read(start.start, Buffer.from('a')) as State
  t.deepEqual(allowed(start.mask(after), pieces.count), [false, false, false, true])
})
