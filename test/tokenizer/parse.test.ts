import test from 'ava'
import fc from 'fast-check'
import { finish } from '../../lib/slices.js'
import { LlavaError } from '../../lib/errors.js'
import { tokenizerFromGguf, tokenizerFromJson, tokenizerFromSentencePiece } from '../../lib/tokenizer/parse.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import { expected, sentencePieceModel, sentencePieceTokenizer, tokenizerConfig, tokenizerJson } from './vocabularies.js'

/** The same vocabulary as the keys of a GGUF file. */
function ggufKeys(): Map<string, unknown> {
  const { pieces, scores, types } = finish(tokenizerFromSentencePiece(sentencePieceModel))
  return new Map<string, unknown>([
    ['tokenizer.ggml.model', 'llama'],
    ['tokenizer.ggml.tokens', pieces],
    ['tokenizer.ggml.scores', scores],
    ['tokenizer.ggml.token_type', Int32Array.from(types)],
    ['tokenizer.ggml.bos_token_id', 1],
    ['tokenizer.ggml.eos_token_id', 2],
    ['tokenizer.ggml.unknown_token_id', 0],
  ])
}

test('BOS, EOS and padding are those that tokenizer_config.json names', (t) => {
  const spec = finish(tokenizerFromJson(tokenizerJson, tokenizerConfig))
  t.like(spec, { bosId: 1, eosIds: [2], padId: 600, unknownId: 0, addBos: true })
  t.is(finish(tokenizerFromJson(tokenizerJson, { bos_token: { content: '</s>' } })).bosId, 2)
})

test('add_bos_token of tokenizer_config.json wins over the post-processor', (t) => {
  t.false(finish(tokenizerFromJson(tokenizerJson, { add_bos_token: false })).addBos)
  t.false(finish(tokenizerFromJson({ ...tokenizerJson, post_processor: null })).addBos)
})

test('added_tokens_decoder and added_tokens.json give a tokenizer.model its image token', (t) => {
  const entry = {
    content: '<image>',
    special: true,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  }
  const specs = [
    finish(tokenizerFromSentencePiece(sentencePieceModel, { added_tokens_decoder: { 600: entry } })),
    finish(tokenizerFromSentencePiece(sentencePieceModel, {}, { '<image>': 600 })),
  ]
  for (const spec of specs) {
    const tokenizer = new Tokenizer(spec)
    t.is(tokenizer.tokenId('<image>'), 600)
    t.deepEqual([...tokenizer.encode('<image>', { parseSpecial: true })], [1, 600])
  }
})

test('a vocabulary reads the same from GGUF keys as from tokenizer.model', (t) => {
  const fromGguf = new Tokenizer(finish(tokenizerFromGguf(ggufKeys())))
  const fromModel = sentencePieceTokenizer()
  for (const text of [...expected.texts, ...expected.specialTexts]) {
    t.deepEqual(fromGguf.encode(text, { parseSpecial: true }), fromModel.encode(text, { parseSpecial: true }), text)
  }
})

test('a tokenizer.model cut short or with flipped bits parses or gives a typed error', (t) => {
  const typed = (bytes: Uint8Array): void => {
    try {
      finish(tokenizerFromSentencePiece(bytes))
    } catch (error) {
      if (!(error instanceof LlavaError)) throw error
    }
  }
  t.notThrows(() => {
    for (let length = 0; length < sentencePieceModel.length; length += 37) typed(sentencePieceModel.subarray(0, length))
    fc.assert(
      fc.property(fc.nat(sentencePieceModel.length - 1), fc.nat(255), (at, value) => {
        const bytes = Uint8Array.from(sentencePieceModel)
        bytes[at] = value
        typed(bytes)
      }),
      { numRuns: 300 },
    )
  })
})
