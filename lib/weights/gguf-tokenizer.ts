// A vocabulary as GGUF keys. tokenizer.ggml.* say what every reader of GGUF understands; llava.tokenizer.* what only a tokenizer.json says
// (how a text's first space comes about, how added tokens match), so that a checkpoint and the GGUF made of it give the same ids.

import { entriesPerStep, readMerges } from '../tokenizer/bpe-model.js'
import { checkPatterns } from '../tokenizer/byte-level.js'
import { ggufPreTokenizerName } from '../tokenizer/gguf-pre-tokenizers.js'
import { tokenizerFromGguf } from '../tokenizer/parse.js'
import { PieceType, type AddedToken, type ByteLevel, type TokenizerSpec } from '../tokenizer/spec.js'
import { Fields } from './fields.js'
import type { GgufField } from './gguf-writer.js'
import type { GgufValue } from './gguf-value.js'
import { corrupt, unsupported } from './model-error.js'

const own = 'llava.tokenizer'

// The converters' score for pieces that fill the table up.
const unusedScore = -10_000

/**
 * @param rows Of the embedding table: every one of them gets a piece.
 * @param exactly `true`: no more pieces than rows either; llama.cpp asks for that.
 * @param eosIds Every token that ends an answer.
 */
export function* tokenizerFields(
  spec: TokenizerSpec,
  rows: number,
  exactly: boolean,
  eosIds: readonly number[],
): Generator<undefined, (readonly [string, GgufField])[]> {
  const count = exactly ? rows : Math.max(rows, spec.pieces.length)
  const known = <T>(of: ArrayLike<T>, id: number, otherwise: T): T => (id < of.length ? (of[id] as T) : otherwise)
  const table = { pieces: new Array<string>(count), scores: new Float32Array(count), types: new Int32Array(count) }
  const scores = spec.merges === undefined ? spec.scores : scoresOfMerges(spec)
  for (let id = 0; id < count; id++) {
    table.pieces[id] = known(spec.pieces, id, '') || `[PAD${id}]`
    table.scores[id] = known(scores, id, unusedScore)
    table.types[id] = known<number>(spec.types, id, PieceType.unused)
    if (id % entriesPerStep === 0) yield
  }
  const optional = (key: string, id: number | undefined): (readonly [string, GgufField])[] =>
    id === undefined || id >= count ? [] : [[`tokenizer.ggml.${key}_token_id`, ['u32', id]]]
  const [eos, eot, eom] = eosIds
  return [
    ['tokenizer.ggml.model', ['string', spec.byteLevel === undefined ? 'llama' : 'gpt2']],
    ['tokenizer.ggml.pre', ['string', (spec.byteLevel && ggufPreTokenizerName(spec.byteLevel)) ?? 'default']],
    ['tokenizer.ggml.tokens', ['strings', table.pieces]],
    ['tokenizer.ggml.scores', ['f32s', table.scores]],
    ['tokenizer.ggml.token_type', ['i32s', table.types]],
    ...(spec.merges === undefined ? [] : [['tokenizer.ggml.merges', ['strings', yield* mergedPieces(spec)]] as const]),
    ...optional('bos', spec.bosId),
    ...optional('eos', eos),
    ...optional('eot', eot),
    ...optional('eom', eom),
    ...optional('unknown', spec.unknownId),
    ...optional('padding', spec.padId),
    ['tokenizer.ggml.add_bos_token', ['bool', spec.addBos]],
    ['tokenizer.ggml.add_eos_token', ['bool', false]],
    ['tokenizer.ggml.add_space_prefix', ['bool', spec.prefixSpace !== 'never']],
    ...ownFields(spec, count),
  ]
}

function ownFields(spec: TokenizerSpec, count: number): (readonly [string, GgufField])[] {
  const added = spec.addedTokens.filter(({ id }) => id < count)
  return [
    [`${own}.prefix_space`, ['string', spec.prefixSpace]],
    [`${own}.prefix_space_once`, ['bool', spec.prefixSpaceOnce]],
    [`${own}.split_at_spaces`, ['bool', spec.splitAtSpaces]],
    [`${own}.byte_fallback`, ['bool', spec.byteFallback]],
    [`${own}.strip_leading_space`, ['bool', spec.stripLeadingSpace]],
    [`${own}.added_token_ids`, ['i32s', added.map(({ id }) => id)]],
    [`${own}.added_token_contents`, ['strings', added.map(({ content }) => content)]],
    [`${own}.added_token_flags`, ['u8s', added.map(flagsOf)]],
    ...(spec.byteLevel === undefined ? [] : byteLevelFields(spec.byteLevel)),
  ]
}

