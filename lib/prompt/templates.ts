// Messages to a prompt in parts: text that may hold special tokens (the template's), text that may not (people's), images.
//   vicuna_v1         {system} USER: <image>\n{u1} ASSISTANT: {a1}</s>USER: {u2} ASSISTANT:     (LLaVA 1.5's training and evaluation)
//   llava_v1          the same with the demo's system text ("human" for "user")
//   v0                {system}###Human: <image>\n{u1}###Assistant: {a1}###Human: {u2}###Assistant:     (the first LLaVA; ends at "###")
//   v1_mmtag          vicuna_v1, v0_mmtag: v0, for projectors without fine-tuning: pictures come first, as <Image><image></Image>, and are "Received."
//   llava_llama_2     [INST] <<SYS>>\n{system}\n<</SYS>>\n\n<image>\n{u1} [/INST] {a1} </s><s>[INST] {u2} [/INST]
//   mistral_instruct  [INST] <image>\n{u1} [/INST] {a1} </s>[INST] {u2} [/INST]
//   chatml            <|im_start|>system\n{system}<|im_end|><|im_start|>user\n<image>\n{u1}<|im_end|><|im_start|>assistant\n     (ends at <|im_end|>)
//   mpt               chatml with another system text
//   hf                {system} USER: <image>\n{u1} ASSISTANT: {a1} USER: {u2} ASSISTANT:     (transformers' template for llava-1.5, no system text of its own)
//   plain             <image>{u1}{a1}\n     (first training stage: captions)
// checkpoint, the one that the checkpoint brings, is in checkpoint-template.ts.

import { invalidArgument, LlavaError } from '../errors.js'

export type ContentPart<I> =
  { readonly type: 'text'; readonly text: string } | { readonly type: 'image'; readonly image: I }

export interface ChatMessage<I = unknown> {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string | readonly ContentPart<I>[]
}

export type PromptPart =
  /** `special`: the text may hold special tokens such as `</s>`. */
  | { readonly kind: 'text'; readonly text: string; readonly special: boolean }
  /** `index` counts the images of the whole conversation. */
  | { readonly kind: 'image'; readonly index: number }

export interface TemplateOptions {
  /** Replaces the template's own system text; a system message in the conversation wins over it. */
  readonly system?: string
}

/** What stands around the words of one role. */
type Around = readonly [before: string, after: string]

/** A template in which the roles take turns with their names in front. */
interface Roles {
  readonly system: string
  readonly aroundSystem: Around
  readonly user: Around
  readonly assistant: Around
  /** Opens the turn to be written. */
  readonly open: string
  /** Pictures stand between <Image> and </Image>; those of the first question make an exchange of their own. */
  readonly taggedImages?: boolean
}

export const systemTexts = {
  user: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
  human:
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions.",
  // No space between the last two sentences: so it was written.
  tagged:
    'A chat between a curious user and an artificial intelligence assistant. ' +
    'The assistant is able to understand the visual content that the user provides, and assist the user with a variety of tasks using natural language.' +
    'The visual content will be provided with the following format: <Image>visual content</Image>.',
  llama2:
    'You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, ' +
    'and assist the user with a variety of tasks using natural language.',
  mpt: 'A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers.',
} as const

const vicuna: Roles = {
  system: systemTexts.user,
  aroundSystem: ['', ' '],
  user: ['USER: ', ' '],
  assistant: ['ASSISTANT: ', '</s>'],
  open: 'ASSISTANT:',
}

const human: Roles = {
  system: systemTexts.human,
  aroundSystem: ['', '###'],
  user: ['Human: ', '###'],
  assistant: ['Assistant: ', '###'],
  open: 'Assistant:',
}

const imStart: Roles = {
  system: 'Answer the questions.',
  aroundSystem: ['<|im_start|>system\n', '<|im_end|>'],
  user: ['<|im_start|>user\n', '<|im_end|>'],
  assistant: ['<|im_start|>assistant\n', '<|im_end|>'],
  open: '<|im_start|>assistant\n',
}

