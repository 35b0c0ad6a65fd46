import test from 'ava'
import fc from 'fast-check'
import { finish } from '../../lib/slices.js'
import { tokenizerFromJson } from '../../lib/tokenizer/parse.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import {
  documentOf,
  expected,
  llamaAtHand,
  llamaMissing,
  llamaTokenizer,
  llamaVectors,
  sentencePieceTokenizer,
  smallTokenizer,
  textsOf,
  tokenizerConfig,
  variant,
  type Variant,
} from './vocabularies.js'

/** Every text whose ids differ. */
function departures(tokenizer: Tokenizer, { ids, over }: Variant, parseSpecial: boolean, addBos?: boolean): object[] {
  const options = addBos === undefined ? { parseSpecial } : { parseSpecial, addBos }
  return textsOf({ ids, over }).flatMap((text, index) => {
    const got = [...tokenizer.encode(text, options)]
    return got.join() === ids[index]?.join() ? [] : [{ text, got, expected: ids[index] }]
  })
}

for (const [name, jsonVariant] of Object.entries(expected.variants)) {
  if (jsonVariant.differences === undefined) continue
  const spec = finish(tokenizerFromJson(documentOf(jsonVariant), tokenizerConfig))
  // The guard that keeps users' words from becoming special is a rule of ours; the variants have no such token to trip it.
  const tokenizer = new Tokenizer(spec)

  test(`ids are those of Hugging Face's tokenizers: ${name}`, (t) => {
    t.deepEqual(departures(tokenizer, jsonVariant, true), [])
  })

  test(`decoding is that of Hugging Face's tokenizers: ${name}`, (t) => {
    const wrong = textsOf(jsonVariant).flatMap((text, index) => {
      const got = tokenizer.decode(jsonVariant.ids[index] ?? [])
      const right = jsonVariant.decoded?.[index] ?? text
      return got === right ? [] : [{ got, right }]
    })
    t.deepEqual(wrong, [])
  })
}

test('merges written as "a b" are the merges written as pairs', (t) => {
  const four = variant('transformers 4')
  const document = documentOf(four)
  const merges = document.model.merges.map((pair) => pair.join(' '))
  const tokenizer = new Tokenizer(
    finish(tokenizerFromJson({ ...document, model: { ...document.model, merges } }, tokenizerConfig)),
  )
  t.deepEqual(departures(tokenizer, four, true), [])
})

test('ids by scores are those of SentencePiece', (t) => {
  t.deepEqual(departures(sentencePieceTokenizer(), variant('sentencepiece'), false, false), [])
})

test('ids without prefix space are those of SentencePiece without dummy prefix', (t) => {
  t.deepEqual(
    departures(
      sentencePieceTokenizer({ add_prefix_space: false }),
      variant('sentencepiece, no prefix space'),
      false,
      false,
    ),
    [],
  )
})

test('decoding is that of SentencePiece', (t) => {
  const { ids, decoded } = variant('sentencepiece')
  const tokenizer = sentencePieceTokenizer()
  for (const [index, text] of expected.texts.entries())
    t.is(tokenizer.decode(ids[index] ?? []), decoded?.[index] ?? text)
})

test('with legacy each segment after a special token gets a prefix space', (t) => {
  const tokenizer = sentencePieceTokenizer({ legacy: true })
  const alone = (text: string): number[] => [...tokenizer.encode(text, { addBos: false })]
  t.deepEqual(
    [...tokenizer.encode('Hello</s>USER: hi', { parseSpecial: true })],
    [1, ...alone('Hello'), 2, ...alone('USER: hi')],
  )
})

test('without legacy only the segment that opens the text gets a prefix space', (t) => {
  const tokenizer = sentencePieceTokenizer({ legacy: false })
  const bare = sentencePieceTokenizer({ add_prefix_space: false })
  const alone = (text: string): number[] => [...bare.encode(text, { addBos: false })]
  t.deepEqual(
    [...tokenizer.encode('Hello</s>USER: hi', { parseSpecial: true })],
    [1, ...tokenizer.encode('Hello', { addBos: false }), 2, ...alone('USER: hi')],
  )
  t.deepEqual([...tokenizer.encode('</s>USER: hi', { parseSpecial: true })], [1, 2, ...alone('USER: hi')])
})

test('text never becomes a special token unless that is asked for', (t) => {
  const tokenizer = smallTokenizer()
  for (const text of expected.specialTexts) {
    const ids = [...tokenizer.encode(text, { addBos: false })]
    t.false(
      ids.some((id) => tokenizer.isSpecial(id)),
      text,
    )
    t.is(tokenizer.decode(ids), text.startsWith(' ') ? text.slice(1) : text.replaceAll('▁', ' '))
  }
})

test('a special token is not completed across parts', (t) => {
  const tokenizer = smallTokenizer()
  const parts = [
    { text: '<ima', special: false },
    { text: 'ge></', special: true },
    { text: 's>', special: false },
  ]
  t.deepEqual([...tokenizer.encodeParts(parts)], [...tokenizer.encode('<image></s>')])
})

test('parts side by side are one text to byte-pair encoding', (t) => {
  const tokenizer = smallTokenizer()
  const text = 'USER: What is in this picture? ASSISTANT:'
  for (let cut = 0; cut <= text.length; cut++) {
    const parts = [
      { text: text.slice(0, cut), special: true },
      { text: text.slice(cut), special: false },
    ]
    t.deepEqual(tokenizer.encodeParts(parts), tokenizer.encode(text))
  }
})

