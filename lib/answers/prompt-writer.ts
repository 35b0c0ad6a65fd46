// From messages to a prompt that the decoder reads: the template's text, cut into tokens and pictures.

import type { Engine } from '../engine/engine.js'
import { imageProcessor } from '../engine/picture-encoder.js'
import { LlavaError } from '../errors.js'
import type { NativeImageFeatures, NativeSegment } from '../native.js'
import { given } from '../options.js'
import { renderCheckpointTemplate } from '../prompt/checkpoint-template.js'
import { splicePrompt, type SpliceItem } from '../prompt/splice.js'
import {
  builtInTemplates,
  renderPrompt,
  templateStops,
  type PromptPart,
  type TemplateName,
} from '../prompt/templates.js'
import { modelTemplate } from '../model-template.js'
import { inShortSlices } from '../slices.js'
import type { Message, PromptOptions } from './answer-options.js'

/** A prompt before its text is cut; a checkpoint's own template is rendered when it is needed. */
export type PromptParts = readonly PromptPart[] | (() => Promise<readonly PromptPart[]>)

/** A prompt as the decoder will read it. */
export interface Prompt {
  readonly items: readonly SpliceItem[]
  readonly positions: number
  /** Of these, the rows of pictures. */
  readonly imagePositions: number
}

/**
 * What ends an answer in a template: a token where the vocabulary has one for it, which leaves no text to be found,
 * else text.
 */
export interface TemplateStops {
  readonly stopIds: readonly number[]
  readonly stopTexts: readonly string[]
}

export class PromptWriter {
  readonly #engine: Engine
  readonly #defaults: PromptOptions

  /** @param defaults what the model was opened with */
  constructor(engine: Engine, defaults: PromptOptions) {
    this.#engine = engine
    this.#defaults = defaults
  }

  /** How prompts are written unless a call says otherwise. */
  get template(): TemplateName {
    return this.#defaults.template ?? modelTemplate(this.#engine.description)
  }

  /** The system text where a call has none of its own. */
  get system(): string | undefined {
    return this.#defaults.system
  }

  /** Throws INVALID_ARGUMENT for messages that the template cannot hold. */
  parts(messages: readonly Message[], template: TemplateName, system: string | undefined): PromptParts {
    return template === 'checkpoint'
      ? this.#checkpointParts([...messages], system)
      : renderPrompt(messages, template, given({ system }))
  }

  stops(template: TemplateName): TemplateStops {
    const { tokenizer } = this.#engine
    const idOf = (text: string): number | undefined => {
      const id = tokenizer.tokenId(text)
      return id !== undefined && tokenizer.isSpecial(id) ? id : undefined
    }
    const stops = templateStops(template)
    return {
      stopIds: stops.map(idOf).filter((id) => id !== undefined),
      stopTexts: stops.filter((text) => idOf(text) === undefined),
    }
  }

  /**
   * Cuts a prompt and measures it: CONTEXT_OVERFLOW before anything is computed, and before long text is tokenized at
   * all. Many that come at once are cut a few at a time.
   */
  async cut(parts: PromptParts, images: number): Promise<Prompt> {
    const written = typeof parts === 'function' ? await parts() : parts
    const { tokenizer, description, rowsPerImage } = this.#engine
    const length = written.reduce((sum, part) => sum + (part.kind === 'text' ? part.text.length : 0), 0)
    const imagePositions = images * rowsPerImage
    this.#engine.checkContext(tokenizer.fewestTokens(length) + imagePositions, imagePositions, true)
    const items = await inShortSlices(() =>
      splicePrompt(written, tokenizer, description.imageToken, description.imageTokens),
    )
    if (images > 0) imageProcessor(description) // a model without a tower says so
    const tokens = items.reduce((sum, item) => sum + (item.kind === 'tokens' ? item.ids.length : 0), 0)
    this.#engine.checkContext(imagePositions + tokens, imagePositions)
    return { items, positions: imagePositions + tokens, imagePositions }
  }

  /**
   * The tokens of an answer that is known by its text alone: those that follow the prompt's where the template puts the
   * text behind it.
   */
  async answerIds(
    messages: readonly Message[],
    text: string,
    template: TemplateName,
    system: string | undefined,
  ): Promise<readonly number[]> {
    const written = async (all: readonly Message[]) => {
      const parts = this.parts(all, template, system)
      return typeof parts === 'function' ? parts() : parts
    }
    const prompt = await written(messages)
    const later = await written([...messages, { role: 'assistant', content: text }, { role: 'user', content: text }])
    const before = plainText(prompt)
    const after = plainText(later)
    const rest = after.startsWith(before) ? after.slice(before.length) : ''
    const lead = rest.slice(0, Math.max(0, rest.indexOf(text)))
    const { tokenizer } = this.#engine
    const ids = ({ length }: readonly PromptPart[], parts: readonly PromptPart[]): readonly number[] => {
      const from = parts.slice(0, length).findLastIndex(({ kind }) => kind === 'image') + 1
      return [...tokenizer.encodeParts(parts.slice(from) as readonly TextPart[], { addBos: false })]
    }
    const ofPrompt = ids(prompt, prompt)
    const ofBoth = ids(prompt, [...prompt, { kind: 'text', text: lead + text, special: false }])
    return ofPrompt.every((id, n) => id === ofBoth[n])
      ? ofBoth.slice(ofPrompt.length)
      : [...tokenizer.encodeParts([{ text: lead + text, special: false }], { addBos: false })]
  }

  #checkpointParts(messages: readonly Message[], system: string | undefined): () => Promise<PromptPart[]> {
    const { path: file, chatTemplate, imageToken, tokenizer } = this.#engine.description
    if (chatTemplate === undefined) {
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `${file} brings no chat template; name one of ${builtInTemplates.join(', ')}`,
      )
    }
    const bosToken = tokenizer.bosId === undefined ? undefined : tokenizer.pieces[tokenizer.bosId]
    const eosToken = tokenizer.eosIds[0] === undefined ? undefined : tokenizer.pieces[tokenizer.eosIds[0]]
    return () => renderCheckpointTemplate(messages, chatTemplate, given({ bosToken, eosToken, imageToken, system }))
  }
}

type TextPart = Extract<PromptPart, { readonly kind: 'text' }>

/** A prompt's text; a picture is a character that no text of a message holds by chance. */
function plainText(parts: readonly PromptPart[]): string {
  return parts.map((part) => (part.kind === 'text' ? part.text : '\u{10FFFF}')).join('')
}

/** A prompt with the rows of its pictures, as native code takes it. */
export function promptSegments({ items }: Prompt, images: readonly NativeImageFeatures[]): NativeSegment[] {
  return items.map((item) => {
    if (item.kind === 'tokens') return { tokens: item.ids }
    const image = images[item.index] as NativeImageFeatures
    return { image, start: 0, count: image.rows }
  })
}