interface Template {
  readonly render: (messages: readonly ChatMessage[], options: TemplateOptions) => PromptPart[]
  /** Text that ends an answer, beside the end-of-sequence token. */
  readonly stop?: string
}

const templates = {
  vicuna_v1: { render: inTurns(vicuna) },
  llava_v1: { render: inTurns({ ...vicuna, system: systemTexts.human }) },
  llava_llama_2: { render: inInstructions(systemTexts.llama2, '<s>') },
  mistral_instruct: { render: inInstructions('', '') },
  chatml: { render: inTurns(imStart), stop: '<|im_end|>' },
  mpt: { render: inTurns({ ...imStart, system: systemTexts.mpt }), stop: '<|im_end|>' },
  v0: { render: inTurns(human), stop: '###' },
  v0_mmtag: { render: inTurns({ ...human, system: systemTexts.tagged, taggedImages: true }), stop: '###' },
  v1_mmtag: { render: inTurns({ ...vicuna, system: systemTexts.tagged, taggedImages: true }) },
  hf: { render: renderHf },
  plain: { render: renderPlain },
} as const satisfies Readonly<Record<string, Template>>

/** A template that is written here. */
export type BuiltInTemplate = keyof typeof templates

/** How a prompt is written; `checkpoint` is the chat template that the checkpoint brings. */
export type TemplateName = BuiltInTemplate | 'checkpoint'

export const builtInTemplates = Object.keys(templates) as readonly BuiltInTemplate[]

export const templateNames: readonly TemplateName[] = [...builtInTemplates, 'checkpoint']

export function renderPrompt(
  messages: readonly ChatMessage[],
  template: BuiltInTemplate,
  options: TemplateOptions = {},
): PromptPart[] {
  if (!Object.hasOwn(templates, template))
    throw invalidArgument('template', `one of ${builtInTemplates.join(', ')}`, template)
  return templates[template].render(messages, options)
}

/** Text that ends an answer in this template. */
export function templateStops(name: TemplateName): readonly string[] {
  const template: Template | undefined = name === 'checkpoint' ? undefined : templates[name]
  return template?.stop === undefined ? [] : [template.stop]
}

function inTurns(roles: Roles): Template['render'] {
  return (messages, options) => {
    const { system = roles.system, turns } = readConversation(messages, options)
    const prompt = new PromptBuilder()
    if (system !== '') prompt.template(roles.aroundSystem[0]).words(system).template(roles.aroundSystem[1])
    for (const [index, turn] of turns.entries()) {
      const [before, after] = roles[turn.role]
      if (roles.taggedImages === true && index === 0 && turn.images > 0) {
        prompt.template(before).tagged(turn.images).template(after)
        prompt.template(roles.assistant[0]).template('Received.').template(roles.assistant[1])
        prompt.template(before).words(questionOf(turn)).template(after)
      } else if (roles.taggedImages === true && turn.images > 0) {
        prompt.template(before).tagged(turn.images).template('\n').words(questionOf(turn)).template(after)
      } else prompt.template(before).turn(turn).template(after)
    }
    return prompt.template(roles.open).parts
  }
}

/** LLaMA 2's way: the system text is part of the first instruction; `next` stands in front of the later ones. */
function inInstructions(ownSystem: string, next: string): Template['render'] {
  return (messages, options) => {
    const { system = ownSystem, turns } = readConversation(messages, options)
    const prompt = new PromptBuilder()
    for (const [index, turn] of turns.entries()) {
      if (turn.role === 'assistant') prompt.template(' ').turn(turn).template(' </s>')
      else {
        prompt.template(index === 0 ? '[INST] ' : `${next}[INST] `)
        if (index === 0 && system !== '') prompt.template('<<SYS>>\n').words(system).template('\n<</SYS>>\n\n')
        prompt.turn(turn).template(' [/INST]')
      }
    }
    return prompt.parts
  }
}

