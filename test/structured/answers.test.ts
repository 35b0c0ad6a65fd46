// Structured answers end to end, with the model that comes with the package: every option beside, every way to ask, and types.

import { fileURLToPath } from 'node:url'
import test from 'ava'
import { z } from 'zod'
import { LLaVA, type AnswerOptions, type JsonValue, type StandardSchema } from '../../lib/index.js'
import { Matcher } from '../../lib/structured/matcher.js'

const picture = fileURLToPath(new URL('../../../models/demo.png', import.meta.url))
const question = 'What is in this picture?'
const message = [
  {
    role: 'user' as const,
    content: [
      { type: 'image' as const, image: picture },
      { type: 'text' as const, text: question },
    ],
  },
]
const model = await LLaVA.open()
test.after.always(() => {
  model.dispose()
})

const scene = {
  type: 'object',
  properties: {
    things: { type: 'array', items: { type: 'string', maxLength: 12 }, minItems: 1, maxItems: 3 },
    count: { type: 'integer', minimum: 0, maximum: 9 },
    indoors: { type: ['boolean', 'null'] },
  },
  required: ['things', 'count'],
} as const

/** Drafts are looked up in it, and some are wrong. */
const example = `${question} {"things": ["rocket", "dog", "dog"], "count": 3, "indoors": null}`

interface Scene {
  readonly things: readonly string[]
  readonly count: number
  readonly indoors?: boolean | null
}

function isScene(value: unknown): value is Scene {
  const { things, count, ...rest } = value as Scene
  const isRest = Object.keys(rest).every((name) => name === 'indoors')
  return (
    isRest &&
    things.length >= 1 &&
    things.length <= 3 &&
    things.every((one) => Array.from(one).length <= 12) && // in code points, as JSON Schema counts
    count >= 0 &&
    count <= 9
  )
}

test('a picture is described as JSON that fits', async (t) => {
  const { value, text, finishReason } = await model.ask(picture, question, { schema: scene })
  t.is(finishReason, 'stop')
  t.true(isScene(value))
  t.deepEqual(JSON.parse(text), value)
})

test('one of a list, typed', async (t) => {
  const { value } = await model.ask(picture, 'Is there a cat in the picture?', { choices: ['Yes', 'No'] })
  const typed: 'Yes' | 'No' | undefined = value
  t.is(typed, 'No')
})

test('a text that matches, typed', async (t) => {
  const { value } = await model.ask(picture, question, { regex: /The picture shows a (?:rocket|boat)(?:, \w+)*\./ })
  const typed: string | undefined = value
  t.regex(String(typed), /^The picture shows a rocket/)
})

test('a Standard Schema types, validates and transforms the value', async (t) => {
  const schema = z.object({
    thing: z.enum(['rocket', 'boat']),
    count: z
      .int()
      .min(1)
      .max(3)
      .transform((count) => `${count} of them`),
    day: z.iso.date().optional(),
  })
  const { value, text } = await model.ask(picture, question, { schema, maxTokens: 80 })
  const typed: { thing: 'rocket' | 'boat'; count: string; day?: string | undefined } | undefined = value
  t.regex(typed?.count ?? '', /^[123] of them$/)
  t.deepEqual(schema.parse(JSON.parse(text)), typed)
})

test('a value that the schema refuses in the end is VALUE_INVALID, with the text and the reason', async (t) => {
  const schema = z.object({ n: z.int().min(1).max(9) }).refine(() => false, { message: 'never', path: ['n'] })
  const error = await t.throwsAsync(model.ask(picture, question, { schema }), { code: 'VALUE_INVALID' })
  t.regex(error.message, /refuses the answer \{"n": ?\d\}: n: never/)
  t.is((error.cause as readonly { message: string }[])[0]?.message, 'never')
})

test('of several answers one that the schema refuses says why, and the others have their values', async (t) => {
  const schema = z.object({ n: z.int().min(1).max(9) }).refine(({ n }) => n % 2 === 0, { message: 'odd' })
  const answers = await model.ask(picture, question, { schema, answers: 12, temperature: 3, seed: 1 })
  const [refused, taken] = [answers.filter(({ valueError }) => valueError), answers.filter(({ value }) => value)]
  t.true(refused.length > 0 && taken.length > 0)
  t.is(refused.length + taken.length, 12)
  for (const { text, value, valueError } of refused) {
    t.is(value, undefined)
    t.like(valueError, { code: 'VALUE_INVALID', message: `the schema refuses the answer ${text}: odd` })
  }
  for (const { value, text } of taken) t.deepEqual<unknown, unknown>(value, JSON.parse(text))
})

