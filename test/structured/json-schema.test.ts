// Schemas as grammars: every text is JSON that ajv finds valid, and the values that a schema is meant for can be written.

import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import test from 'ava'
import fc from 'fast-check'
import { Random } from '../../lib/sampling/random.js'
import { formats } from '../../lib/structured/formats.js'
import { automatonOf, compiledSchema, takes } from './acceptance.js'
import { textOf } from './text-of.js'

// `nullable` is OpenAPI's, and ajv knows it
const ajv = new Ajv2020({ strict: false, allErrors: false })
addFormats.default(ajv)

/** Texts of a schema, drawn at random, are valid. */
function checkDrawn(
  t: { readonly true: (value: boolean, message?: string) => boolean },
  schema: unknown,
  count: number,
) {
  const automaton = automatonOf(compiledSchema(schema))
  if (automaton.start === undefined) return
  const isValid = ajv.compile(schema as object)
  const random = new Random(count)
  for (let n = 0; n < count; n++) {
    const text = textOf(automaton, random)?.toString()
    if (text === undefined) continue
    t.true(isValid(JSON.parse(text)), `${text} of ${JSON.stringify(schema)}: ${ajv.errorsText(isValid.errors)}`)
  }
}

interface Case {
  readonly schema: unknown
  /** Values whose texts must be taken, as JSON.stringify writes them and with spaces. */
  readonly taken: readonly unknown[]
  /** Values that must not be. */
  readonly refused: readonly unknown[]
}

const person = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer', minimum: 0 }, mail: { type: ['string', 'null'] } },
  required: ['name'],
}
const tree = {
  $defs: {
    tree: {
      type: 'object',
      properties: { value: { type: 'integer' }, below: { type: 'array', items: { $ref: '#/$defs/tree' } } },
      required: ['value'],
    },
  },
  $ref: '#/$defs/tree',
}