function byteLevelFields({
  normalization,
  splits,
  wholeWords,
  endOfWord,
  unknown,
}: ByteLevel): (readonly [string, GgufField])[] {
  return [
    ...(normalization === undefined ? [] : [[`${own}.normalization`, ['string', normalization]] as const]),
    [`${own}.splits`, ['strings', splits.map(({ regex }) => regex)]],
    [`${own}.splits_only_matches`, ['u8s', splits.map(({ onlyMatches }) => (onlyMatches ? 1 : 0))]],
    [`${own}.whole_words`, ['bool', wholeWords]],
    ...(endOfWord === undefined ? [] : [[`${own}.end_of_word`, ['string', endOfWord]] as const]),
    ...(unknown === undefined ? [] : [[`${own}.unknown_byte_token_id`, ['u32', unknown.id]] as const]),
    ...(unknown?.fused === true ? [[`${own}.unknown_bytes_fused`, ['bool', true]] as const] : []),
  ]
}

/** Bits of added_token_flags. */
const flags = [
  'special',
  'normalized',
  'lstrip',
  'rstrip',
  'singleWord',
] as const satisfies readonly (keyof AddedToken)[]

function flagsOf(token: AddedToken): number {
  return flags.reduce((bits, name, i) => bits | (token[name] ? 1 << i : 0), 0)
}

/** The pairs that join, in order of rank, as "left right". */
function* mergedPieces(spec: TokenizerSpec): Generator<undefined, string[]> {
  const { pieces, merges } = spec
  const vocabulary = yield* mergeVocabulary(spec)
  const merged = new Array<string>(merges?.ids.length ?? 0).fill('')
  let done = 0
  for (const [left, right, rank] of merges?.ranks.entries() ?? []) {
    const [first, second] = [pieces[left] ?? '', pieces[right] ?? '']
    const isPlain =
      vocabulary.get(first) === left &&
      vocabulary.get(second) === right &&
      vocabulary.get(first + second) === merges?.ids[rank]
    if (!isPlain || first.includes(' ') || second.includes(' '))
      throw unsupported(
        'the tokenizer',
        `a merge (${first} + ${second}) that its pieces' texts do not name`,
        'vocabularies in which every text is one piece',
      )
    merged[rank] = `${first} ${second}`
    if (done++ % entriesPerStep === 0) yield
  }
  return merged.filter((pair) => pair !== '') // of a pair's two ranks, the later one stands
}

/** The pieces that a reader looks merges up in. */
function* mergeVocabulary({
  pieces,
  types,
  byteLevel,
}: Pick<TokenizerSpec, 'pieces' | 'types' | 'byteLevel'>): Generator<undefined, ReadonlyMap<string, number>> {
  const vocabulary = new Map<string, number>()
  for (const [id, piece] of pieces.entries()) {
    if (byteLevel === undefined ? !vocabulary.has(piece) : types[id] === PieceType.normal) vocabulary.set(piece, id)
    if (id % entriesPerStep === 0) yield
  }
  return vocabulary
}

/** What SentencePiece would have scored: the sooner a piece comes about, the higher. Its pieces of one character have no say. */
function scoresOfMerges({ merges, pieces }: TokenizerSpec): Float32Array {
  const scores = new Float32Array(pieces.length)
  const ids = merges?.ids ?? []
  for (let rank = ids.length - 1; rank >= 0; rank--) scores[ids[rank] as number] = -rank
  return scores
}

/** What the keys say, those of our own over those of every GGUF. */
export function* ggufTokenizer(
  where: string,
  metadata: ReadonlyMap<string, GgufValue>,
): Generator<undefined, TokenizerSpec> {
  const keys = new Fields(where, metadata)
  const plain = yield* tokenizerFromGguf(withKnownPreTokenizer(keys, metadata))
  if (!keys.has(`${own}.prefix_space`)) return plain
  const flag = (key: string): boolean => keys.required(`${own}.${key}`, keys.boolean(`${own}.${key}`))
  return {
    ...plain,
    ...(plain.byteLevel === undefined &&
      metadata.has('tokenizer.ggml.merges') && {
        merges: yield* readMerges(
          metadata.get('tokenizer.ggml.merges'),
          'tokenizer.ggml.merges',
          yield* mergeVocabulary(plain),
        ),
      }),
    ...(plain.byteLevel !== undefined && { byteLevel: ownByteLevel(keys, plain.pieces.length) ?? plain.byteLevel }),
    prefixSpace: prefixSpace(keys),
    prefixSpaceOnce: flag('prefix_space_once'),
    splitAtSpaces: flag('split_at_spaces'),
    byteFallback: flag('byte_fallback'),
    stripLeadingSpace: flag('strip_leading_space'),
    addedTokens: addedTokens(keys, plain.pieces.length),
  }
}