test('a schema that validates later is waited for', async (t) => {
  const schema: StandardSchema<number> = {
    '~standard': {
      version: 1,
      vendor: 'a test',
      validate: (value) => Promise.resolve({ value: Number(value) + 1 }),
      jsonSchema: { input: () => ({ const: 41 }) },
    } as StandardSchema<number>['~standard'],
  }
  const { value } = await model.ask([], question, { schema })
  t.is(value satisfies number | undefined, 42)
})

test('a Standard Schema that does not tell its JSON Schema is refused with what to do', async (t) => {
  const schema = { '~standard': { version: 1, vendor: 'quiet', validate: (value: unknown) => ({ value }) } } as const
  await t.throwsAsync(model.ask([], question, { schema }), {
    code: 'INVALID_ARGUMENT',
    message: /of quiet does not tell its JSON Schema/,
  })
  await t.throwsAsync(model.ask([], question, { schema: z.bigint() }), {
    code: 'INVALID_ARGUMENT',
    message: /of zod cannot be written as JSON Schema/,
  })
})

const beside: Readonly<Record<string, AnswerOptions>> = {
  'temperature 5': { temperature: 5, seed: 1 },
  'everything at once': {
    temperature: 2,
    topK: 5,
    topP: 0.7,
    minP: 0.1,
    typicalP: 0.8,
    repetitionPenalty: 2,
    frequencyPenalty: 1,
    presencePenalty: 1,
    seed: 2,
  },
  'no token twice': { noRepeatNgramSize: 1 },
  'min tokens': { minTokens: 60 },
  'a bias against quotes': {
    logitBias: Object.fromEntries([...model.tokenize('{"":[]}')].map((id) => [id, -Infinity])),
  },
  'a processor that wants the end': {
    logitsProcessor: {
      process(logits) {
        for (const id of model.info().eosIds) logits[id] = 1000
      },
    },
  },
  'no drafts': { promptLookupTokens: 0 },
  'many drafts': { promptLookupTokens: 31 },
  'log-probabilities': { logprobs: 3 },
  'a template that ends at text': { template: 'v0' },
}

for (const [name, options] of Object.entries(beside)) {
  test(`it ends properly with ${name}`, async (t) => {
    const { value, finishReason } = await model.ask(picture, question, { ...options, schema: scene })
    t.is(finishReason, 'stop')
    t.true(isScene(value), JSON.stringify(value))
  })
}

test("a template's stop may be part of a value", async (t) => {
  t.is((await model.ask([], question, { regex: 'a###b', template: 'v0' })).value, 'a###b')
})

test('drafts change nothing', async (t) => {
  const asked: AnswerOptions = { schema: true, maxTokens: 80, temperature: 0.7, seed: 5 }
  const [plain, drafted] = await Promise.all(
    [0, 31].map((promptLookupTokens) => model.ask(picture, question, { ...asked, promptLookupTokens })),
  )
  t.deepEqual(drafted?.tokenIds, plain?.tokenIds)
  t.true((drafted?.usage.draftTokens ?? 0) > 0)
})

test('several answers each go their own way', async (t) => {
  const choices = ['rocket', 'dog', 'cactus', 'sea', 'seal'] as const
  const answers = await model.ask(picture, question, { choices, answers: 12, temperature: 4, seed: 3 })
  for (const { value, finishReason } of answers) {
    t.is(finishReason, 'stop')
    t.true(value !== undefined && choices.includes(value))
  }
  t.true(new Set(answers.map(({ value }) => value)).size > 1)
})