const cases: Readonly<Record<string, Case>> = {
  anything: { schema: true, taken: [null, true, -1.5, 'a"b\\\n\té😀', [1, [], {}], { a: { b: [null] } }], refused: [] },
  'nothing said': { schema: {}, taken: [0, 'x', [], {}], refused: [] },
  types: { schema: { type: ['boolean', 'null'] }, taken: [true, false, null], refused: [0, 'true', []] },
  integers: { schema: { type: 'integer' }, taken: [0, 7, -12, 123456789012345], refused: [1.5, '1'] },
  numbers: { schema: { type: 'number' }, taken: [0, -0.5, 3.14159, 100], refused: ['1', null] },
  'an interval of integers': {
    schema: { type: 'integer', minimum: -12, maximum: 105 },
    taken: [-12, -11, -9, -1, 0, 9, 10, 99, 100, 105],
    refused: [-13, -20, -100, 106, 110, 1000],
  },
  'an open interval': {
    schema: { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
    taken: [0.5, 0.01, 0.999],
    refused: [0, 1, -0.5, 1.1],
  },
  'zod’s safe integers': {
    schema: { type: 'integer', minimum: -9007199254740991, maximum: 9007199254740991 },
    taken: [0, -5, 999999999999999],
    refused: [0.5],
  },
  lengths: {
    schema: { type: 'string', minLength: 2, maxLength: 3 },
    taken: ['ab', 'éé😀', '"\\'],
    refused: ['a', 'abcd', ''],
  },
  'pattern and length': {
    schema: { type: 'string', pattern: '^a', maxLength: 3 },
    taken: ['a', 'abc'],
    refused: ['b', 'abcd', ''],
  },
  enum: {
    schema: { enum: ['red', 'green', 1, null, { a: [1] }] },
    taken: ['red', 1, null, { a: [1] }],
    refused: ['blue', 2, {}],
  },
  const: { schema: { const: 'x"y' }, taken: ['x"y'], refused: ['x'] },
  'enum beside type': {
    schema: { type: 'string', enum: ['a', 1, 'bb'], maxLength: 1 },
    taken: ['a'],
    refused: [1, 'bb'],
  },
  objects: {
    schema: person,
    taken: [{ name: 'A' }, { name: 'A', age: 3 }, { name: '', mail: null }, { name: 'A', age: 0, mail: 'x' }],
    refused: [{}, { age: 3 }, { name: 1 }, { name: 'A', age: -1 }, [], { name: 'A', other: 1 }],
  },
  'all optional': {
    schema: { type: 'object', properties: { a: { type: 'null' }, b: { type: 'null' }, c: { type: 'null' } } },
    taken: [{}, { a: null }, { b: null }, { c: null }, { a: null, c: null }, { a: null, b: null, c: null }],
    refused: [{ d: null }, { b: 1 }],
  },
  'any object': { schema: { type: 'object' }, taken: [{}, { x: 1, y: [2] }], refused: [[], 1] },
  'additional properties': {
    schema: { type: 'object', properties: { a: { type: 'null' } }, additionalProperties: { type: 'integer' } },
    taken: [{}, { a: null }, { a: null, b: 1 }, { b: 1, c: 2 }],
    refused: [{ a: 1 }, { b: null }],
  },
  'names by pattern': {
    schema: { type: 'object', patternProperties: { '^n_': { type: 'integer' } }, additionalProperties: false },
    taken: [{}, { n_a: 1 }, { n_: 1, n_b: 2 }],
    refused: [{ n_a: 'x' }, { a: 1 }],
  },
  propertyNames: {
    schema: { type: 'object', propertyNames: { enum: ['a', 'b'] }, additionalProperties: { type: 'integer' } },
    taken: [{}, { a: 1 }, { b: 2 }],
    refused: [{ c: 1 }],
  },
  'counts of properties': {
    schema: {
      type: 'object',
      properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } },
      minProperties: 1,
      maxProperties: 2,
      additionalProperties: false,
    },
    taken: [{ a: 1 }, { b: 2, c: 3 }],
    refused: [{}, { a: 1, b: 2, c: 3 }],
  },
  'required only': { schema: { type: 'object', required: ['a'] }, taken: [{ a: 1 }, { a: {} }], refused: [{}] },
  lists: { schema: { type: 'array', items: { type: 'integer' } }, taken: [[], [1], [1, 2, 3]], refused: [['a'], {}] },
  'lengths of lists': {
    schema: { type: 'array', items: { type: 'integer' }, minItems: 1, maxItems: 3 },
    taken: [[1], [1, 2, 3]],
    refused: [[], [1, 2, 3, 4]],
  },
  tuples: {
    schema: { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }] },
    taken: [['a', 1]],
    refused: [
      [1, 'a'],
      ['a', 1, 2],
    ],
  },
  'tuples of old': {
    schema: { type: 'array', prefixItems: [{ type: 'string' }], items: { type: 'integer' }, minItems: 2 },
    taken: [
      ['a', 1],
      ['a', 1, 2],
    ],
    refused: [['a'], ['a', 'b']],
  },
  'no items': { schema: { type: 'array', items: false }, taken: [[]], refused: [[1]] },
  alternatives: {
    schema: { anyOf: [{ type: 'integer' }, { type: 'string', maxLength: 2 }, { type: 'null' }] },
    taken: [1, 'ab', null],
    refused: [true, 'abc'],
  },
  'alternatives beside properties': {
    schema: {
      type: 'object',
      properties: { a: { type: 'integer' }, b: { type: 'integer' } },
      anyOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    taken: [{ a: 1 }, { b: 1 }, { a: 1, b: 2 }],
    refused: [{}],
  },
  'one of several kinds': {
    schema: {
      oneOf: [
        { type: 'object', properties: { k: { const: 'a' }, v: { type: 'integer' } }, required: ['k', 'v'] },
        { type: 'object', properties: { k: { enum: ['b', 'c'] }, w: { type: 'string' } }, required: ['k'] },
        { type: 'null' },
      ],
    },
    taken: [{ k: 'a', v: 1 }, { k: 'b' }, { k: 'c', w: '' }, null],
    refused: [{ k: 'a' }, { k: 'd' }, { k: 'b', v: 1 }],
  },
  'all of': {
    schema: {
      allOf: [
        { type: 'object', properties: { a: { type: 'integer', minimum: 1 } }, required: ['a'] },
        { properties: { a: { maximum: 5 }, b: { type: 'string' } }, required: ['b'] },
      ],
    },
    taken: [
      { a: 1, b: '' },
      { a: 5, b: 'x' },
    ],
    refused: [{ a: 6, b: '' }, { a: 0, b: '' }, { a: 1 }],
  },
  'all of, closed': {
    schema: {
      allOf: [
        { type: 'object', properties: { a: true, b: true }, additionalProperties: false },
        { type: 'object', properties: { b: { type: 'null' }, c: true } },
      ],
    },
    taken: [{}, { a: 1 }, { b: null }],
    refused: [{ c: 1 }, { b: 1 }],
  },
  recursion: {
    schema: tree,
    taken: [
      { value: 1 },
      { value: 1, below: [] },
      { value: 1, below: [{ value: 2, below: [{ value: 3 }] }, { value: 4 }] },
    ],
    refused: [{}, { value: 1, below: [{}] }],
  },
  'recursion beside keywords': {
    schema: {
      type: 'object',
      properties: { next: { $ref: '#', properties: { last: { const: true } } }, last: { type: 'boolean' } },
      additionalProperties: false,
    },
    taken: [{}, { next: {} }, { next: { last: true } }, { last: false }, { next: { next: { last: true } } }],
    refused: [{ next: { last: false } }, { other: 1 }],
  },
  'anchors and escaped pointers': {
    schema: {
      $defs: { 'a/b~c': { type: 'integer' }, d: { $anchor: 'here', type: 'null' } },
      anyOf: [{ $ref: '#/$defs/a~1b~0c' }, { $ref: '#here' }],
    },
    taken: [1, null],
    refused: ['a'],
  },
  'no further properties': {
    schema: {
      allOf: [{ type: 'object', properties: { a: { type: 'integer' } } }],
      properties: { b: { type: 'integer' } },
      unevaluatedProperties: false,
    },
    taken: [{}, { a: 1 }, { a: 1, b: 2 }],
    refused: [{ c: 1 }],
  },
  'what says nothing': {
    schema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'x',
      description: 'y',
      default: 1,
      examples: [2],
      'x-order': 3,
      type: 'integer',
      format: 'double',
    },
    taken: [1],
    refused: ['a'],
  },
}