/** A file that describes its splits itself needs none that a name stands for. */
function withKnownPreTokenizer(keys: Fields, metadata: ReadonlyMap<string, GgufValue>): ReadonlyMap<string, GgufValue> {
  return keys.has(`${own}.splits`) ? new Map([...metadata, ['tokenizer.ggml.pre', 'default']]) : metadata
}

function ownByteLevel(keys: Fields, pieces: number): ByteLevel | undefined {
  if (!keys.has(`${own}.splits`)) return undefined
  const [normalization, endOfWord] = [keys.string(`${own}.normalization`), keys.string(`${own}.end_of_word`)]
  const regexes = strings(keys, 'splits')
  const onlyMatches = parallel(keys, 'splits_only_matches', regexes.length)
  if (normalization !== undefined && !isNormalization(normalization))
    throw unsupported(keys.where, `the normalisation "${normalization}"`, normalizations.join(', '))
  const splits = regexes.map((regex, i) => ({ regex, onlyMatches: onlyMatches[i] === 1 }))
  checkPatterns(splits)
  return {
    ...(normalization !== undefined && { normalization }),
    splits,
    wholeWords: keys.boolean(`${own}.whole_words`) === true,
    ...(endOfWord !== undefined && { endOfWord }),
    ...(keys.has(`${own}.unknown_byte_token_id`) && { unknown: unknownByte(keys, pieces) }),
  }
}

function unknownByte(keys: Fields, pieces: number): NonNullable<ByteLevel['unknown']> {
  const key = `${own}.unknown_byte_token_id`
  const id = keys.required(key, keys.integer(key, 0))
  if (id >= pieces) throw corrupt(keys.where, `${key} is ${id}, of ${pieces} pieces`)
  return { id, fused: keys.boolean(`${own}.unknown_bytes_fused`) === true }
}

const normalizations = ['NFC', 'NFD', 'NFKC', 'NFKD'] as const

function isNormalization(name: string): name is (typeof normalizations)[number] {
  return (normalizations as readonly string[]).includes(name)
}

function prefixSpace(keys: Fields): TokenizerSpec['prefixSpace'] {
  const value = keys.string(`${own}.prefix_space`)
  if (value === 'every-segment' || value === 'first-segment' || value === 'never') return value
  throw keys.mistake(`${own}.prefix_space`, '"every-segment", "first-segment" or "never"')
}

function addedTokens(keys: Fields, pieces: number): readonly AddedToken[] {
  const contents = strings(keys, 'added_token_contents')
  const ids = parallel(keys, 'added_token_ids', contents.length)
  const bits = parallel(keys, 'added_token_flags', contents.length)
  return contents.map((content, i) => {
    const id = ids[i] as number
    if (content === '' || !Number.isInteger(id) || id < 0 || id >= pieces)
      throw corrupt(keys.where, `added token ${i} (${JSON.stringify(content)}) has the id ${id}`)
    const is = (flag: (typeof flags)[number]): boolean => ((bits[i] as number) & (1 << flags.indexOf(flag))) !== 0
    return {
      id,
      content,
      special: is('special'),
      normalized: is('normalized'),
      lstrip: is('lstrip'),
      rstrip: is('rstrip'),
      singleWord: is('singleWord'),
    }
  })
}

function strings(keys: Fields, key: string): readonly string[] {
  const value = keys.required(`${own}.${key}`, keys.raw(`${own}.${key}`))
  if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value
  throw keys.mistake(`${own}.${key}`, 'a list of strings')
}

/** Numbers of a list that goes with one of `count` entries. */
function parallel(keys: Fields, key: string, count: number): readonly number[] {
  const values = keys.required(`${own}.${key}`, keys.numbers(`${own}.${key}`))
  if (values.length === count) return values
  throw keys.mistake(`${own}.${key}`, `a list of ${count} numbers`)
}
