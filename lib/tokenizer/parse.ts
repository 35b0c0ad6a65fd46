// The three files a vocabulary comes in, each to a TokenizerSpec:
//   tokenizer.json (Hugging Face `tokenizers`, explicit merges) · tokenizer.model (SentencePiece, scores) · GGUF keys (scores, or merges at byte level).
// They are generators that yield where they may pause: a vocabulary takes longer to read than anybody should wait for the event loop.
// What the encoder cannot do exactly (Unigram, other normalisers and pre-tokenizers) is refused by name, not approximated.

import { entriesPerStep, readMerges, readVocabulary, tokenIndex } from './bpe-model.js'
import { readByteLevel, requirePrintable } from './byte-level.js'
import {
  corrupt,
  flag,
  idWithin,
  list,
  numbers,
  object,
  settings,
  steps,
  strings,
  unsupported,
  type Json,
} from './fields.js'
import { ggufPreTokenizer } from './gguf-pre-tokenizers.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { PieceType, type AddedToken, type TokenizerSpec } from './spec.js'

const bytePiece = /^<0x[0-9A-Fa-f]{2}>$/
/** Added pieces that read `<image>` are taken for special even where the file does not say so: users' words must not turn into them. */
const markup = /^<[^\s<>]+>$/

export function* tokenizerFromJson(
  tokenizerJson: unknown,
  tokenizerConfig?: unknown,
): Generator<undefined, TokenizerSpec> {
  const file = object(tokenizerJson, 'tokenizer.json')
  const config = settings(tokenizerConfig)
  const model = object(file['model'], '`model`')
  const vocabulary = yield* readVocabulary(model['vocab'])
  const byteLevel = readByteLevel(file, model, vocabulary)
  const spacing = byteLevel === undefined ? readSpacing(file['normalizer'], file['pre_tokenizer']) : unmarkedSpaces
  refuseOtherModels(model, byteLevel !== undefined)

  const listed = list(file['added_tokens'] ?? [], '`added_tokens`').map((token) =>
    readAddedToken(object(token, 'an entry of `added_tokens`')),
  )
  const addedTokens = uniqueById([...listed, ...addedTokensOf(config)])
  const { pieces, types } = yield* tablesOf(vocabulary, addedTokens, byteLevel === undefined)
  if (byteLevel !== undefined) requirePrintable(vocabulary, byteLevel)
  const unknown = model['unk_token']
  const tokenId = byteLevel === undefined ? idLookup(pieces) : addedLookup(addedTokens)
  const template = prefixOfTemplate(file['post_processor'])
  const unknownId = typeof unknown === 'string' ? tokenId(unknown) : tokenId(tokenText(config['unk_token']) ?? '<unk>')
  if (unknownId !== undefined) types[unknownId] = PieceType.unknown
  const ids = specialIds(config, tokenId, template === undefined ? undefined : tokenId(template))
  const matched = addedTokens.map((token) =>
    token.normalized && byteLevel === undefined ? normalizeContent(token, spacing) : token,
  )
  for (const { id, content, special } of matched) if (!special) pieces[id] = content // Hugging Face decodes them as they are looked for

  return {
    pieces,
    scores: new Float32Array(pieces.length),
    types,
    merges: yield* readMerges(model['merges'], '`model.merges`', vocabulary),
    ...(byteLevel === undefined ? {} : { byteLevel }),
    addedTokens: guardMarkup(matched),
    ...ids,
    ...(unknownId === undefined ? {} : { unknownId }),
    addBos: flag(config['add_bos_token']) ?? template !== undefined,
    prefixSpace: spacing.prefixSpace,
    prefixSpaceOnce: spacing.prefixSpaceOnce,
    splitAtSpaces: spacing.splitAtSpaces,
    byteFallback: byteLevel === undefined && model['byte_fallback'] === true,
    stripLeadingSpace: byteLevel === undefined && stripsLeadingSpace(file['decoder']),
  }
}

interface Spacing extends Pick<TokenizerSpec, 'prefixSpace' | 'prefixSpaceOnce' | 'splitAtSpaces'> {
  /** The normaliser itself marks spaces, so that added tokens with `normalized` are looked for among `▁`. */
  readonly byNormalizer: boolean
}

