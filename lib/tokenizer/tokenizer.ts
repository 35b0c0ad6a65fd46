// Text to ids and back, as SentencePiece and Hugging Face's tokenizers do it:
//   raw text -> cut at added tokens -> one space in front where the rule says so -> written as the vocabulary writes (writing.ts) -> BPE.
// Text comes in parts that either may hold special tokens (templates) or may not (users' words). Parts side by side are one
// text to BPE, but a special token is only recognised inside one part, so nothing a user writes can complete one.

import { invalidArgument } from '../errors.js'
import { finish } from '../slices.js'
import { indexPieces, type PieceIndex } from './piece-index.js'
import { PieceType, type AddedToken, type TokenizerSpec } from './spec.js'
import { spaceMark, writingOf, type Writing } from './writing.js'

/** A stretch of text, or an id standing for itself (an image token). */
export type TokenizerPart = { readonly text: string; readonly special: boolean } | { readonly id: number }

interface Run {
  readonly text: string
  readonly special: boolean
}

type Item = Run | { readonly id: number }

export interface EncodeOptions {
  /** Put BOS in front; default as the checkpoint says. */
  readonly addBos?: boolean
  /** Recognise special tokens written out in the text; default `false`, so that users' text never injects one. */
  readonly parseSpecial?: boolean
}

export class Tokenizer {
  /** Ids from here on have no piece and must not be sampled (rows that pad the embedding). */
  readonly vocabSize: number
  readonly bosId: number | undefined
  readonly eosIds: readonly number[]
  readonly #spec: TokenizerSpec
  readonly #writing: Writing
  readonly #ids: ReadonlyMap<string, number>
  readonly #bytes: (Uint8Array | undefined)[] = []
  /** UTF-16 units that one token stands for, at most; unlimited where text may leave no trace, or many unknown characters become one token. */
  readonly #longest: number
  readonly #rawTokens: AddedTokenMatcher
  readonly #normalizedTokens: AddedTokenMatcher

  /** @param index of the vocabulary's pieces; whoever must not block makes it in slices. */
  constructor(spec: TokenizerSpec, index: PieceIndex = finish(indexPieces(spec))) {
    this.#spec = spec
    this.#ids = index.ids
    this.#writing = writingOf(spec, index.normal)
    this.vocabSize = spec.types.findLastIndex((type) => type !== PieceType.unused) + 1
    this.#longest =
      spec.byteFallback && spec.byteLevel === undefined && !swallowsSpaces(spec) ? longestPiece(spec) : Infinity
    this.bosId = spec.bosId
    this.eosIds = spec.eosIds
    this.#rawTokens = new AddedTokenMatcher(spec.addedTokens.filter(({ normalized }) => !normalized))
    this.#normalizedTokens = new AddedTokenMatcher(spec.addedTokens.filter(({ normalized }) => normalized))
  }

