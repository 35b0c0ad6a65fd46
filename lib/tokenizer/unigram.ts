// SentencePiece's Unigram (Kudo 2018): of all ways to cut a text into pieces, the one whose scores add up to most,
// found left to right (Viterbi).
//   best[end] = max over pieces text[begin, end) of best[begin] + score(piece), in float32 as SentencePiece adds;
//   a character that is no piece by itself may stand as the unknown one, at 10 below the worst score.

import { corrupt, idWithin } from './fields.js'
import { Charsmap } from './charsmap.js'
import { entriesPerStep } from './bpe-model.js'
import { readSentencePieceModel } from './sentencepiece-model.js'
import { PieceType } from './spec.js'

/** A Unigram vocabulary: what spiece.model says, or a GGUF. */
export interface UnigramSpec {
  /** By id, the piece's text with `▁` for a space. */
  readonly pieces: readonly string[]
  /** By id, its log probability. */
  readonly scores: Float32Array
  /** By id, a `PieceType`. */
  readonly types: Uint8Array
  readonly unknownId: number
  readonly charsmap: Uint8Array
  readonly removeExtraWhitespaces: boolean
  /** What ends a text, and what it is filled up with. */
  readonly eosId: number
  readonly padId: number
  readonly lowerCase: boolean
}

/** From SigLIP's spiece.model and tokenizer_config.json. */
export function unigramFromSentencePiece(bytes: Uint8Array, config: Readonly<Record<string, unknown>>): UnigramSpec {
  const model = readSentencePieceModel(bytes)
  if (model.modelType !== 'unigram' || model.byteFallback || !model.escapeWhitespaces || model.whitespaceAsSuffix)
    throw corrupt(`it is a SentencePiece model of another kind than SigLIP's (${model.modelType})`)
  const pieces = model.pieces.map(({ text }) => text)
  const idOf = (token: unknown, otherwise: string): number => {
    const content = typeof token === 'object' && token !== null ? (token as { content?: unknown }).content : token
    const id = pieces.indexOf(typeof content === 'string' ? content : otherwise)
    if (id < 0) throw corrupt(`it has no piece ${JSON.stringify(content ?? otherwise)}`)
    return id
  }
  return checkedUnigram({
    pieces,
    scores: Float32Array.from(model.pieces, ({ score }) => score),
    types: Uint8Array.from(model.pieces, ({ type }) => type),
    unknownId: model.unknownId,
    charsmap: model.charsmap,
    removeExtraWhitespaces: model.removeExtraWhitespaces,
    eosId: idOf(config['eos_token'], '</s>'),
    padId: idOf(config['pad_token'], '</s>'),
    lowerCase: config['do_lower_case'] !== false,
  })
}

export function checkedUnigram(spec: UnigramSpec): UnigramSpec {
  for (const [id, type] of spec.types.entries())
    if (type < PieceType.normal || type > PieceType.byte) throw corrupt(`piece ${id} has the unknown type ${type}`)
  if (!spec.scores.every(Number.isFinite)) throw corrupt('a score is no number')
  for (const key of ['unknownId', 'eosId', 'padId'] as const) idWithin(spec[key], spec.pieces.length, key)
  return spec
}

export class Unigram {
  readonly #ids = new Map<string, number>()
  readonly #spec: UnigramSpec
  readonly #charsmap: Charsmap
  /** Of the longest piece, in UTF-16 units. */
  readonly #longest: number
  readonly #unknownScore: number

  private constructor(spec: UnigramSpec, ids: Map<string, number>) {
    this.#spec = spec
    this.#ids = ids
    this.#charsmap = new Charsmap(spec.charsmap)
    const normal = [...ids].filter(([, id]) => spec.types[id] === PieceType.normal)
    this.#longest = normal.reduce((most, [piece]) => Math.max(most, piece.length), 0)
    const least = normal.reduce((score, [, id]) => Math.min(score, spec.scores[id] as number), Infinity)
    this.#unknownScore = Math.fround(least - 10)
  }

  /** Yields where it may pause: a vocabulary has tens of thousands of pieces. */
  static *of(spec: UnigramSpec): Generator<undefined, Unigram> {
    const ids = new Map<string, number>()
    for (const [id, piece] of spec.pieces.entries()) {
      if (spec.types[id] === PieceType.normal && piece !== '' && !ids.has(piece)) ids.set(piece, id)
      if (id % entriesPerStep === 0) yield
    }
    if (ids.size === 0) throw corrupt('it holds no pieces')
    return new Unigram(spec, ids)
  }

  /** Ids of a text that stands behind another one: no space is put before it. Unknown characters in a row are one. */
  encode(text: string): number[] {
    const { unknownId } = this.#spec
    return this.#bestPieces(this.#normalized(text)).filter((id, n, ids) => id !== unknownId || ids[n - 1] !== unknownId)
  }

  /** As SentencePiece's Normalizer does: of spaces in a row the first one stays, and none at the end. */
  #normalized(text: string): string {
    const { removeExtraWhitespaces } = this.#spec
    let normalized = ''
    let afterSpace = false
    for (const part of this.#charsmap.replaced(text)) {
      const kept: string = afterSpace ? part.replace(/^ +/, '') : part
      normalized += kept.replaceAll(' ', '▁')
      if (kept !== '') afterSpace = removeExtraWhitespaces && kept.endsWith(' ')
    }
    return removeExtraWhitespaces ? normalized.replace(/▁+$/, '') : normalized
  }

  #bestPieces(text: string): number[] {
    const { scores, unknownId } = this.#spec
    const best = new Float32Array(text.length + 1).fill(-Infinity)
    const from = new Int32Array(text.length + 1).fill(-1)
    const piece = new Int32Array(text.length + 1)
    best[0] = 0
    const offer = (begin: number, end: number, id: number, score: number): void => {
      const sum = Math.fround((best[begin] as number) + score)
      if (from[end] !== -1 && sum <= (best[end] as number)) return
      best[end] = sum
      from[end] = begin
      piece[end] = id
    }
    for (let begin = 0; begin < text.length; begin += characterUnits(text, begin)) {
      const first = characterUnits(text, begin)
      const last = Math.min(text.length, begin + this.#longest)
      let isPiece = false
      for (let end = begin + first; end <= last; end += end < text.length ? characterUnits(text, end) : 1) {
        const id = this.#ids.get(text.slice(begin, end))
        if (id === undefined) continue
        offer(begin, end, id, scores[id] as number)
        isPiece ||= end === begin + first
      }
      if (!isPiece) offer(begin, begin + first, unknownId, this.#unknownScore)
    }
    const ids: number[] = []
    for (let end = text.length; end > 0; end = from[end] as number) ids.push(piece[end] as number)
    return ids.reverse()
  }
}

/** UTF-16 units of the character at a place. */
function characterUnits(text: string, at: number): number {
  return (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
}
