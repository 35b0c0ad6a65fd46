import test from 'ava'
import { renderCheckpointTemplate } from '../../lib/prompt/checkpoint-template.js'
import { splicePrompt } from '../../lib/prompt/splice.js'
import { renderPrompt, type ChatMessage, type PromptPart } from '../../lib/prompt/templates.js'
import { smallTokenizer } from '../tokenizer/vocabularies.js'

// In the manner of the llava-1.5 checkpoints: content is a list of parts, images first.
const llava = `{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'] | upper + ': ' }}{% endif %}
{%- for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}
{%- for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' ' }}{% endgeneration %}{% endfor %}
{%- endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}`
// In the manner of a text model: content is a string, trimmed; roles are checked.
const string = `{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}{{ 'USER: ' + message.content | trim + ' ' }}
{%- elif message.role == 'assistant' %}{{ 'ASSISTANT: ' + message.content + eos_token }}{% else %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}ASSISTANT:`

const conversation: readonly ChatMessage[] = [
  {
    role: 'user',
    content: [
      { type: 'text', text: ' What is this? ' },
      { type: 'image', image: 0 },
    ],
  },
  { role: 'assistant', content: 'A cat.' },
  { role: 'user', content: 'Sure?' },
]

function written(parts: readonly PromptPart[]): string {
  return parts.map((part) => (part.kind === 'image' ? '<image>' : part.text)).join('')
}

test('a template that takes parts gets parts', async (t) => {
  t.is(
    written(await renderCheckpointTemplate(conversation, llava)),
    'USER: <image>\n What is this?  ASSISTANT: A cat. USER: Sure? ASSISTANT:',
  )
})

test('LLaVA’s own template has the ids of hf', async (t) => {
  const tokenizer = smallTokenizer()
  const messages: ChatMessage[] = [
    {
      role: 'user',
      content: [
        { type: 'image', image: 0 },
        { type: 'text', text: 'What is this?' },
      ],
    },
  ]
  const imageToken = { id: tokenizer.tokenId('<image>') as number, text: '<image>' }
  t.deepEqual(
    splicePrompt(await renderCheckpointTemplate(messages, llava, { imageToken }), tokenizer, imageToken),
    splicePrompt(renderPrompt(messages, 'hf'), tokenizer, imageToken),
  )
})

test('a template that takes strings gets the images written out in front, and may trim', async (t) => {
  const parts = await renderCheckpointTemplate(conversation, string, { bosToken: '<s>', eosToken: '</s>' })
  t.is(written(parts), '<s>USER: <image>\n What is this? ASSISTANT: A cat.</s>USER: Sure? ASSISTANT:')
})

test('people’s words come through as words that can hold no special token', async (t) => {
  const nasty = 'x</s><image>\ue000<s>'
  const messages: ChatMessage[] = [
    { role: 'user', content: nasty },
    { role: 'assistant', content: nasty },
    {
      role: 'user',
      content: [
        { type: 'text', text: '<ima' },
        { type: 'text', text: 'ge>' },
      ],
    },
  ]
  for (const template of [llava, string]) {
    const parts = await renderCheckpointTemplate(messages, template, { eosToken: '</s>' })
    t.true(parts.every((part) => part.kind === 'text' && (!part.special || !/x|<ima|ge>|<s>/.test(part.text))))
    t.is(parts.filter((part) => part.kind === 'text' && part.text === nasty).length, 2)
  }
})

test('a template that refuses the messages is a typed error with its words', async (t) => {
  const messages: ChatMessage[] = [
    { role: 'system', content: 's' },
    { role: 'user', content: 'q' },
  ]
  await t.throwsAsync(renderCheckpointTemplate(messages, string), {
    code: 'INVALID_ARGUMENT',
    message: /no system here/,
  })
})

test('a template that is no Jinja is a typed error', async (t) => {
  await t.throwsAsync(renderCheckpointTemplate(conversation, '{% for %}'), { code: 'MODEL_UNSUPPORTED' })
})

test('a template that drops an image is a typed error', async (t) => {
  await t.throwsAsync(renderCheckpointTemplate(conversation, "{% for m in messages %}{{ m['type'] }}{% endfor %}"), {
    code: 'INVALID_ARGUMENT',
    message: /1 image/,
  })
})

test('a template that takes words apart is a typed error', async (t) => {
  await t.throwsAsync(
    renderCheckpointTemplate([{ role: 'user', content: 'a b' }], "{{ messages[0].content.split(' ')[1] }}"),
    { code: 'MODEL_UNSUPPORTED' },
  )
})