  /** A number of tokens that text of so many UTF-16 units has at least: known before the work of encoding it. */
  fewestTokens(length: number): number {
    return Math.ceil(length / this.#longest)
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    return this.encodeParts([{ text, special: options.parseSpecial ?? false }], options)
  }

  /** Encodes parts that stand side by side as one text. */
  encodeParts(parts: readonly TokenizerPart[], options: Pick<EncodeOptions, 'addBos'> = {}): Int32Array {
    const out: number[] = []
    if ((options.addBos ?? this.#spec.addBos) && this.#spec.bosId !== undefined) out.push(this.#spec.bosId)
    let segment: Run[] = []
    let opening = true
    const close = (): void => {
      this.#encodeSegment(segment, opening, out)
      segment = []
    }
    for (const item of parts.flatMap((part) => ('id' in part ? [part] : this.#rawTokens.cut(wellFormed(part))))) {
      if (!('id' in item)) segment.push(item)
      else {
        close()
        out.push(this.#checkId(item.id))
        opening = false
      }
    }
    close()
    return Int32Array.from(out)
  }

  decode(ids: Iterable<number>, options: { readonly skipSpecial?: boolean } = {}): string {
    const chunks: Uint8Array[] = []
    for (const id of ids) chunks.push(this.pieceBytes(id, options))
    return this.stripLeadingSpace(new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(chunks)))
  }

  /** The bytes one id adds to the text; none for a special one unless `skipSpecial` is `false`. */
  pieceBytes(id: number, options: { readonly skipSpecial?: boolean } = {}): Uint8Array {
    this.#checkId(id)
    if ((options.skipSpecial ?? true) && this.isSpecial(id)) return new Uint8Array(0)
    return (this.#bytes[id] ??= this.#writing.bytes(this.#spec.pieces[id] as string, this.#spec.types[id] as number))
  }

  /** Drops the one space that encoding puts in front of a text. */
  stripLeadingSpace(text: string): string {
    return this.#spec.stripLeadingSpace && text.startsWith(' ') ? text.slice(1) : text
  }

  /** Control and unknown pieces: never text. */
  isSpecial(id: number): boolean {
    const type = this.#spec.types[id]
    return type === PieceType.control || type === PieceType.unknown
  }

  /** The id of a piece given as the vocabulary writes it (`▁` or `Ġ` for a space). */
  tokenId(piece: string): number | undefined {
    return this.#ids.get(piece)
  }

  #encodeSegment(runs: readonly Run[], opening: boolean, out: number[]): void {
    const [first, ...rest] = runs.filter(({ text }) => text !== '')
    if (first === undefined) return
    const prefixed = this.#wantsPrefix(first.text, opening) ? { ...first, text: spaceMark + first.text } : first
    let text = ''
    for (const run of [prefixed, ...rest]) {
      for (const item of this.#normalizedTokens.cut({ ...run, text: this.#writing.normalize(run.text) })) {
        if (!('id' in item)) text += item.text
        else {
          this.#writing.encode(text, out)
          out.push(item.id)
          text = ''
        }
      }
    }
    this.#writing.encode(text, out)
  }

  #wantsPrefix(text: string, opening: boolean): boolean {
    const { prefixSpace, prefixSpaceOnce } = this.#spec
    if (prefixSpace === 'never' || (prefixSpace === 'first-segment' && !opening)) return false
    return !(prefixSpaceOnce && (text.startsWith(' ') || text.startsWith(spaceMark)))
  }

  #checkId(id: number): number {
    const count = this.#spec.pieces.length
    if (!Number.isInteger(id) || id < 0 || id >= count) throw invalidArgument('id', `a token id in [0, ${count})`, id)
    return id
  }
}

/** Finds added tokens in a run: leftmost first, the longest there. */
class AddedTokenMatcher {
  readonly #byContent = new Map<string, AddedToken>()
  readonly #any: RegExp | undefined
  readonly #notSpecial: RegExp | undefined

  constructor(tokens: readonly AddedToken[]) {
    for (const token of tokens) this.#byContent.set(token.content, token)
    this.#any = alternatives(tokens)
    this.#notSpecial = alternatives(tokens.filter(({ special }) => !special))
  }

  cut(run: Run): Item[] {
    const pattern = run.special ? this.#any : this.#notSpecial
    if (pattern === undefined) return [run]
    const items: Item[] = []
    let done = 0
    for (const match of run.text.matchAll(pattern)) {
      const token = this.#byContent.get(match[0]) as AddedToken
      const end = match.index + match[0].length
      if (
        token.singleWord &&
        (/[\p{L}\p{N}_]$/u.test(run.text.slice(0, match.index)) || /^[\p{L}\p{N}_]/u.test(run.text.slice(end)))
      )
        continue
      const before = run.text.slice(done, match.index)
      items.push({ text: token.lstrip ? before.trimEnd() : before, special: run.special }, { id: token.id })
      done = token.rstrip ? run.text.length - run.text.slice(end).trimStart().length : end
    }
    items.push({ text: run.text.slice(done), special: run.special })
    return items
  }
}

function alternatives(tokens: readonly AddedToken[]): RegExp | undefined {
  if (tokens.length === 0) return undefined
  const longestFirst = tokens.map(({ content }) => content).sort((a, b) => b.length - a.length)
  return new RegExp(longestFirst.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'), 'gu')
}

/** Half a surrogate pair cannot be written in UTF-8: it becomes U+FFFD. */
function wellFormed(run: Run): Run {
  return { ...run, text: run.text.replace(/[\ud800-\udfff]/gu, '\ufffd') }
}

function longestPiece({ pieces }: TokenizerSpec): number {
  return pieces.reduce((longest, piece) => Math.max(longest, piece.length), 1)
}

function swallowsSpaces({ addedTokens }: TokenizerSpec): boolean {
  return addedTokens.some(({ lstrip, rstrip }) => lstrip || rstrip)
}