/** With a space after ':' and ','. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  return `{${Object.entries(value)
    .map(([name, one]) => `${JSON.stringify(name)}: ${spaced(one)}`)
    .join(', ')}}`
}

for (const [name, { schema, taken, refused }] of Object.entries(cases)) {
  test(`${name}: what is valid can be written, and what is written is valid`, (t) => {
    const automaton = automatonOf(compiledSchema(schema))
    for (const value of taken) {
      t.true(ajv.validate(schema as object, value), `the case itself: ${JSON.stringify(value)}`)
      t.true(takes(automaton, JSON.stringify(value)), JSON.stringify(value))
      t.true(takes(automaton, spaced(value)), spaced(value))
    }
    for (const value of refused) t.false(takes(automaton, JSON.stringify(value)), JSON.stringify(value))
    checkDrawn(t, schema, 150)
  })
}

test('older forms are read: definitions, lists of items, nullable', (t) => {
  const automaton = automatonOf(
    compiledSchema({
      definitions: { a: { type: 'string', nullable: true } },
      type: 'array',
      items: [{ $ref: '#/definitions/a' }, { type: 'integer' }],
      additionalItems: { type: 'boolean' },
    }),
  )
  for (const value of [
    ['x', 1],
    [null, 1],
    [null, 1, true, false],
  ])
    t.true(takes(automaton, JSON.stringify(value)))
  for (const value of [
    [1, 1],
    ['x', null],
    ['x', 1, 2],
  ])
    t.false(takes(automaton, JSON.stringify(value)))
})

test('a schema may be named by its $id', (t) => {
  const automaton = automatonOf(
    compiledSchema({
      $id: 'list',
      type: 'object',
      properties: { next: { anyOf: [{ $ref: 'list' }, { type: 'null' }] } },
      required: ['next'],
    }),
  )
  t.true(takes(automaton, '{"next": {"next": null}}'))
  t.false(takes(automaton, '{"next": {}}'))
})

for (const format of formats.keys()) {
  test(`format ${format}: what is written is valid`, (t) => {
    checkDrawn(t, { type: 'string', format }, 300)
  })
}

for (const [format, value] of [
  ['date', '2024-02-29'],
  ['date', '1999-12-31'],
  ['time', '23:59:00.25Z'],
  ['date-time', '2024-01-31T00:00:00+02:00'],
  ['duration', 'P3Y6M4DT12H30M5S'],
  ['email', 'ada.lovelace+x@mail.example.org'],
  ['hostname', 'www.example.org'],
  ['ipv4', '192.168.0.255'],
  ['ipv6', '2001:db8::ff00:42:8329'],
  ['ipv6', '::1'],
  ['uri', 'https://example.org:8080/a/b%20c?d=e&f#g'],
  ['uuid', '123e4567-e89b-12d3-a456-426614174000'],
] as const) {
  test(`format ${format} has ${value}`, (t) => {
    t.true(takes(automatonOf(compiledSchema({ type: 'string', format })), JSON.stringify(value)))
  })
}

const bound = fc.oneof(
  fc.integer({ min: -300, max: 300 }),
  fc.integer({ min: -2000, max: 2000 }).map((n) => n / 100),
)

test('numbers between bounds are exactly those that are written so', (t) => {
  fc.assert(
    fc.property(
      fc.record(
        {
          type: fc.constantFrom('integer', 'number'),
          minimum: bound,
          maximum: bound,
          exclusiveMinimum: bound,
          exclusiveMaximum: bound,
        },
        { requiredKeys: ['type'] },
      ),
      fc.array(
        fc.oneof(
          bound,
          fc.integer({ min: -30000, max: 30000 }).map((n) => n / 1000),
        ),
        { minLength: 20, maxLength: 20 },
      ),
      (schema, values) => {
        const automaton = automatonOf(compiledSchema(schema))
        const isValid = ajv.compile(schema)
        const near = Object.values(schema).filter((value) => typeof value === 'number')
        for (const value of [...values, ...near, ...near.map((one) => one + 1), ...near.map((one) => one - 0.01)]) {
          const text = JSON.stringify(value)
          if (text.includes('e') || text.replace(/\D/g, '').length > 15) continue
          t.is(takes(automaton, text), isValid(value), `${text} of ${JSON.stringify(schema)}`)
        }
        checkDrawn(t, schema, 5)
      },
    ),
    { numRuns: 200 },
  )
})

const name = fc.constantFrom('a', 'b', 'c', 'long name', 'quote"d')
const scalar = fc.oneof(
  fc.record({ type: fc.constantFrom('integer', 'number'), minimum: bound, maximum: bound }, { requiredKeys: ['type'] }),
  fc.record(
    {
      type: fc.constant('string'),
      minLength: fc.nat(3),
      maxLength: fc.integer({ min: 2, max: 5 }),
      pattern: fc.constantFrom('a', '^[ab]*$', '\\d$'),
    },
    { requiredKeys: ['type'] },
  ),
  fc.record({
    enum: fc.uniqueArray(fc.oneof(fc.string(), fc.integer(), fc.constantFrom(null, true)), {
      minLength: 1,
      maxLength: 4,
    }),
  }),
  fc.constantFrom(
    { type: 'null' },
    { type: 'boolean' },
    { type: ['string', 'null'] },
    {},
    { const: 'x' },
    { type: 'string', format: 'date' },
  ),
)

/** Schemas of every kind, with references to themselves. */
const schemas = fc.letrec<{ schema: object }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    scalar,
    fc.record(
      {
        type: fc.constant('object'),
        properties: fc.dictionary(name, tie('schema'), { maxKeys: 3 }),
        required: fc.uniqueArray(name, { maxLength: 2 }),
        additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
        maxProperties: fc.integer({ min: 2, max: 3 }),
        patternProperties: fc.dictionary(fc.constantFrom('^a', 'n', 'b$'), tie('schema'), { maxKeys: 2 }),
        propertyNames: fc.constantFrom({ maxLength: 2 }, { pattern: '^[a-m]' }),
      },
      { requiredKeys: ['type'] },
    ),
    fc.record(
      {
        type: fc.constant('array'),
        items: tie('schema'),
        prefixItems: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }),
        minItems: fc.nat(2),
        maxItems: fc.integer({ min: 1, max: 4 }),
      },
      { requiredKeys: ['type'] },
    ),
    fc.record({ anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }),
    fc.record({ allOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }),
    fc.record({ oneOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
    fc.constantFrom({ $ref: '#' }, { anyOf: [{ type: 'null' }, { $ref: '#' }] }),
  ),
})).schema

