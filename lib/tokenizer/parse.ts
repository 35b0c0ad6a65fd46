// The three files a LLaMA vocabulary comes in, each to a TokenizerSpec:
//   tokenizer.json (Hugging Face `tokenizers`, explicit merges) · tokenizer.model (SentencePiece, scores) · GGUF keys (SentencePiece, scores).
// What the encoder cannot do exactly (byte-level BPE, Unigram, other normalisers) is refused by name, not approximated.

import { LlavaError } from '../errors.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { PieceType, type AddedToken, type MergeTable, type TokenizerSpec } from './spec.js'

const bytePiece = /^<0x[0-9A-Fa-f]{2}>$/
/** Added pieces that read `<image>` are taken for special even where the file does not say so: users' words must not turn into them. */
const markup = /^<[^\s<>]+>$/

/** A JSON object whose members have not been looked at yet. */
type Json = Readonly<Record<string, unknown>>

export function tokenizerFromJson(tokenizerJson: unknown, tokenizerConfig?: unknown): TokenizerSpec {
  const file = object(tokenizerJson, 'tokenizer.json')
  const config = settings(tokenizerConfig)
  const model = object(file['model'], '`model`')
  const spacing = readSpacing(file['normalizer'], file['pre_tokenizer'])
  refuseOtherModels(model)

  const vocabulary = readVocabulary(model['vocab'])
  const listed = list(file['added_tokens'] ?? [], '`added_tokens`').map((token) => readAddedToken(object(token, 'an entry of `added_tokens`')))
  const addedTokens = uniqueById([...listed, ...addedTokensOf(config)])
  const { pieces, types } = tablesOf(vocabulary, addedTokens)
  const unknown = model['unk_token']
  const tokenId = idLookup(pieces)
  const template = prefixOfTemplate(file['post_processor'])
  const unknownId = typeof unknown === 'string' ? tokenId(unknown) : tokenId(tokenText(config['unk_token']) ?? '<unk>')
  if (unknownId !== undefined) types[unknownId] = PieceType.unknown
  const ids = specialIds(config, tokenId, template === undefined ? undefined : tokenId(template))
  const matched = addedTokens.map((token) => (token.normalized ? normalizeContent(token, spacing) : token))
  for (const { id, content, special } of matched) if (!special) pieces[id] = content // Hugging Face decodes them as they are looked for

  return {
    pieces,
    scores: new Float32Array(pieces.length),
    types,
    merges: readMerges(model['merges'], vocabulary, pieces.length),
    addedTokens: guardMarkup(matched),
    ...ids,
    ...(unknownId === undefined ? {} : { unknownId }),
    addBos: flag(config['add_bos_token']) ?? template !== undefined,
    prefixSpace: spacing.prefixSpace,
    prefixSpaceOnce: spacing.prefixSpaceOnce,
    splitAtSpaces: spacing.splitAtSpaces,
    byteFallback: model['byte_fallback'] === true,
    stripLeadingSpace: stripsLeadingSpace(file['decoder']),
  }
}

interface Spacing extends Pick<TokenizerSpec, 'prefixSpace' | 'prefixSpaceOnce' | 'splitAtSpaces'> {
  /** The normaliser itself marks spaces, so that added tokens with `normalized` are looked for among `▁`. */
  readonly byNormalizer: boolean
}

const prependSchemes: ReadonlyMap<unknown, TokenizerSpec['prefixSpace']> = new Map([['always', 'every-segment'], ['first', 'first-segment'], ['never', 'never']] as const)

