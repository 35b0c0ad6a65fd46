// A prompt in parts to token pieces and image slots. Two ways, as the checkpoint was made:
//   its vocabulary has an image token (Hugging Face): the whole prompt is one text in which that token marks each slot;
//   it has none (original LLaVA, GGUF): what stands between images is tokenized by itself, with its own prefix space; one BOS, in front.

import { LlavaError, invalidArgument } from '../errors.js'
import type { PromptPart } from './templates.js'

export type SpliceItem =
  { readonly kind: 'tokens'; readonly ids: Int32Array } | { readonly kind: 'image'; readonly index: number }

/** The checkpoint's token that stands for an image. */
export interface ImageToken {
  readonly id: number
  readonly text: string
}

/** Tokens that stand around every image: the first LLaVA's `<im_start>` and `<im_end>`. */
export interface ImageTokens {
  readonly start?: { readonly text: string }
  readonly end?: { readonly text: string }
}

/** What this file needs of a tokenizer. */
export interface PromptTokenizer {
  readonly bosId: number | undefined
  encodeParts(
    parts: readonly ({ readonly text: string; readonly special: boolean } | { readonly id: number })[],
    options?: { readonly addBos?: boolean },
  ): Int32Array
}

const placeholder = '<image>'

export function splicePrompt(
  parts: readonly PromptPart[],
  tokenizer: PromptTokenizer,
  imageToken?: ImageToken,
  around: ImageTokens = {},
): SpliceItem[] {
  const wrapped = parts.flatMap((part) =>
    part.kind === 'image' ? [...special(around.start), part, ...special(around.end)] : [part],
  )
  const items = imageToken ? spliceAtToken(wrapped, tokenizer, imageToken) : spliceChunks(wrapped, tokenizer)
  return withOneBos(items, tokenizer.bosId)
}

/** Raw text in which each `<image>` is a slot, in order; special tokens in it are recognised. */
export function spliceText(
  text: string,
  tokenizer: PromptTokenizer,
  imageToken?: ImageToken,
  around?: ImageTokens,
): SpliceItem[] {
  return splicePrompt(cutAtPlaceholders(text, imageToken), tokenizer, imageToken, around)
}

function special(token: { readonly text: string } | undefined): PromptPart[] {
  return token === undefined ? [] : [{ kind: 'text', text: token.text, special: true }]
}

/** Text as prompt parts: `<image>` (or what the checkpoint calls it) becomes an image part. */
export function cutAtPlaceholders(text: string, imageToken?: ImageToken): PromptPart[] {
  return text.split(imageToken?.text ?? placeholder).flatMap((chunk, index): PromptPart[] => {
    const image: PromptPart[] = index > 0 ? [{ kind: 'image', index: index - 1 }] : []
    return chunk === '' ? image : [...image, { kind: 'text', text: chunk, special: true }]
  })
}

/** Every slot needs its image and every image its slot. */
export function checkImageCount(items: readonly { readonly kind: string }[], images: number): void {
  const slots = items.filter(({ kind }) => kind === 'image').length
  if (slots !== images)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `the prompt has ${count(slots, 'place')} for images, but ${count(images, 'image')} came with it`,
    )
}

function spliceAtToken(parts: readonly PromptPart[], tokenizer: PromptTokenizer, imageToken: ImageToken): SpliceItem[] {
  const ids = tokenizer.encodeParts(parts.map((part) => (part.kind === 'image' ? { id: imageToken.id } : part)))
  const indexes = parts.flatMap((part) => (part.kind === 'image' ? [part.index] : []))
  const items: SpliceItem[] = []
  let slot = 0
  for (let from = 0; from <= ids.length;) {
    const found = ids.indexOf(imageToken.id, from)
    const to = found < 0 ? ids.length : found
    if (to > from) items.push({ kind: 'tokens', ids: ids.slice(from, to) })
    if (found >= 0) items.push({ kind: 'image', index: indexes[slot++] ?? -1 })
    from = to + 1
  }
  if (slot !== indexes.length)
    throw invalidArgument(
      'prompt',
      `text without the image token ${imageToken.text} besides its ${count(indexes.length, 'image')}`,
      slot,
    )
  return items
}

function spliceChunks(parts: readonly PromptPart[], tokenizer: PromptTokenizer): SpliceItem[] {
  const items: SpliceItem[] = []
  let chunk: { readonly text: string; readonly special: boolean }[] = []
  const close = (addBos: { readonly addBos?: boolean }): void => {
    const ids = tokenizer.encodeParts(chunk, addBos)
    if (ids.length > 0) items.push({ kind: 'tokens', ids })
    chunk = []
  }
  let first = true
  for (const part of parts) {
    if (part.kind === 'text') chunk.push(part)
    else {
      close(first ? {} : { addBos: false })
      items.push(part)
      first = false
    }
  }
  close(first ? {} : { addBos: false })
  return items
}

/** A template that writes BOS itself meets a tokenizer that adds one: two in a row would put the model off. */
function withOneBos(items: readonly SpliceItem[], bosId: number | undefined): SpliceItem[] {
  const [first, ...rest] = items
  if (first?.kind !== 'tokens' || bosId === undefined || first.ids[0] !== bosId || first.ids[1] !== bosId)
    return [...items]
  return [{ kind: 'tokens', ids: first.ids.subarray(1) }, ...rest]
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