/** At byte level spaces are characters like others. */
const unmarkedSpaces: Spacing = {
  prefixSpace: 'never',
  prefixSpaceOnce: false,
  splitAtSpaces: false,
  byNormalizer: false,
}

const prependSchemes: ReadonlyMap<unknown, TokenizerSpec['prefixSpace']> = new Map([
  ['always', 'every-segment'],
  ['first', 'first-segment'],
  ['never', 'never'],
] as const)

/** transformers 4 wrote a normaliser (Prepend, Replace), transformers 4 without `legacy` and 5 the pre-tokenizer Metaspace. */
function readSpacing(normalizer: unknown, preTokenizer: unknown): Spacing {
  let prepends = false
  let replaces = false
  for (const step of steps(normalizer, 'normalizers')) {
    if (step['type'] === 'Prepend' && step['prepend'] === '▁') prepends = true
    else if (step['type'] === 'Replace' && step['content'] === '▁' && patternText(step['pattern']) === ' ')
      replaces = true
    else throw unsupported(`the normalizer ${JSON.stringify(step['type'])}`)
  }
  let metaspace: Json | undefined
  for (const step of steps(preTokenizer, 'pretokenizers')) {
    if (step['type'] !== 'Metaspace' || step['replacement'] !== '▁' || metaspace)
      throw unsupported(`the pre-tokenizer ${JSON.stringify(step['type'])}`)
    metaspace = step
  }
  if (prepends && metaspace) throw unsupported('the normalizer Prepend beside the pre-tokenizer Metaspace')
  if (metaspace) {
    const scheme = metaspace['prepend_scheme'] ?? (metaspace['add_prefix_space'] === false ? 'never' : 'always')
    const prefixSpace = prependSchemes.get(scheme)
    if (prefixSpace === undefined) throw unsupported(`the Metaspace prepend_scheme ${JSON.stringify(scheme)}`)
    return { prefixSpace, prefixSpaceOnce: true, splitAtSpaces: metaspace['split'] !== false, byNormalizer: false }
  }
  if (!replaces) throw unsupported('a vocabulary that does not write spaces as ▁')
  return {
    prefixSpace: prepends ? 'every-segment' : 'never',
    prefixSpaceOnce: false,
    splitAtSpaces: false,
    byNormalizer: true,
  }
}

function refuseOtherModels(model: Json, byteLevel: boolean): void {
  const type = model['type'] ?? 'BPE'
  if (type !== 'BPE') throw unsupported(`the tokenizer model ${JSON.stringify(type)}`)
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[key]) throw unsupported(`BPE with ${key}`)
  if (model['ignore_merges'] === true && !byteLevel) throw unsupported('BPE with ignore_merges')
}

function normalizeContent(token: AddedToken, spacing: Spacing): AddedToken {
  if (!spacing.byNormalizer) return { ...token, normalized: false }
  return { ...token, content: (spacing.prefixSpace === 'never' ? '' : '▁') + token.content.replaceAll(' ', '▁') }
}

/** The special token that TemplateProcessing puts in front of a single text. */
function prefixOfTemplate(postProcessor: unknown): string | undefined {
  for (const step of steps(postProcessor, 'processors')) {
    if (step['type'] !== 'TemplateProcessing') continue
    const [first] = list(step['single'] ?? [], '`post_processor.single`')
    const { id } = settings(settings(first)['SpecialToken'])
    if (typeof id === 'string') return id
  }
  return undefined
}

function stripsLeadingSpace(decoder: unknown): boolean {
  return steps(decoder, 'decoders').some((step) => {
    if (step['type'] === 'Metaspace') return step['prepend_scheme'] !== 'never' && step['add_prefix_space'] !== false
    return step['type'] === 'Strip' && step['content'] === ' ' && step['start'] === 1
  })
}

function patternText(pattern: unknown): unknown {
  return settings(pattern)['String']
}