/** transformers 4 wrote a normaliser (Prepend, Replace), transformers 4 without `legacy` and 5 the pre-tokenizer Metaspace. */
function readSpacing(normalizer: unknown, preTokenizer: unknown): Spacing {
  let prepends = false
  let replaces = false
  for (const step of steps(normalizer, 'normalizers')) {
    if (step['type'] === 'Prepend' && step['prepend'] === '▁') prepends = true
    else if (step['type'] === 'Replace' && step['content'] === '▁' && patternText(step['pattern']) === ' ') replaces = true
    else throw unsupported(`the normalizer ${JSON.stringify(step['type'])}`)
  }
  let metaspace: Json | undefined
  for (const step of steps(preTokenizer, 'pretokenizers')) {
    if (step['type'] === 'ByteLevel' || step['type'] === 'Split') throw unsupported('byte-level BPE')
    if (step['type'] !== 'Metaspace' || step['replacement'] !== '▁' || metaspace) throw unsupported(`the pre-tokenizer ${JSON.stringify(step['type'])}`)
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
  return { prefixSpace: prepends ? 'every-segment' : 'never', prefixSpaceOnce: false, splitAtSpaces: false, byNormalizer: true }
}

function refuseOtherModels(model: Json): void {
  const type = model['type'] ?? 'BPE'
  if (type !== 'BPE') throw unsupported(`the tokenizer model ${JSON.stringify(type)}`)
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix']) if (model[key]) throw unsupported(`BPE with ${key}`)
  if (model['ignore_merges'] === true) throw unsupported('BPE with ignore_merges')
}

function readVocabulary(vocab: unknown): ReadonlyMap<string, number> {
  const vocabulary = new Map<string, number>()
  for (const [piece, id] of Object.entries(object(vocab, '`model.vocab`'))) vocabulary.set(piece, tokenIndex(id, piece))
  return vocabulary
}

function readMerges(merges: unknown, vocabulary: ReadonlyMap<string, number>, vocabSize: number): MergeTable {
  const entries = list(merges ?? [], '`model.merges`')
  const ranks = new Map<number, number>()
  const ids = new Int32Array(entries.length)
  for (const [rank, entry] of entries.entries()) {
    const [left, right, ...more] = typeof entry === 'string' ? entry.split(' ') : list(entry, 'an entry of `model.merges`')
    if (typeof left !== 'string' || typeof right !== 'string' || more.length > 0) throw corrupt(`merge ${rank} is not a pair of pieces`)
    const [leftId, rightId, joined] = [left, right, left + right].map((piece) => vocabulary.get(piece))
    if (leftId === undefined || rightId === undefined || joined === undefined) {
      throw corrupt(`merge ${rank} (${left} + ${right}) names a piece that the vocabulary does not have`)
    }
    ranks.set(leftId * vocabSize + rightId, rank)
    ids[rank] = joined
  }
  return { ranks, ids }
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

/** A component, the members of a Sequence of them, or none. */
function steps(component: unknown, members: string): Json[] {
  if (component === null || component === undefined) return []
  const step = object(component, 'a component of tokenizer.json')
  if (step['type'] !== 'Sequence') return [step]
  return list(step[members] ?? [], `\`${members}\``).flatMap((member) => steps(member, members))
}

function patternText(pattern: unknown): unknown {
  return settings(pattern)['String']
}

/** `addedTokens` is the content of added_tokens.json (`{"<image>": 32000}`), which older checkpoints have beside tokenizer.model. */
export function tokenizerFromSentencePiece(bytes: Uint8Array, tokenizerConfig?: unknown, addedTokens?: unknown): TokenizerSpec {
  const model = readSentencePieceModel(bytes)
  const config = settings(tokenizerConfig)
  if (model.modelType !== 'bpe') throw unsupported(`the SentencePiece model type ${model.modelType}`)
  if (model.charsmapBytes > 0) throw unsupported('a SentencePiece model with a normalisation table')
  if (model.removeExtraWhitespaces || !model.escapeWhitespaces || model.whitespaceAsSuffix) {
    throw unsupported('a SentencePiece model that collapses, suffixes or keeps white space unmarked')
  }

  const vocabulary = model.pieces.map(({ text }, id) => [text, id] as const)
  const extra = Object.entries(settings(addedTokens)).map(([content, id]) => plainToken(tokenIndex(id, content), content, true))
  const own = model.pieces.flatMap(({ text, type }, id) => {
    return type === PieceType.control || type === PieceType.userDefined ? [plainToken(id, text, type === PieceType.control)] : []
  })
  const unknownId = idWithin(model.unknownId, model.pieces.length, 'the unknown piece')
  const unknown = plainToken(unknownId, model.pieces[unknownId]?.text ?? '<unk>', true)
  const added = uniqueById([...addedTokensOf(config), ...extra, ...own, unknown])
  const { pieces, types } = tablesOf(vocabulary, added)
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

export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>): TokenizerSpec {
  const model = metadata.get('tokenizer.ggml.model')
  if (model === 'gpt2') throw unsupported('byte-level BPE (tokenizer.ggml.model "gpt2")')
  if (model !== 'llama') throw unsupported(`tokenizer.ggml.model ${JSON.stringify(model)}`)

  const pieces = strings(metadata.get('tokenizer.ggml.tokens'), 'tokenizer.ggml.tokens')
  const scores = Float32Array.from(numbers(metadata.get('tokenizer.ggml.scores'), 'tokenizer.ggml.scores', pieces.length))
  const typeNumbers = metadata.has('tokenizer.ggml.token_type')
    ? numbers(metadata.get('tokenizer.ggml.token_type'), 'tokenizer.ggml.token_type', pieces.length)
    : pieces.map((piece) => (bytePiece.test(piece) ? PieceType.byte : PieceType.normal))
  const types = Uint8Array.from(typeNumbers, (type, id) => {
    if (!Number.isInteger(type) || type < PieceType.normal || type > PieceType.byte) throw corrupt(`piece ${id} has the unknown type ${type}`)
    if (type === PieceType.byte && !bytePiece.test(pieces[id] as string)) throw corrupt(`byte piece ${id} does not read <0xNN>`)
    return type
  })
  const id = (name: string): number | undefined => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`)
    return value === undefined ? undefined : idWithin(value, pieces.length, name)
  }
  const bosId = id('bos')
  const padId = id('padding')
  const unknownId = id('unknown')
  const eosIds = ['eos', 'eot', 'eom'].map(id).filter((eos) => eos !== undefined)
  const addSpacePrefix = flag(metadata.get('tokenizer.ggml.add_space_prefix')) ?? true

  return {
    pieces,
    scores,
    types,
    addedTokens: guardMarkup(
      pieces.flatMap((content, piece) => {
        const type = types[piece]
        const whole = type === PieceType.control || type === PieceType.unknown || type === PieceType.userDefined
        return whole && content !== '' ? [plainToken(piece, content, type !== PieceType.userDefined)] : []
      }),
    ),
    ...(bosId === undefined ? {} : { bosId }),
    eosIds: [...new Set(eosIds)],
    ...(unknownId === undefined ? {} : { unknownId }),
    ...(padId === undefined ? {} : { padId }),
    addBos: flag(metadata.get('tokenizer.ggml.add_bos_token')) ?? true,
    prefixSpace: prefixSpaceOf(addSpacePrefix, undefined),
    prefixSpaceOnce: false,
    splitAtSpaces: false,
    byteFallback: types.includes(PieceType.byte),
    stripLeadingSpace: addSpacePrefix,
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
  return { ...(bosId === undefined ? {} : { bosId }), eosIds: eosId === undefined ? [] : [eosId], ...(padId === undefined ? {} : { padId }) }
}

/** Lets a later spread keep what it does not know better. */
function definedOnly(ids: Pick<TokenizerSpec, 'bosId' | 'eosIds' | 'padId'>): Partial<Pick<TokenizerSpec, 'bosId' | 'eosIds' | 'padId'>> {
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

/** Pieces and types by id. Ids without a piece are unused; more than a few of those mean that an id is wrong. */
function tablesOf(vocabulary: Iterable<readonly [string, number]>, addedTokens: readonly AddedToken[]): { pieces: string[]; types: Uint8Array } {
  const entries = [...vocabulary]
  let count = 0
  for (const [, id] of entries) count = Math.max(count, id + 1)
  for (const { id } of addedTokens) count = Math.max(count, id + 1)
  if (count > 2 * (entries.length + addedTokens.length) + 65536) throw corrupt(`id ${count - 1} lies far beyond its ${entries.length} pieces`)
  const pieces = new Array<string>(count).fill('')
  const types = new Uint8Array(count).fill(PieceType.unused)
  for (const [piece, id] of entries) {
    pieces[id] = piece
    types[id] = bytePiece.test(piece) ? PieceType.byte : PieceType.normal
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

/** A token in tokenizer_config.json is its text or an object that holds it. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const { content } = settings(token)
  return typeof content === 'string' ? content : undefined
}

function tokenIndex(id: unknown, piece: string): number {
  return idWithin(id, 2 ** 24, piece)
}

function idWithin(id: unknown, count: number, what: string): number {
  const value = typeof id === 'bigint' ? Number(id) : id
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= count) throw corrupt(`${what} has the id ${String(id)}`)
  return value
}

function flag(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** An optional object: anything else counts as empty. */
function settings(value: unknown): Json {
  return isObject(value) ? value : {}
}

function object(value: unknown, what: string): Json {
  if (!isObject(value)) throw corrupt(`${what} is not an object`)
  return value
}

function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw corrupt(`${what} is not a list`)
  return value as readonly unknown[]
}

function strings(value: unknown, what: string): readonly string[] {
  const items = list(value, what)
  if (!items.every((item) => typeof item === 'string')) throw corrupt(`${what} is not a list of strings`)
  return items
}

function numbers(value: unknown, what: string, count: number): ArrayLike<number> {
  const items = ArrayBuffer.isView(value) && !(value instanceof DataView) ? (value as unknown as ArrayLike<unknown>) : list(value, what)
  if (items.length !== count) throw corrupt(`${what} has ${items.length} entries for ${count} pieces`)
  for (let i = 0; i < count; i++) if (typeof items[i] !== 'number') throw corrupt(`${what} is not a list of numbers`)
  return items as ArrayLike<number>
}

function corrupt(reason: string): LlavaError {
  return new LlavaError('MODEL_CORRUPT', `the vocabulary is damaged: ${reason}`)
}

function unsupported(what: string): LlavaError {
  return new LlavaError(
    'MODEL_UNSUPPORTED',
    `the tokenizer uses ${what}; supported are LLaMA vocabularies: SentencePiece BPE (tokenizer.model, GGUF "llama") and tokenizer.json with BPE over ▁`,
  )
}
