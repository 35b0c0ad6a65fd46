// The small vocabulary of test/fixtures/tokenizer, and LLaMA's own where the folder with it is at hand.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { finish } from '../../lib/slices.js'
import { tokenizerFromGguf, tokenizerFromJson, tokenizerFromSentencePiece } from '../../lib/tokenizer/parse.js'
import type { TokenizerSpec } from '../../lib/tokenizer/spec.js'
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'

const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..')
const fixtures = path.join(packageRoot, 'test/fixtures/tokenizer')

export interface Variant {
  readonly over: 'texts' | 'specialTexts' | 'addedTexts' | 'all'
  /** What tokenizer.json has instead in this variant. */
  readonly differences?: Readonly<Record<string, unknown>>
  readonly ids: readonly (readonly number[])[]
  /** By index, where decoding does not give the text back. */
  readonly decoded?: Readonly<Record<string, string>>
}

interface Expected {
  readonly texts: readonly string[]
  readonly specialTexts: readonly string[]
  readonly addedTexts: readonly string[]
  readonly variants: Readonly<Record<string, Variant>>
  readonly processor: readonly { readonly prompt: string; readonly ids: readonly number[] }[]
}

export type TokenizerJson = Readonly<Record<string, unknown>> & {
  readonly model: Readonly<Record<string, unknown>> & { readonly merges: readonly (readonly [string, string])[] }
}

export const expected = readJson('expected.json') as Expected
export const tokenizerJson = readJson('tokenizer.json') as TokenizerJson
export const tokenizerConfig = readJson('tokenizer_config.json')
export const sentencePieceModel = new Uint8Array(readFileSync(path.join(fixtures, 'tokenizer.model')))

export function textsOf(variant: Variant): readonly string[] {
  return variant.over === 'all' ? [...expected.texts, ...expected.specialTexts] : expected[variant.over]
}

export function variant(name: string): Variant {
  const found = expected.variants[name]
  if (found === undefined) throw new Error(`expected.json has no variant ${name}`)
  return found
}

/** tokenizer.json as a variant has it. */
export function documentOf({ differences = {} }: Variant): TokenizerJson {
  return { ...tokenizerJson, ...differences }
}

export function smallTokenizer(change: Partial<TokenizerSpec> = {}): Tokenizer {
  return new Tokenizer({ ...finish(tokenizerFromJson(tokenizerJson, tokenizerConfig)), ...change })
}

export function sentencePieceTokenizer(config: unknown = {}): Tokenizer {
  return new Tokenizer(finish(tokenizerFromSentencePiece(sentencePieceModel, config)))
}

/** byte-level.json: a vocabulary like GPT-2's, and what models of its kind have differently, by the name that tokenizer.ggml.pre has for them. */
interface ByteLevelFixture {
  readonly texts: readonly string[]
  readonly tokenizer: TokenizerJson
  readonly variants: Readonly<
    Record<
      string,
      {
        readonly differences: Readonly<Record<string, unknown>> & { readonly ignoreMerges?: boolean }
        /** Without BOS; `null`: as in the first variant. */
        readonly ids: readonly (readonly number[] | null)[]
        readonly decoded: Readonly<Record<string, string>>
      }
    >
  >
  /** Without the pieces of some bytes. */
  readonly missing: {
    readonly pieces: readonly string[]
    readonly texts: readonly string[]
    readonly variants: Readonly<
      Record<
        string,
        { readonly change: Readonly<Record<string, unknown>>; readonly ids: readonly (readonly number[])[] }
      >
    >
  }
}

const byteLevel = readJson('byte-level.json') as ByteLevelFixture
const allTexts = [...expected.texts, ...expected.specialTexts, ...byteLevel.texts]

/** A byte-level variant: its tokenizer.json, and by text the ids and what they decode to. */
export interface ByteLevelVariant {
  readonly name: string
  readonly document: TokenizerJson
  readonly rows: readonly { readonly text: string; readonly ids: readonly number[]; readonly decoded: string }[]
}

export const byteLevelVariants: readonly ByteLevelVariant[] = Object.entries(byteLevel.variants).map(
  ([name, { differences, ids, decoded }]) => {
    const { ignoreMerges = false, ...rest } = differences
    const model = { ...byteLevel.tokenizer.model, ignore_merges: ignoreMerges }
    const first = Object.values(byteLevel.variants)[0]?.ids ?? []
    const rows = allTexts.map((text, index) => ({
      text,
      ids: ids[index] ?? first[index] ?? [],
      decoded: decoded[index] ?? text,
    }))
    return { name, document: { ...byteLevel.tokenizer, ...rest, model }, rows }
  },
)

/** Vocabularies in which some bytes have no piece. */
export const missingByteVariants: readonly ByteLevelVariant[] = Object.entries(byteLevel.missing.variants).map(
  ([name, { change, ids }]) => {
    const { model } = byteLevel.tokenizer
    const vocab = byteLevel.missing.pieces.reduce(without, model['vocab'] as object)
    const rows = byteLevel.missing.texts.map((text, index) => ({ text, ids: ids[index] ?? [], decoded: '' }))
    return { name, document: { ...byteLevel.tokenizer, model: { ...model, vocab, ...change } }, rows }
  },
)

export function byteLevelVariant(name: string): ByteLevelVariant {
  const found = byteLevelVariants.find((one) => one.name === name)
  if (found === undefined) throw new Error(`byte-level.json has no variant ${name}`)
  return found
}

export const clip = readJson('clip.json') as {
  readonly tokenizer: TokenizerJson
  readonly long: string
  readonly ids: readonly (readonly number[])[]
}
export const clipTexts: readonly string[] = [...allTexts.filter((text) => !text.includes('<|')), clip.long]

const llamaFile = path.resolve(packageRoot, '../shared/data/ggml-vocab-llama-spm.gguf')
export const llamaAtHand = existsSync(llamaFile)
export const llamaMissing = `skipped: LLaMA's vocabulary is not at ${path.relative(packageRoot, llamaFile)}`

/** LLaMA's vocabulary of 32,000 pieces. */
export async function llamaTokenizer(change: Partial<TokenizerSpec> = {}): Promise<Tokenizer> {
  const { metadata } = await readGgufHeader(llamaFile)
  return new Tokenizer({ ...finish(tokenizerFromGguf(metadata)), ...change })
}

/** llama.cpp's test strings for that vocabulary, with the ids they must give (without BOS). */
export function llamaVectors(): readonly { readonly text: string; readonly ids: readonly number[] }[] {
  const texts = readFileSync(`${llamaFile}.inp`, 'utf8').split('\n__ggml_vocab_test__\n')
  const lines = readFileSync(`${llamaFile}.out`, 'utf8').split('\n')
  return texts.map((text, index) => ({ text, ids: (lines[index] ?? '').split(' ').filter(Boolean).map(Number) }))
}

/** A vocabulary less one piece. */
export function without(vocabulary: unknown, piece: string): object {
  return Object.fromEntries(Object.entries(vocabulary as object).filter(([name]) => name !== piece))
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(path.join(fixtures, name), 'utf8')) as unknown
}