/** `addedTokens` is the content of added_tokens.json (`{"<image>": 32000}`), which older checkpoints have beside tokenizer.model. */
export function* tokenizerFromSentencePiece(
  bytes: Uint8Array,
  tokenizerConfig?: unknown,
  addedTokens?: unknown,
): Generator<undefined, TokenizerSpec> {
  const model = readSentencePieceModel(bytes)
  const config = settings(tokenizerConfig)
  if (model.modelType !== 'bpe') throw unsupported(`the SentencePiece model type ${model.modelType}`)
  if (model.charsmap.length > 0) throw unsupported('a SentencePiece model with a normalisation table')
  if (model.removeExtraWhitespaces || !model.escapeWhitespaces || model.whitespaceAsSuffix) {
    throw unsupported('a SentencePiece model that collapses, suffixes or keeps white space unmarked')
  }

  const vocabulary = model.pieces.map(({ text }, id) => [text, id] as const)
  const extra = Object.entries(settings(addedTokens)).map(([content, id]) =>
    plainToken(tokenIndex(id, content), content, true),
  )
  const own = model.pieces.flatMap(({ text, type }, id) => {
    return type === PieceType.control || type === PieceType.userDefined
      ? [plainToken(id, text, type === PieceType.control)]
      : []
  })
  const unknownId = idWithin(model.unknownId, model.pieces.length, 'the unknown piece')
  const unknown = plainToken(unknownId, model.pieces[unknownId]?.text ?? '<unk>', true)
  const added = uniqueById([...addedTokensOf(config), ...extra, ...own, unknown])
  const { pieces, types } = yield* tablesOf(vocabulary, added, true)
  const scores = new Float32Array(pieces.length)
  for (const [id, { score, type }] of model.pieces.entries()) {
    if (type < PieceType.normal || type > PieceType.byte) throw corrupt(`piece ${id} has the unknown type ${type}`)
    scores[id] = score
    if (types[id] === PieceType.normal) types[id] = type
  }
  types[unknownId] = PieceType.unknown
  const tokenId = idLookup(pieces)
  const present = (id: number): number | undefined => (id >= 0 && id < model.pieces.length ? id : undefined)
  const padId = present(model.padId)

  return {
    pieces,
    scores,
    types,
    addedTokens: guardMarkup(added),
    eosIds: [model.eosId].filter((id) => present(id) !== undefined),
    ...(padId === undefined ? {} : { padId }),
    ...definedOnly(specialIds(config, tokenId, present(model.bosId))),
    unknownId,
    addBos: flag(config['add_bos_token']) ?? true,
    prefixSpace: prefixSpaceOf(model.addDummyPrefix && config['add_prefix_space'] !== false, flag(config['legacy'])),
    prefixSpaceOnce: false,
    splitAtSpaces: false,
    byteFallback: model.byteFallback,
    stripLeadingSpace: model.addDummyPrefix && config['add_prefix_space'] !== false,
  }
}

/** Where nothing says `legacy`, a text has one prefix space, at its beginning, as in Vicuna v1.5's own configuration. */
function prefixSpaceOf(addDummyPrefix: boolean, legacy: boolean | undefined): TokenizerSpec['prefixSpace'] {
  if (!addDummyPrefix) return 'never'
  return legacy === true ? 'every-segment' : 'first-segment'
}

export function* tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>): Generator<undefined, TokenizerSpec> {
  const model = metadata.get('tokenizer.ggml.model')
  if (model === 'llama') return yield* sentencePieceFromGguf(metadata)
  if (model === 'gpt2') return yield* byteLevelFromGguf(metadata)
  throw unsupported(`tokenizer.ggml.model ${JSON.stringify(model)}`)
}

function* sentencePieceFromGguf(metadata: ReadonlyMap<string, unknown>): Generator<undefined, TokenizerSpec> {
  const pieces = strings(metadata.get('tokenizer.ggml.tokens'), 'tokenizer.ggml.tokens')
  const types = yield* ggufTypes(metadata, pieces, (piece) =>
    bytePiece.test(piece) ? PieceType.byte : PieceType.normal,
  )
  const addSpacePrefix = flag(metadata.get('tokenizer.ggml.add_space_prefix')) ?? true
  return {
    pieces,
    scores: Float32Array.from(numbers(metadata.get('tokenizer.ggml.scores'), 'tokenizer.ggml.scores', pieces.length)),
    types,
    addedTokens: ggufAddedTokens(pieces, types),
    ...ggufIds(metadata, pieces.length),
    addBos: flag(metadata.get('tokenizer.ggml.add_bos_token')) ?? true,
    prefixSpace: prefixSpaceOf(addSpacePrefix, undefined),
    prefixSpaceOnce: false,
    splitAtSpaces: false,
    byteFallback: types.includes(PieceType.byte),
    stripLeadingSpace: addSpacePrefix,
  }
}

