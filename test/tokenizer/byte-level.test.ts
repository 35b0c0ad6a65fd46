import test from 'ava'
import fc from 'fast-check'
import { finish } from '../../lib/slices.js'
import { byteAlphabet } from '../../lib/tokenizer/byte-alphabet.js'
import { DecodeStream } from '../../lib/tokenizer/decode-stream.js'
import { tokenizerFromGguf, tokenizerFromJson } from '../../lib/tokenizer/parse.js'
import { PieceType } from '../../lib/tokenizer/spec.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import { byteLevelVariant, byteLevelVariants, missingByteVariants, type ByteLevelVariant } from './vocabularies.js'

function tokenizerOf({ document }: ByteLevelVariant): Tokenizer {
  return new Tokenizer(finish(tokenizerFromJson(document)))
}

/** The same vocabulary as the keys of a GGUF file. */
function ggufKeys({ name, document }: ByteLevelVariant): Map<string, unknown> {
  const { pieces, types } = finish(tokenizerFromJson(document))
  return new Map<string, unknown>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', name],
    ['tokenizer.ggml.tokens', pieces],
    ['tokenizer.ggml.token_type', Int32Array.from(types)],
    ['tokenizer.ggml.merges', document.model.merges.map((pair) => pair.join(' '))],
    ['tokenizer.ggml.bos_token_id', pieces.indexOf('<|begin|>')],
    ['tokenizer.ggml.eos_token_id', pieces.indexOf('</s>')],
  ])
}

/** Every text whose ids differ. */
function departures(tokenizer: Tokenizer, { rows }: ByteLevelVariant): object[] {
  return rows.flatMap(({ text, ids }) => {
    const got = [...tokenizer.encode(text, { parseSpecial: true, addBos: false })]
    return got.join() === ids.join() ? [] : [{ text, got, expected: ids }]
  })
}

for (const variant of byteLevelVariants) {
  const tokenizer = tokenizerOf(variant)

  test(`byte-level ids are those of Hugging Face's tokenizers: ${variant.name}`, (t) => {
    t.true(variant.rows.length > 100)
    t.deepEqual(departures(tokenizer, variant), [])
  })

  test(`a GGUF vocabulary gives the ids of its tokenizer.json: ${variant.name}`, (t) => {
    const spec = finish(tokenizerFromGguf(ggufKeys(variant)))
    t.deepEqual(departures(new Tokenizer(spec), variant), [])
    t.deepEqual(spec.byteLevel, finish(tokenizerFromJson(variant.document)).byteLevel)
  })

  test(`byte-level decoding, at once and streamed, is that of Hugging Face's tokenizers: ${variant.name}`, (t) => {
    for (const { ids, decoded } of variant.rows) {
      const stream = new DecodeStream(tokenizer)
      t.is(tokenizer.decode(ids), decoded)
      t.is(ids.map((id) => stream.push(id)).join('') + stream.flush(), decoded)
    }
  })
}

for (const variant of missingByteVariants) {
  test(`bytes without a piece become what Hugging Face's tokenizers make of them: ${variant.name}`, (t) => {
    t.is(variant.rows.length, 10)
    t.deepEqual(departures(tokenizerOf(variant), variant), [])
  })
}

test('a GGUF vocabulary drops bytes that have no piece', (t) => {
  const [dropped] = missingByteVariants
  t.is(dropped?.name, 'dropped')
  const keys = ggufKeys({ ...(dropped as ByteLevelVariant), name: 'gpt-2' })
  t.deepEqual(departures(new Tokenizer(finish(tokenizerFromGguf(keys))), dropped as ByteLevelVariant), [])
})

test('a piece that no merges lead to is found by ignore_merges alone', (t) => {
  const whole = tokenizerOf(byteLevelVariant('llama-bpe'))
  t.is(whole.encode(' houseboat', { addBos: false }).length, 1)
  t.true(tokenizerOf(byteLevelVariant('qwen2')).encode(' houseboat', { addBos: false }).length > 1)
})

test('the post-processor says whether BOS comes first', (t) => {
  const begin = tokenizerOf(byteLevelVariant('llama-bpe'))
  t.is(begin.encode('a')[0], begin.tokenId('<|begin|>'))
  t.is(tokenizerOf(byteLevelVariant('qwen2')).encode('a').length, 1)
})

test('without add_bos_token a GGUF file has BOS where its pre-tokenizer has', (t) => {
  for (const [name, addBos] of [
    ['llama-bpe', true],
    ['tekken', true],
    ['qwen2', false],
    ['gpt-2', false],
  ] as const) {
    t.is(finish(tokenizerFromGguf(ggufKeys(byteLevelVariant(name)))).addBos, addBos, name)
  }
  t.false(
    finish(tokenizerFromGguf(ggufKeys(byteLevelVariant('llama-bpe')).set('tokenizer.ggml.add_bos_token', false)))
      .addBos,
  )
})

