// Byte-level BPE as tokenizer.json describes it: normalizer (a Unicode form), pre-tokenizer (Split, Digits, ByteLevel), model.
// The pre-tokenizer's parts become one list of splits; ByteLevel's own pattern is one of them, so that one engine runs them all.

import { byteAlphabet } from './byte-alphabet.js'
import { corrupt, settings, steps, unsupported, type Json } from './fields.js'
import type { ByteLevel, WordSplit } from './spec.js'
import { wordCutter } from './writing.js'

/** GPT-2's own pattern. */
export const gpt2Words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

/** `undefined` for a file whose pre-tokenizer is not at byte level. */
export function readByteLevel(file: Json, model: Json, vocabulary: ReadonlyMap<string, number>): ByteLevel | undefined {
  const parts = steps(file['pre_tokenizer'], 'pretokenizers')
  if (!parts.some(({ type }) => type === 'ByteLevel')) return undefined
  if (parts.at(-1)?.['type'] !== 'ByteLevel') throw unsupported('a pre-tokenizer that goes on after its ByteLevel')
  const splits = parts.flatMap(readSplit)
  checkPatterns(splits)
  const normalization = readNormalization(file['normalizer'])
  const unknownId = typeof model['unk_token'] === 'string' ? vocabulary.get(model['unk_token']) : undefined
  return {
    ...(normalization === undefined ? {} : { normalization }),
    splits,
    wholeWords: model['ignore_merges'] === true,
    ...(unknownId === undefined ? {} : { unknown: { id: unknownId, fused: model['fuse_unk'] === true } }),
  }
}

function readNormalization(normalizer: unknown): ByteLevel['normalization'] {
  const [first, ...more] = steps(normalizer, 'normalizers').map(({ type }) => type)
  if (first === undefined) return undefined
  if (more.length > 0) throw unsupported(`the normalizers ${[first, ...more].join(', ')}`)
  if (first !== 'NFC' && first !== 'NFD' && first !== 'NFKC' && first !== 'NFKD')
    throw unsupported(`the normalizer ${JSON.stringify(first)}`)
  return first
}

function readSplit(part: Json): WordSplit[] {
  const type = part['type']
  if (type === 'Split') return [{ regex: readPattern(part['pattern']), onlyMatches: onlyMatches(part) }]
  // `\p{N}` rather than `\d`: a digit there is whatever Unicode calls numeric.
  if (type === 'Digits')
    return [{ regex: part['individual_digits'] === true ? String.raw`\p{N}` : String.raw`\p{N}+`, onlyMatches: false }]
  if (type !== 'ByteLevel') throw unsupported(`the pre-tokenizer ${JSON.stringify(type)}`)
  if (part['add_prefix_space'] === true) throw unsupported('byte-level BPE with add_prefix_space')
  return part['use_regex'] === false ? [] : [{ regex: gpt2Words, onlyMatches: false }]
}

function onlyMatches({ behavior, invert }: Json): boolean {
  if (behavior === 'Isolated') return false // `invert` changes nothing: both kinds of words stay
  if (behavior === 'Removed' && invert === true) return true
  throw unsupported(`the pre-tokenizer Split with behavior ${JSON.stringify(behavior)}`)
}

function readPattern(pattern: unknown): string {
  const { Regex: regex, String: text } = settings(pattern)
  if (typeof regex === 'string') return regex
  if (typeof text === 'string') return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  throw corrupt('the pattern of a Split is neither Regex nor String')
}

/** Throws for what the engine cannot run. */
export function checkPatterns(splits: readonly WordSplit[]): void {
  for (const split of splits) {
    try {
      wordCutter([split])
    } catch (cause) {
      throw unsupported(
        `the regular expression ${split.regex} (${cause instanceof Error ? cause.message : String(cause)})`,
      )
    }
  }
}

/** Throws where a printable ASCII character has no piece: such a vocabulary is damaged. Sound ones may lack bytes that hardly any text has. */
export function requirePrintable(vocabulary: ReadonlyMap<string, number>, { endOfWord = '' }: ByteLevel): void {
  for (let byte = 0x20; byte < 0x7f; byte++) {
    const character = byteAlphabet[byte] as string
    if (vocabulary.has(character) && vocabulary.has(character + endOfWord)) continue
    throw corrupt(`byte ${byte} has no piece (${JSON.stringify(character)})`)
  }
}