/** Tokens that end an answer whatever the keys name: converters often give the end of the text and leave out the end of the turn. */
const turnEnds = ['<|eot_id|>', '<|im_end|>', '<|end|>', '<|end_of_turn|>']

function* byteLevelFromGguf(metadata: ReadonlyMap<string, unknown>): Generator<undefined, TokenizerSpec> {
  const { addBos, ...byteLevel } = ggufPreTokenizer(metadata.get('tokenizer.ggml.pre'))
  const pieces = strings(metadata.get('tokenizer.ggml.tokens'), 'tokenizer.ggml.tokens')
  const types = yield* ggufTypes(metadata, pieces, () => PieceType.normal)
  const addedTokens = ggufAddedTokens(pieces, types)
  const vocabulary = new Map<string, number>()
  for (const [id, piece] of pieces.entries()) {
    if (types[id] === PieceType.normal) vocabulary.set(piece, id)
    if (id % entriesPerStep === 0) yield
  }
  requirePrintable(vocabulary, byteLevel)
  const { eosIds, ...ids } = ggufIds(metadata, pieces.length)
  const ends = addedTokens.filter(({ content, special }) => special && turnEnds.includes(content)).map(({ id }) => id)
  return {
    pieces,
    scores: new Float32Array(pieces.length),
    types,
    merges: yield* readMerges(metadata.get('tokenizer.ggml.merges'), 'tokenizer.ggml.merges', vocabulary),
    byteLevel,
    addedTokens,
    ...ids,
    eosIds: [...new Set([...eosIds, ...ends])],
    addBos: flag(metadata.get('tokenizer.ggml.add_bos_token')) ?? addBos,
    prefixSpace: 'never',
    prefixSpaceOnce: false,
    splitAtSpaces: false,
    byteFallback: false,
    stripLeadingSpace: false,
  }
}

/** `guess` gives a piece's type where the file has none. */
function* ggufTypes(
  metadata: ReadonlyMap<string, unknown>,
  pieces: readonly string[],
  guess: (piece: string) => number,
): Generator<undefined, Uint8Array> {
  const key = 'tokenizer.ggml.token_type'
  const stated = metadata.has(key) ? numbers(metadata.get(key), key, pieces.length) : undefined
  const types = new Uint8Array(pieces.length)
  for (const [id, piece] of pieces.entries()) {
    const type = stated === undefined ? guess(piece) : (stated[id] as number)
    if (!Number.isInteger(type) || type < PieceType.normal || type > PieceType.byte)
      throw corrupt(`piece ${id} has the unknown type ${type}`)
    if (type === PieceType.byte && !bytePiece.test(piece)) throw corrupt(`byte piece ${id} does not read <0xNN>`)
    types[id] = type
    if (id % entriesPerStep === 0) yield
  }
  return types
}

function ggufAddedTokens(pieces: readonly string[], types: Uint8Array): AddedToken[] {
  const added: AddedToken[] = []
  for (const [id, content] of pieces.entries()) {
    const type = types[id]
    const whole = type === PieceType.control || type === PieceType.unknown || type === PieceType.userDefined
    if (whole && content !== '') added.push(plainToken(id, content, type !== PieceType.userDefined))
  }
  return guardMarkup(added)
}

