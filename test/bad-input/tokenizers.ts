// Vocabularies that are damaged, or cut text in ways that are not computed here: tokenizer.json, tokenizer.model, keys of a GGUF, and CLIP's files.

import { byteAlphabet } from '../../lib/tokenizer/byte-alphabet.js'
import { sentencePieceModel } from '../tokenizer/vocabularies.js'
import { type GgufKey } from '../weights/gguf-file.js'
import { checkpoint, languageFile, languageKeys, pieces, tokenizerJson, withKeys } from '../weights/tiny-llava.js'
import { clipCheckpoint } from '../weights/tiny-original.js'
import { opening, openingOf, type BadInput, type Files } from './row.js'

type Rows = readonly (readonly [what: string, input: unknown, code: BadInput['code'], message: RegExp])[]

const { model } = tokenizerJson
const withModel = (change: object): object => ({ ...tokenizerJson, model: { ...model, ...change } })
const nested = (depth: number): string => `${'{"type":"Sequence","normalizers":['.repeat(depth)}${']}'.repeat(depth)}`
const nestedNormalizer = Buffer.from(
  JSON.stringify({ ...tokenizerJson, normalizer: 0 }).replace('"normalizer":0', `"normalizer":${nested(100_000)}`),
)

const documents: Rows = [
  ['no object', [], 'MODEL_CORRUPT', /tokenizer\.json is not an object/],
  ['no model', { ...tokenizerJson, model: undefined }, 'MODEL_CORRUPT', /`model` is not an object/],
  ['a list for its pieces', withModel({ vocab: ['a'] }), 'MODEL_CORRUPT', /`model\.vocab` is not an object/],
  ['a negative id', withModel({ vocab: { a: -1 } }), 'MODEL_CORRUPT', /a has the id -1/],
  ['an id that is a fraction', withModel({ vocab: { a: 0.5 } }), 'MODEL_CORRUPT', /a has the id 0\.5/],
  ['an id that is text', withModel({ vocab: { a: 'one' } }), 'MODEL_CORRUPT', /a has the id one/],
  [
    'an id far beyond its pieces',
    withModel({ vocab: { a: 16_000_000 } }),
    'MODEL_CORRUPT',
    /id 16000000 lies far beyond its 1 pieces/,
  ],
  ['an id beyond any vocabulary', withModel({ vocab: { a: 2 ** 30 } }), 'MODEL_CORRUPT', /a has the id 1073741824/],
  [
    'a merge of a piece that it lacks',
    withModel({ merges: [['a', 'not there']] }),
    'MODEL_CORRUPT',
    /merge 0 \(a \+ not there\) names a piece that the vocabulary does not have/,
  ],
  ['a merge into a piece that it lacks', withModel({ merges: ['a b'] }), 'MODEL_CORRUPT', /merge 0 \(a \+ b\)/],
  ['a merge of one piece', withModel({ merges: ['one'] }), 'MODEL_CORRUPT', /merge 0 is not a pair/],
  ['a merge of three pieces', withModel({ merges: [['a', 'b', 'c']] }), 'MODEL_CORRUPT', /merge 0 is not a pair/],
  [
    'a merge that is a number',
    withModel({ merges: [3] }),
    'MODEL_CORRUPT',
    /an entry of `model\.merges` is not a list/,
  ],
  ['merges that are an object', withModel({ merges: {} }), 'MODEL_CORRUPT', /`model\.merges` is not a list/],
  [
    'added tokens that are an object',
    { ...tokenizerJson, added_tokens: {} },
    'MODEL_CORRUPT',
    /`added_tokens` is not a list/,
  ],
  [
    'an added token whose id is text',
    { ...tokenizerJson, added_tokens: [{ id: 'x', content: 'y' }] },
    'MODEL_CORRUPT',
    /y has the id x/,
  ],
  [
    'an added token without content',
    { ...tokenizerJson, added_tokens: [{ id: 3 }] },
    'MODEL_CORRUPT',
    /an added token has no content/,
  ],
  [
    'a normalizer nested 100,000 deep',
    nestedNormalizer,
    'MODEL_CORRUPT',
    /tokenizer\.json: nests its values more than 64 deep/,
  ],
  [
    'the normalizer NFKC',
    { ...tokenizerJson, normalizer: { type: 'NFKC' } },
    'MODEL_UNSUPPORTED',
    /the normalizer "NFKC"/,
  ],
  ['a Unigram model', withModel({ type: 'Unigram' }), 'MODEL_UNSUPPORTED', /the tokenizer model "Unigram"/],
  [
    'suffixes at the end of words',
    withModel({ end_of_word_suffix: '</w>' }),
    'MODEL_UNSUPPORTED',
    /BPE with end_of_word_suffix/,
  ],
  [
    'prefixes within words',
    withModel({ continuing_subword_prefix: '##' }),
    'MODEL_UNSUPPORTED',
    /BPE with continuing_subword_prefix/,
  ],
  ['spaces that stay spaces', { ...tokenizerJson, normalizer: null }, 'MODEL_UNSUPPORTED', /spaces as ▁/],
  [
    'a pre-tokenizer that splits at punctuation',
    { ...tokenizerJson, pre_tokenizer: { type: 'Punctuation' } },
    'MODEL_UNSUPPORTED',
    /the pre-tokenizer "Punctuation"/,
  ],
]

