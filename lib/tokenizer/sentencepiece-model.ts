// tokenizer.model: SentencePiece's protobuf, read by hand; every length in it is checked before use.
//   ModelProto      { 1: repeated piece { 1: string piece, 2: float score, 3: enum type }, 2: trainer_spec, 3: normalizer_spec }
//   TrainerSpec     { 3: model_type, 24: treat_whitespace_as_suffix, 35: byte_fallback, 40..43: unk/bos/eos/pad id }
//   NormalizerSpec  { 2: precompiled_charsmap, 3: add_dummy_prefix, 4: remove_extra_whitespaces, 5: escape_whitespaces }

import { LlavaError } from '../errors.js'
import { PieceType } from './spec.js'

export interface SentencePieceModel {
  readonly pieces: readonly { readonly text: string; readonly score: number; readonly type: number }[]
  readonly modelType: 'unigram' | 'bpe' | 'word' | 'char'
  readonly byteFallback: boolean
  readonly whitespaceAsSuffix: boolean
  readonly unknownId: number
  /** -1 where the model has none, as for `eosId` and `padId`. */
  readonly bosId: number
  readonly eosId: number
  readonly padId: number
  /** What characters are replaced with before anything else (charsmap.ts); empty: nothing is. */
  readonly charsmap: Uint8Array
  readonly addDummyPrefix: boolean
  readonly removeExtraWhitespaces: boolean
  readonly escapeWhitespaces: boolean
}

type Field =
  | { readonly number: number; readonly kind: 'varint'; readonly value: number }
  | { readonly number: number; readonly kind: 'fixed32'; readonly value: number }
  | { readonly number: number; readonly kind: 'bytes'; readonly value: Uint8Array }
  | { readonly number: number; readonly kind: 'fixed64' }

export function readSentencePieceModel(bytes: Uint8Array): SentencePieceModel {
  const pieces: { text: string; score: number; type: number }[] = []
  let trainer: Uint8Array = new Uint8Array(0)
  let normalizer: Uint8Array = new Uint8Array(0)
  for (const field of fields(bytes)) {
    if (field.kind !== 'bytes') continue
    if (field.number === 1) pieces.push(readPiece(field.value))
    else if (field.number === 2) trainer = field.value
    else if (field.number === 3) normalizer = field.value
  }
  if (pieces.length === 0) throw corrupt('it holds no pieces')
  const trained = integers(trainer)
  const normalized = integers(normalizer)
  const charsmap = [...fields(normalizer)].find((field) => field.number === 2 && field.kind === 'bytes')
  return {
    pieces,
    modelType: (['unigram', 'bpe', 'word', 'char'] as const)[(trained.get(3) ?? 1) - 1] ?? 'unigram',
    byteFallback: trained.get(35) === 1,
    whitespaceAsSuffix: trained.get(24) === 1,
    unknownId: trained.get(40) ?? 0,
    bosId: trained.get(41) ?? 1,
    eosId: trained.get(42) ?? 2,
    padId: trained.get(43) ?? -1,
    charsmap: charsmap?.kind === 'bytes' ? charsmap.value : new Uint8Array(0),
    addDummyPrefix: normalized.get(3) !== 0,
    removeExtraWhitespaces: normalized.get(4) !== 0,
    escapeWhitespaces: normalized.get(5) !== 0,
  }
}

function readPiece(bytes: Uint8Array): { text: string; score: number; type: number } {
  const piece: { text: string; score: number; type: number } = { text: '', score: 0, type: PieceType.normal }
  for (const field of fields(bytes)) {
    if (field.number === 1 && field.kind === 'bytes') piece.text = Buffer.from(field.value).toString('utf8')
    else if (field.number === 2 && field.kind === 'fixed32') piece.score = field.value
    else if (field.number === 3 && field.kind === 'varint') piece.type = field.value
  }
  return piece
}

/** The varint fields of a message as signed 32-bit integers, the last one of a number winning. */
function integers(bytes: Uint8Array): Map<number, number> {
  const values = new Map<number, number>()
  for (const field of fields(bytes)) if (field.kind === 'varint') values.set(field.number, field.value)
  return values
}

/** The fields of one message in file order. */
function* fields(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const need = (count: number): number => {
    if (count > bytes.length - at) throw corrupt(`a field reaches ${count - (bytes.length - at)} bytes past its end`)
    const from = at
    at += count
    return from
  }
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[need(1)] as number
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    throw corrupt('a number is longer than 10 bytes')
  }
  const length = (): number => {
    const value = varint()
    return value > BigInt(bytes.length) ? need(Number.MAX_SAFE_INTEGER) : Number(value)
  }
  while (at < bytes.length) {
    const tag = Number(varint() & 0xffffffffn)
    const number = tag >>> 3
    const wire = tag & 7
    if (wire === 0) yield { number, kind: 'varint', value: Number(BigInt.asIntN(32, varint())) }
    else if (wire === 1) {
      need(8)
      yield { number, kind: 'fixed64' }
    } else if (wire === 2) {
      const size = length()
      const from = need(size)
      yield { number, kind: 'bytes', value: bytes.subarray(from, from + size) }
    } else if (wire === 5) yield { number, kind: 'fixed32', value: view.getFloat32(need(4), true) }
    else throw corrupt(`field ${number} has the unknown wire type ${wire}`)
  }
}

function corrupt(reason: string): LlavaError {
  return new LlavaError('MODEL_CORRUPT', `tokenizer.model is not a SentencePiece model: ${reason}`)
}