test('an answer that was cut has no value', async (t) => {
  const short = await model.ask(picture, question, { schema: scene, maxTokens: 3 })
  t.is(short.finishReason, 'length')
  t.false('value' in short)
  const stopped = await model.ask(picture, question, { schema: scene, stop: ':' })
  t.is(stopped.finishReason, 'stop_string')
  t.false('value' in stopped)
  const stream = model.chat(message, { schema: scene })
  for await (const text of stream) if (text !== '') break
  const left = await stream.answer
  t.is(left.finishReason, 'cancelled')
  t.false('value' in left)
})

test('without a format there is no value', async (t) => {
  t.false('value' in (await model.ask(picture, question, { maxTokens: 2 })))
})

test('a text that may begin with a space keeps it, and has none that it may not have', async (t) => {
  t.is((await model.ask([], question, { choices: [' a'] })).value, ' a')
  t.is((await model.ask([], question, { choices: ['a'] })).value, 'a')
  t.is((await model.ask([], question, { regex: '  b ' })).value, '  b ')
})

test('chat, conversations and many questions have values too', async (t) => {
  const stream = model.chat(message, { schema: scene })
  let streamed = ''
  for await (const text of stream) streamed += text
  const { value, text } = await stream.answer
  t.is(streamed, text)
  t.true(isScene(value))
  using talk = model.createConversation()
  const { value: said } = await talk.say('Is it red?', { choices: ['yes', 'no'] }).answer
  const typed: 'yes' | 'no' | undefined = said
  t.true(typed === 'yes' || typed === 'no')
  t.is((await talk.say('And now?').answer).value, undefined)
  const inputs = [1, 2, 3].map((n) => ({ images: picture, question: `${n}?` }))
  for await (const { answer } of model.askMany(inputs, { choices: ['x', 'y'] }))
    t.true(['x', 'y'].includes(answer?.value ?? ''))
})

test('what a JSON Schema types', async (t) => {
  const plain = await model.ask([], question, { schema: { const: 1 } })
  const value: JsonValue | undefined = plain.value
  t.is(value, 1)
  const typebox = { const: 2 } as { const: 2; static: 2 }
  const typed: 2 | undefined = (await model.ask([], question, { schema: typebox })).value
  t.is(typed, 2)
})

for (const [name, options, expected] of [
  ['two formats', { schema: {}, regex: 'a' }, /give one of `schema` and `regex`/],
  ['no choices', { choices: [] }, /`choices` to be a list of one or more texts, none of them empty, got an empty list/],
  ['an empty choice', { choices: ['a', ''] }, /`choices` to be/],
  ['a regex that is none', { regex: '(' }, /`regex`: "\(" is no regular expression/],
  ['a regex that is a number', { regex: 3 }, /`regex` to be a RegExp or its source, got 3/],
  ['a schema that is none', { schema: 'object' }, /`schema` to be a JSON Schema or a Standard Schema, got "object"/],
  ['false', { schema: false }, /`schema` to be a JSON Schema or a Standard Schema, got false/],
  [
    'a keyword that is not supported',
    { schema: { items: { multipleOf: 3 } } },
    /schema #\/items: `multipleOf` is not supported/,
  ],
  ['a schema that nothing fits', { schema: { type: 'string', enum: [1] } }, /no text fits `schema`/],
] as const) {
  test(`${name} is INVALID_ARGUMENT, at once where a stream begins later`, async (t) => {
    const bad = options as AnswerOptions
    await t.throwsAsync(model.ask([], question, bad), { code: 'INVALID_ARGUMENT', message: expected })
    t.throws(() => model.chat(message, bad), { code: 'INVALID_ARGUMENT', message: expected })
  })
}

test.serial('the matcher is told of chosen tokens alone', async (t) => {
  const accepted: number[] = []
  const accept = Object.getOwnPropertyDescriptor(Matcher.prototype, 'accept') as TypedPropertyDescriptor<
    (this: Matcher, id: number) => void
  >
  Object.defineProperty(Matcher.prototype, 'accept', {
    ...accept,
    value(this: Matcher, id: number) {
      accepted.push(id)
      accept.value?.call(this, id)
    },
  })
  try {
    const { tokenIds, usage } = await model.ask(picture, example, { schema: scene, promptLookupTokens: 31 })
    t.deepEqual(accepted, [...tokenIds])
    t.true(usage.draftTokens > usage.acceptedTokens)
  } finally {
    Object.defineProperty(Matcher.prototype, 'accept', accept)
  }
})
