// The checkpoint's own chat template, Jinja, rendered to prompt parts.
// People's words pass through the template between two marks: private-use characters that occur nowhere else in it. Afterwards what lies
// between marks is people's words and can hold no special token; what lies outside is the template's, and there `<image>` is an image.
// White space around the words stays outside the marks, so that a template that trims them still does.

import type { Template } from '@huggingface/jinja'
import { LlavaError, invalidArgument } from '../errors.js'
import { checkImageCount, cutAtPlaceholders, type ImageToken } from './splice.js'
import { contentParts, conversationImages, type ChatMessage, type PromptPart } from './templates.js'

export interface CheckpointTemplateOptions {
  /** What the template may know as `bos_token` and `eos_token`. */
  readonly bosToken?: string
  readonly eosToken?: string
  readonly imageToken?: ImageToken
  /** Used where the conversation has no system message of its own. */
  readonly system?: string
}

interface Marks {
  readonly begin: string
  readonly end: string
}

export async function renderCheckpointTemplate(
  messages: readonly ChatMessage[],
  chatTemplate: string,
  options: CheckpointTemplateOptions = {},
): Promise<PromptPart[]> {
  const conversation =
    options.system === undefined || messages[0]?.role === 'system'
      ? messages
      : [systemMessage(options.system), ...messages]
  const marks = chooseMarks([
    chatTemplate,
    ...conversation.flatMap(({ content }, position) => textsOf(content, position)),
  ])
  const imageText = options.imageToken?.text ?? '<image>'
  const context = {
    messages: templateMessages(conversation, takesParts(chatTemplate), imageText, marks),
    add_generation_prompt: true,
    bos_token: options.bosToken ?? '',
    eos_token: options.eosToken ?? '',
  }
  const template = await compile(chatTemplate)
  const parts = cutAtMarks(render(template, context), marks, options.imageToken)
  checkImageCount(parts, conversationImages(messages).length)
  return parts
}

async function compile(chatTemplate: string): Promise<Template> {
  const { Template } = await import('@huggingface/jinja')
  try {
    return new Template(chatTemplate)
  } catch (cause) {
    throw new LlavaError(
      'MODEL_UNSUPPORTED',
      `the checkpoint's chat template is not Jinja that can be read here: ${messageOf(cause)}`,
      { cause },
    )
  }
}

function render(template: Template, context: Record<string, unknown>): string {
  try {
    return template.render(context)
  } catch (cause) {
    // Templates refuse conversations they have no form for by raise_exception.
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `the checkpoint's chat template refused the messages: ${messageOf(cause)}`,
      { cause },
    )
  }
}

function systemMessage(system: string): ChatMessage {
  return { role: 'system', content: system }
}

function textsOf(content: ChatMessage['content'], position: number): string[] {
  return contentParts(content, position).flatMap((part) => (part.type === 'text' ? [part.text] : []))
}

/** Whether the template looks into a message's parts (LLaVA's does), or takes its content for a string (Vicuna's). */
function takesParts(chatTemplate: string): boolean {
  return /['"]type['"]|\.type\b/.test(chatTemplate)
}

function templateMessages(messages: readonly ChatMessage[], parts: boolean, imageText: string, marks: Marks): object[] {
  return messages.map(({ role, content }, position) => {
    const checked = contentParts(content, position)
    if (parts)
      return {
        role,
        content: checked.map((part) =>
          part.type === 'text' ? { type: 'text', text: mark(part.text, marks) } : { type: 'image' },
        ),
      }
    const images = checked.filter(({ type }) => type === 'image').map(() => `${imageText}\n`)
    return { role, content: images.join('') + mark(textsOf(content, position).join('\n'), marks) }
  })
}

/** Two private-use characters that none of the texts has. */
function chooseMarks(texts: readonly string[]): Marks {
  const used = new Set(texts.flatMap((text) => text.match(/[\ue000-\uf8ff]/g) ?? []))
  const free: string[] = []
  for (let code = 0xe000; code <= 0xf8ff && free.length < 2; code++) {
    const character = String.fromCharCode(code)
    if (!used.has(character)) free.push(character)
  }
  const [begin, end] = free
  if (begin === undefined || end === undefined)
    throw invalidArgument('messages', 'text that leaves two private-use characters free', 'text with all of them')
  return { begin, end }
}

function mark(text: string, { begin, end }: Marks): string {
  const words = text.trim()
  if (words === '') return text
  const from = text.indexOf(words)
  return text.slice(0, from) + begin + words + end + text.slice(from + words.length)
}

function cutAtMarks(text: string, { begin, end }: Marks, imageToken: ImageToken | undefined): PromptPart[] {
  const parts: PromptPart[] = []
  let images = 0
  let at = 0
  for (const match of text.matchAll(new RegExp(`${begin}([^${begin}${end}]*)${end}`, 'g'))) {
    addTemplateText(text.slice(at, match.index))
    parts.push({ kind: 'text', text: match[1] as string, special: false })
    at = match.index + match[0].length
  }
  addTemplateText(text.slice(at))
  return parts

  function addTemplateText(between: string): void {
    if (between.includes(begin) || between.includes(end)) {
      throw new LlavaError(
        'MODEL_UNSUPPORTED',
        "the checkpoint's chat template takes messages apart, so that its own text and people's cannot be told from each other",
      )
    }
    for (const part of cutAtPlaceholders(between, imageToken))
      parts.push(part.kind === 'image' ? { ...part, index: images++ } : part)
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