test('byte-level text never becomes a special token unless that is asked for', (t) => {
  for (const variant of byteLevelVariants) {
    const tokenizer = tokenizerOf(variant)
    for (const { text } of variant.rows) {
      const ids = [...tokenizer.encode(text, { addBos: false })]
      t.false(
        ids.some((id) => tokenizer.isSpecial(id)),
        text,
      )
      t.is(tokenizer.decode(ids), variant.name === 'qwen2' ? text.normalize('NFC') : text)
    }
  }
})

test('parts side by side are one byte-level text, but a special token is only seen inside one', (t) => {
  const tokenizer = tokenizerOf(byteLevelVariant('llama-bpe'))
  const encode = (...parts: (readonly [string, boolean])[]): number[] => [
    ...tokenizer.encodeParts(
      parts.map(([text, special]) => ({ text, special })),
      { addBos: false },
    ),
  ]
  t.deepEqual(encode(['the ca', true], ['t sees', false]), encode(['the cat sees', false]))
  const end = tokenizer.tokenId('<|end|>')
  t.deepEqual(encode(['a', false], ['<|end|>', true], ['b', false]), [
    ...encode(['a', false]),
    end as number,
    ...encode(['b', false]),
  ])
  t.false(encode(['<|', true], ['end|>', true]).includes(end as number))
  t.false(encode(['<|end|>', false]).includes(end as number))
})

test('every byte-level text comes back', (t) => {
  const tokenizers = byteLevelVariants.filter(({ name }) => name !== 'qwen2').map(tokenizerOf)
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 30 }), (text) => {
      for (const tokenizer of tokenizers) t.is(tokenizer.decode(tokenizer.encode(text)), text)
    }),
    { numRuns: 200 },
  )
})

test('half a character waits in the stream, and becomes U+FFFD at the end', (t) => {
  const tokenizer = tokenizerOf(byteLevelVariant('gpt-2'))
  const bytes = [...Buffer.from('🦙')].map((byte) => tokenizer.tokenId(byteAlphabet[byte] as string) as number)
  const stream = new DecodeStream(tokenizer)
  t.deepEqual(
    bytes.map((id) => stream.push(id)),
    ['', '', '', '🦙'],
  )
  t.deepEqual([...bytes.slice(0, 2).map((id) => stream.push(id)), stream.flush()], ['', '', '\ufffd'])
})

test('the byte alphabet has 256 characters, printable ones for themselves', (t) => {
  t.is(new Set(byteAlphabet).size, 256)
  t.deepEqual(
    [byteAlphabet[0x41], byteAlphabet[0x20], byteAlphabet[0x0a], byteAlphabet[0xad], byteAlphabet[0xff]],
    ['A', 'Ġ', 'Ċ', 'Ń', 'ÿ'],
  )
})

test("tokens that end a turn end a GGUF model's answer whether or not a key names them", (t) => {
  const keys = ggufKeys(byteLevelVariant('llama-bpe'))
  const { eosIds } = finish(tokenizerFromGguf(keys))
  const pieces = keys.get('tokenizer.ggml.tokens') as string[]
  t.deepEqual(eosIds, [pieces.indexOf('</s>'), pieces.indexOf('<|end|>')])
})

test('a piece that merely reads like a special token is not taken for BOS', (t) => {
  const { document } = byteLevelVariant('gpt-2')
  const vocab = { ...(document.model['vocab'] as object), '<s>': 641 }
  const added = (document['added_tokens'] as { id: number }[]).map((token) => ({ ...token, id: token.id + 1 }))
  t.is(
    finish(tokenizerFromJson({ ...document, model: { ...document.model, vocab }, added_tokens: added })).bosId,
    undefined,
  )
})

test('an unknown pre-tokenizer of a GGUF file is refused by name', (t) => {
  const keys = ggufKeys(byteLevelVariant('gpt-2'))
  for (const name of ['kimi-k2', 'toString', 7]) {
    t.throws(() => finish(tokenizerFromGguf(keys.set('tokenizer.ggml.pre', name))), {
      code: 'MODEL_UNSUPPORTED',
      message: new RegExp(`tokenizer\\.ggml\\.pre "?${name}`),
    })
  }
})

test('damaged GGUF keys of a byte-level vocabulary give a typed error', (t) => {
  const keys = (): Map<string, unknown> => ggufKeys(byteLevelVariant('gpt-2'))
  const types = keys().get('tokenizer.ggml.token_type') as Int32Array
  const damage: [string, unknown][] = [
    ['tokenizer.ggml.tokens', 7],
    ['tokenizer.ggml.token_type', types.slice(1)],
    ['tokenizer.ggml.token_type', types.map(() => PieceType.byte)],
    ['tokenizer.ggml.merges', 'a b'],
    ['tokenizer.ggml.merges', ['a']],
    ['tokenizer.ggml.merges', ['a b c']],
    ['tokenizer.ggml.merges', [3]],
    ['tokenizer.ggml.bos_token_id', 100_000],
  ]
  for (const [key, value] of damage)
    t.throws(() => finish(tokenizerFromGguf(keys().set(key, value))), { code: 'MODEL_CORRUPT' }, key)
})
