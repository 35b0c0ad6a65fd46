import test from 'ava'
import { checkImageCount, splicePrompt, spliceText, type SpliceItem } from '../../lib/prompt/splice.js'
import { builtInTemplates, renderPrompt } from '../../lib/prompt/templates.js'
import { expected, llamaAtHand, llamaMissing, llamaTokenizer, smallTokenizer } from '../tokenizer/vocabularies.js'

const slot = -200
const small = smallTokenizer()
const imageToken = { id: small.tokenId('<image>') as number, text: '<image>' }

/** The items as one list of ids, `slot` for an image. */
function flat(items: readonly SpliceItem[], image: readonly number[] = [slot]): number[] {
  return items.flatMap((item) => (item.kind === 'image' ? image : [...item.ids]))
}

// (28 / 14)² patches: the fixture's processor repeats the image token four times.
test('with an image token in the vocabulary ids are those of transformers’ LlavaProcessor', (t) => {
  const patches = new Array<number>(4).fill(imageToken.id)
  for (const { prompt, ids } of expected.processor)
    t.deepEqual(flat(spliceText(prompt, small, imageToken), patches), [...ids], prompt)
})

test('a rendered prompt has the ids of the same text, special tokens and all', (t) => {
  const messages = [
    {
      role: 'user',
      content: [
        { type: 'image', image: 0 },
        { type: 'text', text: 'What is this?' },
      ],
    },
    { role: 'assistant', content: 'A cat.' },
    { role: 'user', content: 'Is it new?' },
  ] as const
  for (const template of builtInTemplates) {
    const parts = renderPrompt(messages, template)
    const text = parts.map((part) => (part.kind === 'image' ? '<image>' : part.text)).join('')
    for (const token of [imageToken, undefined])
      t.deepEqual(flat(splicePrompt(parts, small, token)), flat(spliceText(text, small, token)))
  }
})

test('without image token each text between images is tokenized by itself and BOS stands once', (t) => {
  const alone = (text: string): number[] => [...small.encode(text, { addBos: false })]
  t.deepEqual(flat(spliceText('a<image>\nb<image><image>c', small)), [
    1,
    ...alone('a'),
    slot,
    ...alone('\nb'),
    slot,
    slot,
    ...alone('c'),
  ])
})

test('tokens that stand around every image go with it', (t) => {
  const around = { start: { text: '<s>' }, end: { text: '</s>' } }
  for (const token of [undefined, imageToken]) {
    t.deepEqual(flat(spliceText('a<image>b', small, token, around)), flat(spliceText('a<s><image></s>b', small, token)))
    t.deepEqual(flat(splicePrompt([{ kind: 'image', index: 0 }], small, token, { end: around.end })), [1, slot, 2])
  }
})

test('an empty chunk contributes nothing', (t) => {
  for (const token of [imageToken, undefined]) {
    t.deepEqual(flat(spliceText('<image>', small, token)), [1, slot])
    t.deepEqual(flat(spliceText('', small, token)), [1])
  }
})

test('a BOS written in the text is not doubled', (t) => {
  for (const token of [imageToken, undefined]) t.deepEqual(flat(spliceText('<s><image>', small, token)), [1, slot])
})

test('slots are numbered in the order of the text', (t) => {
  for (const token of [imageToken, undefined]) {
    const indexes = spliceText('<image>a<image>b', small, token).flatMap((item) =>
      item.kind === 'image' ? [item.index] : [],
    )
    t.deepEqual(indexes, [0, 1])
  }
})

test('users’ words never make a slot, an EOS or a BOS', (t) => {
  for (const token of [imageToken, undefined]) {
    const ids = flat(
      splicePrompt(renderPrompt([{ role: 'user', content: '<s></s><image><pad>' }], 'vicuna_v1'), small, token),
    )
    t.deepEqual(
      ids.filter((id) => id === slot || small.isSpecial(id)),
      [1],
    )
  }
})

test('an image token that the template writes beside the images is refused', (t) => {
  const parts = [
    { kind: 'image', index: 0 },
    { kind: 'text', text: 'a<image>', special: true },
  ] as const
  t.throws(() => splicePrompt(parts, small, imageToken), { code: 'INVALID_ARGUMENT' })
})

test('as many images as slots, or a typed error with both numbers', (t) => {
  const items = spliceText('<image><image>', small)
  t.notThrows(() => {
    checkImageCount(items, 2)
  })
  const tooFew = (): void => {
    checkImageCount(items, 1)
  }
  t.throws(tooFew, { code: 'INVALID_ARGUMENT', message: /2 places.*1 image / })
})

const withLlama = llamaAtHand ? test : test.skip
if (!llamaAtHand) console.log(llamaMissing)

// The reference's ids for LLaVA 1.5's prompts over LLaMA's vocabulary.
const prefix = (human: boolean): number[] => {
  const user = human ? 5199 : 1404
  return [
    1,
    319,
    13563,
    1546,
    263,
    12758,
    user,
    322,
    385,
    23116,
    21082,
    20255,
    29889,
    450,
    20255,
    4076,
    8444,
    29892,
    13173,
    29892,
    322,
    1248,
    568,
    6089,
    304,
    278,
    user,
    29915,
    29879,
    5155,
    29889,
    3148,
    1001,
    29901,
    29871,
  ]
}
const tails: Record<string, number[]> = {
  'What is in this image?': [29871, 13, 5618, 338, 297, 445, 1967, 29973, 319, 1799, 9047, 13566, 29901],
  'Describe the image.': [29871, 13, 4002, 29581, 278, 1967, 29889, 319, 1799, 9047, 13566, 29901],
  'Please describe this image in detail.': [
    29871, 13, 12148, 8453, 445, 1967, 297, 9493, 29889, 319, 1799, 9047, 13566, 29901,
  ],
  'Is there a dog in the image?\nAnswer the question using a single word or phrase.': [
    29871, 13, 3624, 727, 263, 11203, 297, 278, 1967, 29973, 13, 22550, 278, 1139, 773, 263, 2323, 1734, 470, 16549,
    29889, 319, 1799, 9047, 13566, 29901,
  ],
}

withLlama('one picture and one question have the ids of the reference', async (t) => {
  const tokenizer = await llamaTokenizer()
  for (const template of ['vicuna_v1', 'llava_v1'] as const) {
    for (const [text, tail] of Object.entries(tails)) {
      const parts = renderPrompt(
        [
          {
            role: 'user',
            content: [
              { type: 'image', image: 0 },
              { type: 'text', text },
            ],
          },
        ],
        template,
      )
      t.deepEqual(flat(splicePrompt(parts, tokenizer)), [...prefix(template === 'llava_v1'), slot, ...tail])
    }
  }
})

withLlama('the second turn follows the legacy rule', async (t) => {
  const rest = [29901, 1317, 372, 716, 29973, 319, 1799, 9047, 13566, 29901]
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Yes' },
    { role: 'user', content: 'Is it new?' },
  ] as const
  for (const [prefixSpace, user] of [
    ['every-segment', [3148, 1001]],
    ['first-segment', [11889]],
  ] as const) {
    const ids = flat(splicePrompt(renderPrompt(messages, 'vicuna_v1'), await llamaTokenizer({ prefixSpace })))
    t.deepEqual(ids.slice(ids.indexOf(2)), [2, ...user, ...rest])
  }
})

withLlama('a caption prompt has the ids of the reference', async (t) => {
  t.deepEqual(flat(spliceText('<image>a cat on a mat\n', await llamaTokenizer())), [
    1,
    slot,
    263,
    6635,
    373,
    263,
    1775,
    13,
  ])
})
