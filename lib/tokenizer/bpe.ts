// Byte-pair encoding of one piece of text, O(n log n): symbols in a linked list, joinable neighbours in a heap.
//   by scores (SentencePiece): two neighbours join when their text together is a piece; higher score first.
//   by merges (tokenizer.json, byte-level GGUF): two neighbours join when their ids are a merge; lower rank first.
// Ties go to the leftmost pair. Both are one loop over a `rule`: what joins (find), how soon (order), into which id (result).

import { PairHeap } from './pair-heap.js'
import { PieceType, type ByteLevel, type MergeTable, type TokenizerSpec } from './spec.js'

/** A symbol whose text is no piece (yet). */
const noPiece = -1

interface Symbols {
  /** By symbol, its id or `noPiece`. */
  readonly ids: Int32Array
  /** By symbol, where its text begins, in UTF-16 units at code point boundaries; one more entry for the end. */
  readonly starts: Int32Array
  readonly count: number
}

interface JoinRules {
  /** The rule that joins two neighbours, or -1; their text together is `text.slice(from, to)`. */
  find(left: number, right: number, text: string, from: number, to: number): number
  order(rule: number): number
  result(rule: number): number
}

export class BytePairEncoder {
  readonly #pieces: ReadonlyMap<string, number>
  readonly #byteIds: Int32Array | undefined
  readonly #unknownId: number | undefined
  readonly #rules: JoinRules
  readonly #bytesFirst: boolean
  readonly #wholeWords: boolean
  readonly #endOfWord: string
  readonly #byteLevel: ByteLevel | undefined

  /** @param pieces ids of the normal ones */
  constructor(spec: TokenizerSpec, pieces: ReadonlyMap<string, number>) {
    this.#pieces = pieces
    this.#byteIds = spec.byteFallback ? byteIds(spec) : undefined
    this.#unknownId = spec.unknownId
    this.#rules = spec.merges ? joinByMerges(spec.merges) : joinByScores(pieces, spec.scores)
    // Under merges a character without a piece is its bytes from the start; under scores a longer piece may still take it in.
    this.#bytesFirst = spec.merges !== undefined
    this.#wholeWords = spec.byteLevel?.wholeWords ?? false
    this.#endOfWord = spec.byteLevel?.endOfWord ?? ''
    this.#byteLevel = spec.byteLevel
  }

  /** Appends the ids of `text` (well formed, `▁` in place or in the byte alphabet) to `out`. */
  encode(text: string, out: number[]): void {
    const whole = this.#wholeWords ? this.#pieces.get(text) : undefined
    if (whole === undefined) this.#join(text, out)
    else out.push(whole)
  }

  #join(text: string, out: number[]): void {
    const symbols = this.#split(text)
    if (symbols.count === 0) return
    const { ids, starts, count } = symbols
    const rules = this.#rules
    const next = new Int32Array(count) // first initial symbol after this one
    const previous = new Int32Array(count) // head of the symbol before this one; `swallowed` once joined to its left
    const swallowed = -2
    const heap = new PairHeap(3 * count)

    const offer = (left: number, right: number): void => {
      const end = next[right] as number
      const rule = rules.find(
        ids[left] as number,
        ids[right] as number,
        text,
        starts[left] as number,
        starts[end] as number,
      )
      if (rule >= 0) heap.push(rules.order(rule), left, end, rule)
    }

    for (let i = 0; i < count; i++) {
      next[i] = i + 1
      previous[i] = i - 1
    }
    for (let i = 0; i + 1 < count; i++) offer(i, i + 1)

    while (heap.size > 0) {
      const { left, last, rule } = heap
      heap.pop()
      if (previous[left] === swallowed) continue
      const right = next[left] as number
      if (right === count || next[right] !== last) continue // one side has changed since
      ids[left] = rules.result(rule)
      next[left] = last
      previous[right] = swallowed
      if (last < count) previous[last] = left
      const before = previous[left] as number
      if (before >= 0) offer(before, left)
      if (last < count) offer(left, last)
    }

    for (let i = 0; i < count; i = next[i] as number) {
      const id = ids[i] as number
      if (id !== noPiece) out.push(id)
      else this.#emitUnknown(text.slice(starts[i], starts[next[i] as number]), out)
    }
  }

  #split(text: string): Symbols {
    const capacity = this.#bytesFirst && this.#byteIds ? Buffer.byteLength(text) : text.length
    const ids = new Int32Array(capacity)
    const starts = new Int32Array(capacity + 1)
    const unknown = this.#byteLevel?.unknown
    let count = 0
    let at = 0
    const add = (id: number): void => {
      ids[count] = id
      starts[count++] = at
    }
    for (const character of text) {
      const id = this.#pieces.get(at + character.length < text.length ? character : character + this.#endOfWord)
      if (id !== undefined) add(id)
      else if (this.#bytesFirst && this.#byteIds)
        for (const byte of Buffer.from(character)) add(this.#byteIds[byte] as number)
      else if (this.#byteLevel === undefined) add(noPiece)
      else if (unknown !== undefined && !(unknown.fused && ids[count - 1] === unknown.id)) add(unknown.id)
      at += character.length
    }
    starts[count] = at
    return { ids, starts, count }
  }

  #emitUnknown(text: string, out: number[]): void {
    if (this.#byteIds) for (const byte of Buffer.from(text)) out.push(this.#byteIds[byte] as number)
    // Neighbouring unknown characters are one unknown piece.
    else if (this.#unknownId !== undefined && out.at(-1) !== this.#unknownId) out.push(this.#unknownId)
  }
}

/** The id of each byte's piece, where the vocabulary has all 256. */
function byteIds(spec: TokenizerSpec): Int32Array | undefined {
  const ids = new Int32Array(256).fill(-1)
  for (const [id, piece] of spec.pieces.entries()) {
    if (spec.types[id] === PieceType.byte) ids[Number.parseInt(piece.slice(3, 5), 16)] = id
  }
  return ids.includes(-1) ? undefined : ids
}

function joinByScores(pieces: ReadonlyMap<string, number>, scores: Float32Array): JoinRules {
  let longest = 0
  for (const piece of pieces.keys()) longest = Math.max(longest, piece.length)
  return {
    find: (_left, _right, text, from, to) => (to - from > longest ? -1 : (pieces.get(text.slice(from, to)) ?? -1)),
    order: (id) => -(scores[id] as number),
    result: (id) => id,
  }
}

function joinByMerges(merges: MergeTable): JoinRules {
  return {
    find: (left, right) => (left < 0 || right < 0 ? -1 : merges.ranks.get(left, right)),
    order: (rank) => rank,
    result: (rank) => merges.ids[rank] as number,
  }
}