function renderHf(messages: readonly ChatMessage[], options: TemplateOptions): PromptPart[] {
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

function renderPlain(messages: readonly ChatMessage[], options: TemplateOptions): PromptPart[] {
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

/** A turn's words in one text; beside pictures they are stripped, as the trainer does. */
function questionOf({ texts, images }: Turn): string {
  const text = texts.join('\n')
  return images > 0 ? text.trim() : text
}

/** The conversation's rule for every template: perhaps a system message, then user and assistant in turn, the user last. */
function readConversation(
  messages: readonly ChatMessage[],
  options: TemplateOptions,
): { readonly system?: string; readonly turns: readonly Turn[] } {
  const opening = messages[0]?.role === 'system' ? readContent(messages[0], 0) : undefined
  const system = opening?.texts.join('\n') ?? options.system
  const turns = messages.slice(opening ? 1 : 0).map((message, index): Turn => {
    const expected = index % 2 === 0 ? 'user' : 'assistant'
    const position = opening ? index + 1 : index
    if (message.role !== expected)
      throw invalidArgument(`messages[${position}].role`, `'${expected}' (user and assistant take turns)`, message.role)
    return { role: expected, ...readContent(message, position) }
  })
  const last = turns.at(-1)
  if (last?.role !== 'user') {
    const got =
      last === undefined
        ? messages.length === 0
          ? 'no message'
          : 'a system message alone'
        : 'one that ends with an assistant message'
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `expected \`messages\` to be a conversation that ends with a user message, got ${got}`,
    )
  }
  return { ...(system === undefined ? {} : { system }), turns }
}

function readContent(
  { role, content }: ChatMessage,
  position: number,
): { readonly texts: readonly string[]; readonly images: number } {
  const parts = contentParts(content, position)
  const texts = parts.flatMap((part) => (part.type === 'text' ? [part.text] : []))
  const images = parts.length - texts.length
  if (images > 0 && role !== 'user')
    throw invalidArgument(`messages[${position}].content`, 'text only, as its role is not user', 'an image')
  return { texts, images }
}

/** A message's content as a checked list of parts. */
export function contentParts<I>(content: ChatMessage<I>['content'], position: number): readonly ContentPart<I>[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  if (!Array.isArray(content))
    throw invalidArgument(`messages[${position}].content`, 'a string or a list of text and image parts', content)
  for (const part of content as readonly unknown[]) {
    if (!isPart(part))
      throw invalidArgument(
        `messages[${position}].content`,
        "parts { type: 'text', text } or { type: 'image', image }",
        part,
      )
  }
  return content as readonly ContentPart<I>[]
}

function isPart(part: unknown): boolean {
  const { type, text } = Object(part) as { readonly type?: unknown; readonly text?: unknown }
  return type === 'text' ? typeof text === 'string' : type === 'image'
}

/** The images of a conversation in the order in which `PromptPart.index` counts them. */
export function conversationImages<I>(messages: readonly ChatMessage<I>[]): I[] {
  return messages.flatMap(({ content }, position) =>
    contentParts(content, position).flatMap((part) => (part.type === 'image' ? [part.image] : [])),
  )
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

  /** Pictures first, one line each, then the words; a picture without a question leaves no line break behind. */
  turn(turn: Turn): this {
    const question = questionOf(turn)
    for (let left = turn.images; left > 0; left--) this.image().template(left > 1 || question !== '' ? '\n' : '')
    return this.words(question)
  }

  tagged(images: number): this {
    for (let left = images; left > 0; left--) this.template('<Image>').image().template('</Image>')
    return this
  }

  #text(text: string, special: boolean): this {
    const last = this.parts.at(-1)
    if (text === '') return this
    if (last?.kind === 'text' && last.special === special)
      this.parts[this.parts.length - 1] = { ...last, text: last.text + text }
    else this.parts.push({ kind: 'text', text, special })
    return this
  }
}
