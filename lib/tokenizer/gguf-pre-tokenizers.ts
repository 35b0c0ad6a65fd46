// tokenizer.ggml.pre names a pre-tokenizer and leaves its patterns to the reader: here they are, as the models' own tokenizer.json have them.

import { gpt2Words } from './byte-level.js'
import { unsupported } from './fields.js'
import type { ByteLevel } from './spec.js'

interface PreTokenizer extends ByteLevel {
  /** Where tokenizer.ggml.add_bos_token is not given. */
  readonly addBos: boolean
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const beforeWord = String.raw`[^\r\n\p{L}\p{N}]?`
const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`

const llama3Words = String.raw`${contractions}|${beforeWord}\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`
const qwen2Words = String.raw`${contractions}|${beforeWord}\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`
const tekkenWords = String.raw`${beforeWord}${upper}*${lower}+|${beforeWord}${upper}+${lower}*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`
const gpt4oWords =
  String.raw`${beforeWord}${upper}*${lower}+${contractions}?|${beforeWord}${upper}+${lower}*${contractions}?` +
  String.raw`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`

function splitBy(...patterns: readonly string[]): Pick<PreTokenizer, 'splits' | 'wholeWords' | 'addBos'> {
  return { splits: patterns.map((regex) => ({ regex, onlyMatches: false })), wholeWords: false, addBos: false }
}

const llama3: PreTokenizer = { ...splitBy(llama3Words), wholeWords: true, addBos: true }
const tekken: PreTokenizer = { ...splitBy(tekkenWords), wholeWords: true, addBos: true }
const qwen2: PreTokenizer = { ...splitBy(qwen2Words), normalization: 'NFC' }
const gpt2: PreTokenizer = splitBy(gpt2Words)
const singleDigits: PreTokenizer = splitBy(String.raw`\p{N}`, gpt2Words)
/** What llama.cpp falls back on for files from before the key. */
const fallback: PreTokenizer = splitBy(String.raw`[\p{P}$+<=>^~|]+`, gpt2Words, String.raw`\p{N}+`, '[0-9][0-9][0-9]')

const byName: Readonly<Record<string, PreTokenizer>> = {
  default: fallback,
  llama3,
  'llama-v3': llama3,
  'llama-bpe': llama3,
  falcon3: llama3,
  pixtral: llama3,
  dbrx: splitBy(llama3Words),
  'smaug-bpe': splitBy(llama3Words),
  'chatglm-bpe': splitBy(llama3Words),
  glm4: splitBy(llama3Words),
  tekken,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  megrez: qwen2,
  stablelm2: splitBy(qwen2Words),
  'gpt-4o': splitBy(gpt4oWords),
  llama4: splitBy(gpt4oWords),
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: gpt2,
  olmo: gpt2,
  jais: gpt2,
  starcoder: singleDigits,
  refact: singleDigits,
  'command-r': singleDigits,
  smollm: singleDigits,
  codeshell: singleDigits,
  exaone: singleDigits,
}

export function ggufPreTokenizer(name: unknown = 'default'): PreTokenizer {
  if (typeof name === 'string' && Object.hasOwn(byName, name)) return byName[name] as PreTokenizer
  throw unsupported(
    `the pre-tokenizer tokenizer.ggml.pre ${JSON.stringify(name)} (known: ${Object.keys(byName).join(', ')})`,
  )
}

/** The first name that stands for this way of cutting text into words. */
export function ggufPreTokenizerName({ normalization, splits, wholeWords, endOfWord }: ByteLevel): string | undefined {
  if (endOfWord !== undefined) return undefined
  return Object.entries(byName).find(([name, known]) => {
    if (name === 'default' || known.normalization !== normalization || known.wholeWords !== wholeWords) return false
    return (
      known.splits.length === splits.length &&
      known.splits.every(
        ({ regex, onlyMatches }, i) => splits[i]?.regex === regex && splits[i].onlyMatches === onlyMatches,
      )
    )
  })?.[0]
}