const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false }
const split = { type: 'Split', pattern: { Regex: 'a' }, behavior: 'Isolated', invert: false }
const sequence = (...pretokenizers: readonly object[]): object => ({ type: 'Sequence', pretokenizers })
const alphabet = Object.fromEntries(Array.from(byteAlphabet, (piece, id) => [piece, id]))
const byteLevel = (pre_tokenizer: object, change: object = {}): object => ({
  added_tokens: [],
  normalizer: null,
  pre_tokenizer,
  model: { type: 'BPE', vocab: alphabet, merges: [] },
  ...change,
})

const byteLevelDocuments: Rows = [
  [
    'a space in front of every text',
    byteLevel({ ...bytes, add_prefix_space: true }),
    'MODEL_UNSUPPORTED',
    /add_prefix_space/,
  ],
  [
    'splits that join what follows',
    byteLevel(sequence({ ...split, behavior: 'MergedWithNext' }, bytes)),
    'MODEL_UNSUPPORTED',
    /MergedWithNext/,
  ],
  ['a split at punctuation', byteLevel(sequence({ type: 'Punctuation' }, bytes)), 'MODEL_UNSUPPORTED', /Punctuation/],
  ['a split behind the bytes', byteLevel(sequence(bytes, split)), 'MODEL_UNSUPPORTED', /after its ByteLevel/],
  [
    'a regular expression that is none',
    byteLevel(sequence({ ...split, pattern: { Regex: '(?<' } }, bytes)),
    'MODEL_UNSUPPORTED',
    /regular expression \(\?</,
  ],
  [
    'suffixes at byte level',
    byteLevel(bytes, { model: { type: 'BPE', vocab: alphabet, merges: [], end_of_word_suffix: '</w>' } }),
    'MODEL_UNSUPPORTED',
    /BPE with end_of_word_suffix/,
  ],
  [
    'the normalizer Lowercase',
    byteLevel(bytes, { normalizer: { type: 'Lowercase' } }),
    'MODEL_UNSUPPORTED',
    /the normalizer "Lowercase"/,
  ],
  [
    'two normalizers',
    byteLevel(bytes, { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'NFD' }] } }),
    'MODEL_UNSUPPORTED',
    /the normalizers NFC, NFD/,
  ],
  [
    'a merge at byte level of a piece that it lacks',
    byteLevel(bytes, { model: { type: 'BPE', vocab: alphabet, merges: [['a', 'not there']] } }),
    'MODEL_CORRUPT',
    /merge 0 \(a \+ not there\)/,
  ],
  [
    'a pattern that is a number',
    byteLevel(sequence({ ...split, pattern: 3 }, bytes)),
    'MODEL_CORRUPT',
    /neither Regex nor String/,
  ],
  [
    'a printable character without a piece',
    byteLevel(bytes, { model: { type: 'BPE', vocab: { ...alphabet, Ġ: undefined }, merges: [] } }),
    'MODEL_CORRUPT',
    /byte 32 has no piece \("Ġ"\)/,
  ],
]

const sentencePieces: Rows = [
  ['no bytes', Buffer.alloc(0), 'MODEL_CORRUPT', /it holds no pieces/],
  [
    'a piece of 2^32 bytes',
    Buffer.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f),
    'MODEL_CORRUPT',
    /a field reaches \d+ bytes past its end/,
  ],
  [
    'a piece of 2^64 bytes',
    Buffer.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
    'MODEL_CORRUPT',
    /a field reaches \d+ bytes past its end/,
  ],
  ['a number of 11 bytes', Buffer.alloc(11, 0xff), 'MODEL_CORRUPT', /a number is longer than 10 bytes/],
  ['a field without its length', Buffer.of(0x0a), 'MODEL_CORRUPT', /a field reaches 1 bytes past its end/],
  ['an unknown kind of field', Buffer.of(0x0f), 'MODEL_CORRUPT', /field 1 has the unknown wire type 7/],
  ['half of its bytes', Buffer.from(sentencePieceModel.subarray(0, 1000)), 'MODEL_CORRUPT', /past its end/],
  [
    'a model that is not BPE',
    Buffer.of(0x0a, 0x03, 0x0a, 0x01, 0x61),
    'MODEL_UNSUPPORTED',
    /the SentencePiece model type unigram/,
  ],
]

const types = languageKeys.find(({ key }) => key === 'tokenizer.ggml.token_type')?.value as readonly number[]
const tokens = (value: readonly string[]): GgufKey => ({ key: 'tokenizer.ggml.tokens', type: ['string'], value })
const typesOf = (value: readonly number[]): GgufKey => ({ key: 'tokenizer.ggml.token_type', type: ['i32'], value })
const id = (name: string, value: number): GgufKey => ({ key: `tokenizer.ggml.${name}_token_id`, type: 'i32', value })

