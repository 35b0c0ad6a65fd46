// The template for a checkpoint when nobody names one. The originals go by the model's name, and so does this; then by what only some checkpoints have:
//   llama-2 → llava_llama_2 · mistral, mixtral → mistral_instruct · v1.6-34b, hermes → chatml · mpt → mpt · mmtag → v1_mmtag, v0_mmtag
//   <im_start> around its pictures, and no v1 in the name → v0: the first LLaVA
//   byte-level vocabulary (Llama 3, Qwen) → the checkpoint's own, or chatml where it brings none but has <|im_start|>
//   else vicuna_v1, what LLaVA 1.5 was trained and evaluated with; where the name has v1 the original's demo takes llava_v1, one word away.

import type { TemplateName } from './templates.js'

export interface CheckpointTraits {
  /** Of the directory or file, or as the file itself has it. */
  readonly name: string
  /** It puts tokens of its own around pictures. */
  readonly imageTokens: boolean
  readonly byteLevelVocabulary: boolean
  readonly imStartToken: boolean
  readonly chatTemplate: boolean
}

/** By the first pattern that the name matches. */
const byName: readonly (readonly [RegExp, TemplateName])[] = [
  [/llava.*llama-2/i, 'llava_llama_2'],
  [/hermes|v1\.6-34b/i, 'chatml'],
  [/llava.*mi[sx]tral/i, 'mistral_instruct'],
  [/llava.*mpt/i, 'mpt'],
  [/v1.*mmtag|mmtag.*v1/i, 'v1_mmtag'],
  [/mmtag/i, 'v0_mmtag'],
]

export function defaultTemplate({
  name,
  imageTokens,
  byteLevelVocabulary,
  imStartToken,
  chatTemplate,
}: CheckpointTraits): TemplateName {
  const named = byName.find(([pattern]) => pattern.test(name))?.[1]
  if (named !== undefined) return named
  if (imageTokens && !/v1/i.test(name)) return 'v0'
  if (byteLevelVocabulary && chatTemplate) return 'checkpoint'
  return byteLevelVocabulary && imStartToken ? 'chatml' : 'vicuna_v1'
}