function ggufIds(
  metadata: ReadonlyMap<string, unknown>,
  pieces: number,
): Pick<TokenizerSpec, 'bosId' | 'eosIds' | 'unknownId' | 'padId'> {
  const id = (name: string): number | undefined => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`)
    return value === undefined ? undefined : idWithin(value, pieces, name)
  }
  const bosId = id('bos')
  const padId = id('padding')
  const unknownId = id('unknown')
  const eosIds = ['eos', 'eot', 'eom'].map(id).filter((eos) => eos !== undefined)
  return {
    ...(bosId === undefined ? {} : { bosId }),
    eosIds: [...new Set(eosIds)],
    ...(unknownId === undefined ? {} : { unknownId }),
    ...(padId === undefined ? {} : { padId }),
  }
}

/** Ids that stand by themselves in tokenizer_config.json, found in the vocabulary. */
function specialIds(
  config: Json,
  tokenId: (piece: string) => number | undefined,
  bos: number | undefined,
): Pick<TokenizerSpec, 'bosId' | 'eosIds' | 'padId'> {
  const named = (key: string): number | undefined => {
    const text = tokenText(config[key])
    return text === undefined ? undefined : tokenId(text)
  }
  const bosId = named('bos_token') ?? bos ?? tokenId('<s>')
  const eosId = named('eos_token') ?? tokenId('</s>')
  const padId = named('pad_token')
  return {
    ...(bosId === undefined ? {} : { bosId }),
    eosIds: eosId === undefined ? [] : [eosId],
    ...(padId === undefined ? {} : { padId }),
  }
}

/** Lets a later spread keep what it does not know better. */
function definedOnly(
  ids: Pick<TokenizerSpec, 'bosId' | 'eosIds' | 'padId'>,
): Partial<Pick<TokenizerSpec, 'bosId' | 'eosIds' | 'padId'>> {
  const { eosIds, ...rest } = ids
  return eosIds.length === 0 ? rest : ids
}

/** added_tokens_decoder of tokenizer_config.json: `{"32000": {"content": "<image>", …}}`. */
function addedTokensOf(config: Json): AddedToken[] {
  return Object.entries(settings(config['added_tokens_decoder'])).map(([id, token]) => {
    return readAddedToken({ ...object(token, 'an entry of `added_tokens_decoder`'), id: Number(id) })
  })
}

function readAddedToken(token: Json): AddedToken {
  const { id, content } = token
  if (typeof content !== 'string' || content === '') throw corrupt('an added token has no content')
  const on = (key: string): boolean => token[key] === true
  return {
    id: tokenIndex(id, content),
    content,
    special: on('special'),
    normalized: on('normalized'),
    lstrip: on('lstrip'),
    rstrip: on('rstrip'),
    singleWord: on('single_word'),
  }
}

function plainToken(id: number, content: string, special: boolean): AddedToken {
  return { id, content, special, normalized: false, lstrip: false, rstrip: false, singleWord: false }
}

function guardMarkup(tokens: readonly AddedToken[]): AddedToken[] {
  return tokens.map((token) => (markup.test(token.content) ? { ...token, special: true } : token))
}

/** The first of each id; the files agree where they overlap, or the first is the better witness. */
function uniqueById(tokens: readonly AddedToken[]): AddedToken[] {
  const byId = new Map<number, AddedToken>()
  for (const token of tokens) if (!byId.has(token.id)) byId.set(token.id, token)
  return [...byId.values()]
}

/** Pieces and types by id. Ids without a piece are unused; more than a few of those mean that an id is wrong. `bytePieces`: `<0x0A>` is a byte. */
function* tablesOf(
  vocabulary: Iterable<readonly [string, number]>,
  addedTokens: readonly AddedToken[],
  bytePieces: boolean,
): Generator<undefined, { pieces: string[]; types: Uint8Array }> {
  let count = 0
  let entries = 0
  for (const [, id] of vocabulary) {
    count = Math.max(count, id + 1)
    if (entries++ % entriesPerStep === 0) yield
  }
  for (const { id } of addedTokens) count = Math.max(count, id + 1)
  if (count > 2 * (entries + addedTokens.length) + 65536)
    throw corrupt(`id ${count - 1} lies far beyond its ${entries} pieces`)
  const pieces = new Array<string>(count).fill('')
  const types = new Uint8Array(count).fill(PieceType.unused)
  for (const [piece, id] of vocabulary) {
    pieces[id] = piece
    types[id] = bytePieces && bytePiece.test(piece) ? PieceType.byte : PieceType.normal
    if (id % entriesPerStep === 0) yield
  }
  for (const { id, content, special } of addedTokens) {
    pieces[id] = content
    types[id] = special ? PieceType.control : PieceType.userDefined
  }
  return { pieces, types }
}

function idLookup(pieces: readonly string[]): (piece: string) => number | undefined {
  return (piece) => {
    const id = pieces.indexOf(piece)
    return id < 0 ? undefined : id
  }
}

/** At byte level `<s>` may be a piece that people's words make; only added tokens are meant. */
function addedLookup(addedTokens: readonly AddedToken[]): (piece: string) => number | undefined {
  return (piece) => addedTokens.find(({ content }) => content === piece)?.id
}

/** A token in tokenizer_config.json is its text or an object that holds it. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const { content } = settings(token)
  return typeof content === 'string' ? content : undefined
}