const ggufKeys: readonly (readonly [
  what: string,
  changes: readonly GgufKey[],
  code: BadInput['code'],
  message: RegExp,
])[] = [
  [
    'no kind of vocabulary',
    [{ key: 'tokenizer.ggml.model', type: 'string', value: undefined }],
    'MODEL_UNSUPPORTED',
    /tokenizer\.ggml\.model/,
  ],
  [
    'a vocabulary of another kind',
    [{ key: 'tokenizer.ggml.model', type: 'string', value: 'bert' }],
    'MODEL_UNSUPPORTED',
    /tokenizer\.ggml\.model "bert"/,
  ],
  [
    'pieces that are a number',
    [{ key: 'tokenizer.ggml.tokens', type: 'u32', value: 7 }],
    'MODEL_CORRUPT',
    /tokenizer\.ggml\.tokens is not a list/,
  ],
  ['a piece less than its scores', [tokens(pieces.slice(1))], 'MODEL_CORRUPT', /has 270 entries for 269 pieces/],
  [
    'three scores',
    [{ key: 'tokenizer.ggml.scores', type: ['f32'], value: [0, 1, 2] }],
    'MODEL_CORRUPT',
    /tokenizer\.ggml\.scores has 3 entries for 270 pieces/,
  ],
  [
    'no scores',
    [{ key: 'tokenizer.ggml.scores', type: 'u8', value: undefined }],
    'MODEL_CORRUPT',
    /tokenizer\.ggml\.scores is not a list/,
  ],
  [
    'a piece of an unknown kind',
    [typesOf(types.map((type, piece) => (piece === 5 ? 0 : type)))],
    'MODEL_CORRUPT',
    /piece 5 has the unknown type 0/,
  ],
  ['bytes that are none', [typesOf(types.map(() => 6))], 'MODEL_CORRUPT', /byte piece 0 does not read <0xNN>/],
  ['a BOS beyond its pieces', [id('bos', 270)], 'MODEL_CORRUPT', /bos has the id 270/],
  ['a negative EOS', [id('eos', -1)], 'MODEL_CORRUPT', /eos has the id -1/],
  [
    'a byte-level vocabulary of a way of cutting that nobody knows',
    [
      { key: 'tokenizer.ggml.model', type: 'string', value: 'gpt2' },
      { key: 'tokenizer.ggml.pre', type: 'string', value: 'kimi-k2' },
    ],
    'MODEL_UNSUPPORTED',
    /tokenizer\.ggml\.pre "kimi-k2"/,
  ],
  [
    'a byte-level vocabulary without bytes',
    [
      { key: 'tokenizer.ggml.model', type: 'string', value: 'gpt2' },
      { key: 'tokenizer.ggml.pre', type: 'string', value: 'gpt-2' },
    ],
    'MODEL_CORRUPT',
    /byte 32 has no piece/,
  ],
]

const clipFiles: readonly (readonly [what: string, files: Files, code: BadInput['code'], message: RegExp])[] = [
  ['a vocab.json that is not JSON', { 'vocab.json': '{' }, 'MODEL_CORRUPT', /vocab\.json/],
  [
    'an empty vocabulary',
    { 'vocab.json': {} },
    'MODEL_CORRUPT',
    /vocab\.json: the vocabulary is damaged: byte 32 has no piece/,
  ],
  ['a list for its vocabulary', { 'vocab.json': [] }, 'MODEL_CORRUPT', /vocab\.json: .*is not an object/],
  [
    'another family’s tokenizer.json',
    { 'vocab.json': undefined, 'tokenizer.json': tokenizerJson },
    'MODEL_UNSUPPORTED',
    /end_of_word_suffix/,
  ],
]

const bySentencePiece = (file: unknown): Files => ({
  ...checkpoint(),
  'tokenizer.json': undefined,
  'tokenizer.model': file,
})

export const tokenizers: readonly BadInput[] = [
  ...[...documents, ...byteLevelDocuments].map(([what, input, code, message]): BadInput => {
    return {
      title: `tokenizer.json with ${what}`,
      code,
      message,
      call: opening({ ...checkpoint(), 'tokenizer.json': input }),
    }
  }),
  ...sentencePieces.map(([what, input, code, message]): BadInput => ({
    title: `tokenizer.model with ${what}`,
    code,
    message,
    call: opening(bySentencePiece(input)),
  })),
  ...ggufKeys.map(([what, changes, code, message]): BadInput => {
    return {
      title: `a GGUF with ${what}`,
      code,
      message,
      call: opening({ 'model.gguf': languageFile(withKeys(languageKeys, ...changes)) }),
    }
  }),
  ...clipFiles.map(([what, files, code, message]): BadInput => {
    return {
      title: `a CLIP tokenizer with ${what}`,
      code,
      message,
      call: openingOf({ llava: checkpoint(), clip: { ...clipCheckpoint(), ...files } }, 'llava', { clip: 'clip' }),
    }
  }),
]