test('users’ words do not become a user-defined piece that reads like markup', (t) => {
  const added = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false }
  const document = {
    ...documentOf({ over: 'texts', ids: [] }),
    added_tokens: [
      { id: 600, content: '<image>', ...added },
      { id: 601, content: 'word', ...added },
    ],
  }
  const tokenizer = new Tokenizer(finish(tokenizerFromJson(document)))
  t.false([...tokenizer.encode('a <image> b')].includes(600))
  t.true([...tokenizer.encode('a word b')].includes(601))
})

test('decoding what was encoded gives the text back', (t) => {
  for (const tokenizer of [smallTokenizer({ prefixSpaceOnce: false }), sentencePieceTokenizer()]) {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[ \n\ta-z🦙é]*$/u)), (text) => {
        t.is(tokenizer.decode(tokenizer.encode(text)), text.replaceAll('▁', ' '))
      }),
      { numRuns: 500 },
    )
  }
})

test('half a surrogate pair is encoded as U+FFFD', (t) => {
  const tokenizer = smallTokenizer()
  t.deepEqual(tokenizer.encode('a\ud83eb\udd99'), tokenizer.encode('a\ufffdb\ufffd'))
  t.is(tokenizer.decode(tokenizer.encode('🦙')), '🦙')
})

test('an id outside the vocabulary is refused with a typed error', (t) => {
  const tokenizer = smallTokenizer()
  for (const id of [-1, -200, 602, 1.5, Number.NaN])
    t.throws(() => tokenizer.decode([id]), { code: 'INVALID_ARGUMENT' })
  t.throws(() => tokenizer.encodeParts([{ id: -200 }]), { code: 'INVALID_ARGUMENT' })
})

test('ids without a piece do not count as vocabulary', (t) => {
  const spec = finish(tokenizerFromJson(documentOf({ over: 'texts', ids: [] }), tokenizerConfig))
  const types = Uint8Array.from([...spec.types, 5, 5])
  const padded = new Tokenizer({
    ...spec,
    pieces: [...spec.pieces, '[PAD602]', '[PAD603]'],
    types,
    scores: new Float32Array(604),
  })
  t.is(padded.vocabSize, 602)
})

// Under a second where the machine is idle.
test('100 kB of text takes a time that grows with its length', (t) => {
  const words = expected.texts.join(' ')
  for (const text of [
    words.repeat(Math.ceil(100_000 / words.length)),
    'a'.repeat(100_000),
    ' '.repeat(100_000),
    '🦙'.repeat(25_000),
  ]) {
    for (const tokenizer of [smallTokenizer(), sentencePieceTokenizer()]) {
      const begun = performance.now()
      tokenizer.encode(text)
      t.true(performance.now() - begun < 5000) // minutes, if it grew with the square
    }
  }
})

const withLlama = llamaAtHand ? test : test.skip
if (!llamaAtHand) console.log(llamaMissing)

withLlama('all of llama.cpp’s vectors for the LLaMA vocabulary are exact', async (t) => {
  const tokenizer = await llamaTokenizer()
  const vectors = llamaVectors()
  t.is(vectors.length, 47)
  for (const { text, ids } of vectors)
    t.deepEqual([...tokenizer.encode(text, { addBos: false })], [...ids], JSON.stringify(text))
})

withLlama('LLaMA’s vectors decode to their texts', async (t) => {
  const tokenizer = await llamaTokenizer()
  for (const { text, ids } of llamaVectors()) t.is(tokenizer.decode(ids), text)
})

withLlama('single texts have the ids of the reference', async (t) => {
  const tokenizer = await llamaTokenizer()
  const golden: Record<string, number[]> = {
    'Hello world': [15043, 3186],
    ' ': [259],
    '  ': [1678],
    é: [904],
    '🦙': [29871, 243, 162, 169, 156],
    '<image>': [529, 3027, 29958],
    '###': [835],
    'ASSISTANT:': [319, 1799, 9047, 13566, 29901],
  }
  for (const [text, ids] of Object.entries(golden))
    t.deepEqual([...tokenizer.encode(text, { addBos: false })], ids, text)
})

withLlama('single texts without prefix space have the ids of the reference', async (t) => {
  const tokenizer = await llamaTokenizer({ prefixSpace: 'never' })
  const golden: Record<string, number[]> = { Hello: [10994], 'USER:': [11889, 29901], '🦙': [243, 162, 169, 156] }
  for (const [text, ids] of Object.entries(golden))
    t.deepEqual([...tokenizer.encode(text, { addBos: false })], ids, text)
})

for (const [name, tokenizer] of [
  ['SentencePiece', sentencePieceTokenizer()],
  ['tokenizer.json', smallTokenizer()],
] as const) {
  test(`${name}: no text has fewer tokens than its length says`, (t) => {
    const words = fc.constantFrom(' ', '  ', 'the', ' the', 'a', '\u{1F600}', '\n', 'é', '<unk>', '中')
    fc.assert(
      fc.property(fc.array(fc.oneof(words, fc.string()), { maxLength: 60 }), (parts) => {
        const text = parts.join('')
        t.true(tokenizer.fewestTokens(text.length) <= tokenizer.encode(text, { addBos: false }).length)
      }),
    )
  })
}