test('whatever a schema is made of, what is written is valid', (t) => {
  let written = 0
  fc.assert(
    fc.property(schemas, (schema) => {
      let compiled
      try {
        compiled = compiledSchema(schema)
      } catch (error) {
        t.is((error as { readonly code?: string }).code, 'INVALID_ARGUMENT', String(error))
        return
      }
      if (automatonOf(compiled).start === undefined) return
      written++
      checkDrawn(t, schema, 4)
    }),
    { numRuns: 250 },
  )
  t.true(written > 90, String(written))
})

for (const [schema, message] of [
  [{ type: 'array', uniqueItems: true }, /^schema #: `uniqueItems: true` is not supported$/],
  [
    { properties: { 'a/b': { type: 'number', multipleOf: 2 } } },
    /^schema #\/properties\/a~1b: `multipleOf` is not supported$/,
  ],
  [{ items: { not: {} } }, /^schema #\/items: `not`/],
  [{ if: {}, then: {} }, /^schema #: `if`/],
  [{ contains: {} }, /`contains`/],
  [{ dependentRequired: {} }, /`dependentRequired`/],
  [{ unevaluatedProperties: {} }, /`unevaluatedProperties: \{\}`/],
  [{ minLenght: 3 }, /`minLenght`/],
  [{ type: 'string', format: 'postcode' }, /`format: "postcode"` is not supported; known are date, time/],
  [{ type: 'object', minProperties: 3 }, /`minProperties` of more than 1/],
  [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, /`oneOf` whose alternatives 0 and 1 may fit one value/],
  [{ oneOf: [{ type: 'object' }, { type: 'object', required: ['a'] }] }, /`oneOf` whose alternatives/],
  [{ $ref: 'https://example.org/x.json' }, /`\$ref` "https:\/\/example.org\/x.json" is nowhere in this schema/],
  [{ $ref: '#/$defs/none' }, /`\$ref` "#\/\$defs\/none" is nowhere/],
  [{ $ref: '#' }, /refers to itself and to nothing else/],
  [{ anyOf: [{ $ref: '#' }, { type: 'null' }] }, /refers to itself and to nothing else/],
  [{ type: 'strin' }, /expected `type` to be one of null, boolean/],
  [{ minLength: -1 }, /expected `minLength` to be a whole number that is 0 or greater/],
  [{ minimum: '3' }, /expected `minimum` to be a number/],
  [{ exclusiveMinimum: true, minimum: 3 }, /expected `exclusiveMinimum` to be a number/],
  [{ required: 'a' }, /expected `required` to be a list of names/],
  [{ enum: 'a' }, /expected `enum` to be a list of values/],
  [{ properties: [] }, /expected `properties` to be an object of schemas/],
  [{ anyOf: {} }, /expected `anyOf` to be a list of schemas/],
  [{ items: 3 }, /schema #\/items: a schema is an object, true or false/],
] as const) {
  test(`${JSON.stringify(schema)} is refused by keyword and pointer`, (t) => {
    t.throws(() => compiledSchema(schema), { code: 'INVALID_ARGUMENT', message })
  })
}

test('what contradicts itself has no text', (t) => {
  for (const schema of [
    false,
    { type: 'string', minLength: 3, maxLength: 2 },
    { type: 'string', pattern: '^a', maxLength: 0 },
    { type: 'integer', minimum: 3, maximum: 2 },
    { type: 'integer', minimum: 0.1, maximum: 0.9 },
    { allOf: [{ type: 'string' }, { type: 'integer' }] },
    { type: 'string', enum: [1, 2] },
    { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] },
    { type: 'object', properties: { a: false }, required: ['a'] },
    { type: 'array', items: false, minItems: 1 },
  ])
    t.is(automatonOf(compiledSchema(schema)).start, undefined, JSON.stringify(schema))
})
