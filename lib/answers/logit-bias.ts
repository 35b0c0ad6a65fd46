// The keys of `logitBias` as token ids.

import { LlavaError, invalidArgument } from '../errors.js'
import type { Tokenizer } from '../tokenizer/tokenizer.js'

/** Biases by token id; those of keys that name the same token add up. */
export function biasById(
  bias: Readonly<Record<string, number>>,
  tokenizer: Tokenizer,
  vocabSize: number,
): Record<number, number> {
  const byId: Record<number, number> = {}
  for (const [key, value] of Object.entries(bias)) {
    const id = /^\d+$/.test(key) ? Number(key) : tokenOf(key, tokenizer)
    if (id >= vocabSize) throw invalidArgument('logitBias', `token ids in [0, ${vocabSize - 1}] or texts`, id)
    byId[id] = (byId[id] ?? 0) + value
  }
  return byId
}

/** The token that is this piece, or reads so. */
function tokenOf(text: string, tokenizer: Tokenizer): number {
  const id = tokenizer.tokenId(text) ?? tokenizer.tokenId(text.replaceAll(' ', '▁')) ?? onlyToken(text, tokenizer)
  if (id !== undefined) return id
  const ids = [...tokenizer.encode(text, { addBos: false })].join(', ')
  throw new LlavaError(
    'INVALID_ARGUMENT',
    `expected the keys of \`logitBias\` to be single tokens, got ${JSON.stringify(text)}, whose tokens are ${ids}`,
  )
}

/** For vocabularies that write bytes in letters of their own. */
function onlyToken(text: string, tokenizer: Tokenizer): number | undefined {
  const [id, ...others] = tokenizer.encode(text, { addBos: false })
  if (id === undefined || others.length > 0) return undefined
  return Buffer.from(tokenizer.pieceBytes(id)).toString() === text ? id : undefined
}
