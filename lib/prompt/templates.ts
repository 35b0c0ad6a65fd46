// Messages to a prompt in parts: text that may hold special tokens (the template's), text that may not (people's), images.
//   vicuna_v1  {system} USER: <image>\n{u1} ASSISTANT: {a1}</s>USER: {u2} ASSISTANT:       (LLaVA 1.5's training and evaluation)
//   llava_v1   the same with the demo's system text ("human" for "user")
//   hf         {system} USER: <image>\n{u1} ASSISTANT: {a1} USER: {u2} ASSISTANT:           (transformers' template for llava-1.5, no default system text)
//   plain      <image>{u1}{a1}\n                                                            (first training stage: captions)

import { invalidArgument } from '../errors.js'

export type ContentPart<I> = { readonly type: 'text'; readonly text: string } | { readonly type: 'image'; readonly image: I }

export interface ChatMessage<I = unknown> {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string | readonly ContentPart<I>[]
}

export type PromptPart =
  /** `special`: the text may hold special tokens such as `</s>`. */
  | { readonly kind: 'text'; readonly text: string; readonly special: boolean }
  /** `index` counts the images of the whole conversation. */
  | { readonly kind: 'image'; readonly index: number }

export type TemplateName = 'vicuna_v1' | 'llava_v1' | 'hf' | 'plain'

export interface TemplateOptions {
  /** Replaces the template's own system text; a system message in the conversation wins over it. */
  readonly system?: string
}

const systemTexts = {
  vicuna_v1:
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
  llava_v1:
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions.",
} as const

const templates = {
  vicuna_v1: renderVicuna,
  llava_v1: (messages, options) => renderVicuna(messages, { system: systemTexts.llava_v1, ...options }),
  hf: renderHf,
  plain: renderPlain,
} as const satisfies Record<TemplateName, (messages: readonly ChatMessage[], options?: TemplateOptions) => PromptPart[]>

export function renderPrompt(messages: readonly ChatMessage[], template: TemplateName, options: TemplateOptions = {}): PromptPart[] {
  if (!Object.hasOwn(templates, template)) throw invalidArgument('template', `one of ${Object.keys(templates).join(', ')}`, template)
  return templates[template](messages, options)
}

export function renderVicuna(messages: readonly ChatMessage[], options: TemplateOptions = {}): PromptPart[] {
  const { system = systemTexts.vicuna_v1, turns } = readConversation(messages, options)
  const prompt = new PromptBuilder()
  if (system !== '') prompt.words(system).template(' ')
  for (const { role, texts, images } of turns) {
    const text = texts.join('\n')
    if (role === 'assistant') prompt.template('ASSISTANT: ').words(text).template('</s>')
    else {
      // As the trainer does: images first, the rest stripped; a picture without a question leaves no line break behind.
      const question = images > 0 ? text.trim() : text
      prompt.template('USER: ')
      for (let left = images; left > 0; left--) prompt.image().template(left > 1 || question !== '' ? '\n' : '')
      prompt.words(question).template(' ')
    }
  }
  return prompt.template('ASSISTANT:').parts
}

function renderHf(messages: readonly ChatMessage[], options: TemplateOptions = {}): PromptPart[] {
  const { system, turns } = readConversation(messages, options)
  const prompt = new PromptBuilder()
  if (system !== undefined) prompt.words(system).template(' ')
  for (const { role, texts, images } of turns) {
    prompt.template(role === 'user' ? 'USER: ' : 'ASSISTANT: ')
    for (let left = images; left > 0; left--) prompt.image().template('\n')
    for (const text of texts) prompt.words(text).template(' ')
  }
  return prompt.template('ASSISTANT:').parts
}

function renderPlain(messages: readonly ChatMessage[], options: TemplateOptions = {}): PromptPart[] {
  const { system, turns } = readConversation(messages, options)
  const prompt = new PromptBuilder()
  if (system !== undefined) prompt.words(system)
  for (const { role, texts, images } of turns) {
    for (let left = images; left > 0; left--) prompt.image()
    prompt.words(texts.join('\n')).template(role === 'assistant' ? '\n' : '')
  }
  return prompt.parts
}

interface Turn {
  readonly role: 'user' | 'assistant'
  readonly texts: readonly string[]
  readonly images: number
}

/** The conversation's rule for every template: perhaps a system message, then user and assistant in turn, the user last. */
function readConversation(messages: readonly ChatMessage[], options: TemplateOptions): { readonly system?: string; readonly turns: readonly Turn[] } {
  const opening = messages[0]?.role === 'system' ? readContent(messages[0], 0) : undefined
  const system = opening?.texts.join('\n') ?? options.system
  const turns = messages.slice(opening ? 1 : 0).map((message, index): Turn => {
    const expected = index % 2 === 0 ? 'user' : 'assistant'
    const position = opening ? index + 1 : index
    if (message.role !== expected) throw invalidArgument(`messages[${position}].role`, `'${expected}' (user and assistant take turns)`, message.role)
    return { role: expected, ...readContent(message, position) }
  })
  if (turns.at(-1)?.role !== 'user') throw invalidArgument('messages', 'a conversation that ends with a user message', messages)
  return { ...(system === undefined ? {} : { system }), turns }
}

function readContent({ role, content }: ChatMessage, position: number): { readonly texts: readonly string[]; readonly images: number } {
  const parts = contentParts(content, position)
  const texts = parts.flatMap((part) => (part.type === 'text' ? [part.text] : []))
  const images = parts.length - texts.length
  if (images > 0 && role !== 'user') throw invalidArgument(`messages[${position}].content`, 'text only, as its role is not user', 'an image')
  return { texts, images }
}

/** A message's content as a checked list of parts. */
export function contentParts<I>(content: ChatMessage<I>['content'], position: number): readonly ContentPart<I>[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  if (!Array.isArray(content)) throw invalidArgument(`messages[${position}].content`, 'a string or a list of text and image parts', content)
  for (const part of content as readonly ContentPart<I>[]) {
    if (part.type === 'text' ? typeof part.text !== 'string' : part.type !== 'image') {
      throw invalidArgument(`messages[${position}].content`, "parts { type: 'text', text } or { type: 'image', image }", part)
    }
  }
  return content as readonly ContentPart<I>[]
}

/** The images of a conversation in the order in which `PromptPart.index` counts them. */
export function conversationImages<I>(messages: readonly ChatMessage<I>[]): I[] {
  return messages.flatMap(({ content }, position) => contentParts(content, position).flatMap((part) => (part.type === 'image' ? [part.image] : [])))
}

/** Collects parts; text of one kind side by side is one part. */
class PromptBuilder {
  readonly parts: PromptPart[] = []
  #images = 0

  template(text: string): this {
    return this.#text(text, true)
  }

  words(text: string): this {
    return this.#text(text, false)
  }

  image(): this {
    this.parts.push({ kind: 'image', index: this.#images++ })
    return this
  }

  #text(text: string, special: boolean): this {
    const last = this.parts.at(-1)
    if (text === '') return this
    if (last?.kind === 'text' && last.special === special) this.parts[this.parts.length - 1] = { ...last, text: last.text + text }
    else this.parts.push({ kind: 'text', text, special })
    return this
  }
}
