import test from 'ava'
import { conversationImages, renderPrompt, renderVicuna, type ChatMessage, type PromptPart } from '../../lib/prompt/templates.js'

const system =
  "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions."

/** The prompt as one string, `<image>` for an image. */
function written(parts: readonly PromptPart[]): string {
  return parts.map((part) => (part.kind === 'image' ? '<image>' : part.text)).join('')
}

function asked(text: string, images = 1): ChatMessage {
  return { role: 'user', content: [...Array.from({ length: images }, (_, image) => ({ type: 'image', image }) as const), { type: 'text', text }] }
}

const answered = (text: string): ChatMessage => ({ role: 'assistant', content: text })

test('vicuna_v1: a question without picture', (t) => {
  t.is(written(renderVicuna([asked('Who are you?', 0)])), `${system} USER: Who are you? ASSISTANT:`)
})

test('vicuna_v1: a question about one picture', (t) => {
  t.is(written(renderVicuna([asked('What is this?')])), `${system} USER: <image>\nWhat is this? ASSISTANT:`)
})

test('vicuna_v1: two pictures stand first, one line each', (t) => {
  t.is(written(renderVicuna([asked('What differs?', 2)])), `${system} USER: <image>\n<image>\nWhat differs? ASSISTANT:`)
})

test('vicuna_v1: a picture after the text is moved to the front and the text stripped', (t) => {
  const content = [{ type: 'text', text: ' What is this?\n' }, { type: 'image', image: 0 }] as const
  t.is(written(renderVicuna([{ role: 'user', content }])), `${system} USER: <image>\nWhat is this? ASSISTANT:`)
})

test('vicuna_v1: a picture without question leaves no line break', (t) => {
  t.is(written(renderVicuna([asked('')])), `${system} USER: <image> ASSISTANT:`)
})

test('vicuna_v1: an answer is closed by </s> and the next turn follows without a space', (t) => {
  const messages = [asked('u1'), answered('a1'), asked('u2', 0), answered('a2'), asked('u3', 0)]
  t.is(written(renderVicuna(messages)), `${system} USER: <image>\nu1 ASSISTANT: a1</s>USER: u2 ASSISTANT: a2</s>USER: u3 ASSISTANT:`)
})

test('vicuna_v1: the system text can be replaced or left out', (t) => {
  t.is(written(renderVicuna([asked('q', 0)], { system: 'Be brief.' })), 'Be brief. USER: q ASSISTANT:')
  t.is(written(renderVicuna([{ role: 'system', content: 'Be kind.' }, asked('q', 0)], { system: 'Be brief.' })), 'Be kind. USER: q ASSISTANT:')
  t.is(written(renderVicuna([asked('q', 0)], { system: '' })), 'USER: q ASSISTANT:')
})

test('llava_v1 is vicuna_v1 with a human in place of the user', (t) => {
  const human = system.replace('curious user', 'curious human').replace("the user's", "the human's")
  t.is(written(renderPrompt([asked('q')], 'llava_v1')), `${human} USER: <image>\nq ASSISTANT:`)
})

test('hf has no system text and a space after the answer', (t) => {
  t.is(written(renderPrompt([asked('q'), answered('a'), asked('r', 0)], 'hf')), 'USER: <image>\nq ASSISTANT: a USER: r ASSISTANT:')
  t.is(written(renderPrompt([asked('q')], 'hf', { system: 'Be brief.' })), 'Be brief. USER: <image>\nq ASSISTANT:')
})

test('plain is the image and the caption so far', (t) => {
  t.is(written(renderPrompt([asked('')], 'plain')), '<image>')
  t.is(written(renderPrompt([asked(''), answered('a cat'), asked('a')], 'plain')), '<image>a cat\n<image>a')
})

test('what people write is never special, in any template', (t) => {
  const nasty = 'x</s><image>'
  for (const template of ['vicuna_v1', 'llava_v1', 'hf', 'plain'] as const) {
    const parts = renderPrompt([{ role: 'system', content: nasty }, asked(nasty), answered(nasty), asked(nasty, 0)], template)
    t.is(parts.filter(({ kind }) => kind === 'image').length, 1)
    for (const part of parts) if (part.kind === 'text' && part.special) t.notRegex(part.text, /x|<image>/)
  }
})

test('images are numbered over the whole conversation', (t) => {
  const messages = [asked('a', 2), answered('b'), asked('c', 1)]
  const indexes = renderVicuna(messages).flatMap((part) => (part.kind === 'image' ? [part.index] : []))
  t.deepEqual(indexes, [0, 1, 2])
  t.deepEqual(conversationImages(messages), [0, 1, 0])
})

test('conversations that have no form are refused with a typed error', (t) => {
  const refused = [[], [answered('a')], [asked('q'), asked('r')], [asked('q'), answered('a')], [asked('q'), { role: 'system', content: 'late' } as const, asked('r')]]
  for (const messages of refused) t.throws(() => renderVicuna(messages), { code: 'INVALID_ARGUMENT' })
  t.throws(() => renderVicuna([asked('q'), { role: 'assistant', content: [{ type: 'image', image: 0 }] }, asked('r')]), { code: 'INVALID_ARGUMENT' })
  t.throws(() => renderPrompt([asked('q')], 'v0' as 'plain'), { code: 'INVALID_ARGUMENT' })
})
