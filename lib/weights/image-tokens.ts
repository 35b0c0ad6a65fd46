// The first LLaVA's tokens around an image. The reference adds them to its tokenizer when it opens the model; so do we, where the files lack them.

import { PieceType, type TokenizerSpec } from '../tokenizer/spec.js'
import type { Fields } from './fields.js'
import { corrupt } from './model-error.js'

/** Tokens to put in front of and behind every image. */
export interface ImageTokens {
  readonly start?: { readonly id: number; readonly text: string }
  readonly end?: { readonly id: number; readonly text: string }
}

const [patch, start, end] = ['<im_patch>', '<im_start>', '<im_end>']

/** @param config The checkpoint's config.json, which has `mm_use_im_start_end`. */
export function addImageTokens(
  config: Fields,
  spec: TokenizerSpec,
  rows: number,
): { readonly tokenizer: TokenizerSpec; readonly imageTokens: ImageTokens } {
  const first = config.boolean('mm_use_im_patch_token') === false ? [] : [patch]
  const tokenizer = withTokens(config.where, spec, [...first, start, end])
  const find = (text: string): { readonly id: number; readonly text: string } => {
    const id = tokenizer.addedTokens.find(({ content }) => content === text)?.id
    if (id !== undefined && id < rows) return { id, text }
    throw corrupt(
      config.where,
      `\`mm_use_im_start_end\` asks for the token "${text}", but the embedding table of ${rows} rows has none for it`,
    )
  }
  return { tokenizer, imageTokens: { start: find(start), end: find(end) } }
}

/** The vocabulary with those of `texts` that it lacks at its end. */
function withTokens(where: string, spec: TokenizerSpec, texts: readonly string[]): TokenizerSpec {
  const missing = texts.filter((text) => !spec.addedTokens.some(({ content }) => content === text))
  if (missing.length === 0) return spec
  if (spec.merges !== undefined) throw corrupt(where, `the tokenizer lacks ${missing.join(', ')}`)
  const added = missing.map((content, i) => ({
    id: spec.pieces.length + i,
    content,
    special: true,
    normalized: false,
    lstrip: false,
    rstrip: false,
    singleWord: false,
  }))
  return {
    ...spec,
    pieces: [...spec.pieces, ...missing],
    scores: Float32Array.from([...spec.scores, ...missing.map(() => 0)]),
    types: Uint8Array.from([...spec.types, ...missing.map(() => PieceType.control)]),
    addedTokens: [...spec.addedTokens, ...added],
  }
}
