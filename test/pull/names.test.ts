// What names stand for: repositories, and of their files the ones that make up a model.

import test from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { chooseGguf, type Wanted } from '../../lib/hub/gguf-choice.js'
import { parseModelName, wellKnownNames } from '../../lib/hub/model-name.js'

test('a name is a well-known one or owner/name, and a file may follow', (t) => {
  t.deepEqual(parseModelName('a/b'), { text: 'a/b', repository: 'a/b' })
  t.deepEqual(parseModelName('a.b/c_d-1.5:sub/x:y.gguf'), {
    text: 'a.b/c_d-1.5:sub/x:y.gguf',
    repository: 'a.b/c_d-1.5',
    file: 'sub/x:y.gguf',
  })
  for (const text of wellKnownNames) {
    const { repository = '', license } = parseModelName(text) ?? {}
    t.regex(repository, /^[\w-]+\/[\w.-]+$/)
    t.is(license, 'LLaMA 2 Community License')
    t.deepEqual(parseModelName(`${text}:x.gguf`), { text: `${text}:x.gguf`, repository, license, file: 'x.gguf' })
  }
})

for (const text of [
  '',
  'model',
  './a',
  '../a',
  '/a/b',
  'a/b/c',
  'models/a.gguf',
  'a/',
  '/a',
  'a//b',
  'a/..',
  'a b/c',
  'https://a/b',
  'a\\b',
  'a/b\n',
  'a/b:',
]) {
  test(`${JSON.stringify(text)} is no name`, (t) => {
    t.is(parseModelName(text), undefined)
  })
}

const secondState = ['Q2_K', 'Q3_K_L', 'Q4_0', 'Q4_K_M', 'Q4_K_S', 'Q5_K_M', 'Q8_0'].map(
  (type) => `llava-v1.5-7b-${type}.gguf`,
)
const split = ['big-Q4_0-00001-of-00002.gguf', 'big-Q4_0-00002-of-00002.gguf'].map((name) => `q4/${name}`)

const choices: readonly (readonly [
  what: string,
  paths: readonly string[],
  wanted: Wanted,
  language: readonly string[],
  vision: readonly string[],
])[] = [
  [
    'q4_k_m before other types of four bits',
    ['README.md', ...secondState, 'llava-v1.5-7b-mmproj-model-f16.gguf'],
    {},
    ['llava-v1.5-7b-Q4_K_M.gguf'],
    ['llava-v1.5-7b-mmproj-model-f16.gguf'],
  ],
  [
    'the names of llama.cpp’s first conversions',
    ['ggml-model-f16.gguf', 'ggml-model-q4_k.gguf', 'ggml-model-q5_k.gguf', 'mmproj-model-f16.gguf'],
    {},
    ['ggml-model-q4_k.gguf'],
    ['mmproj-model-f16.gguf'],
  ],
  [
    'q5_k as q5_k_m',
    ['ggml-model-q4_k.gguf', 'ggml-model-q5_k.gguf'],
    { type: 'q5_k_m' },
    ['ggml-model-q5_k.gguf'],
    [],
  ],
  [
    'f16 of language models, not of towers',
    ['m-f16.gguf', 'm-q4_0.gguf', 'mmproj-f16.gguf'],
    { type: 'f16' },
    ['m-f16.gguf'],
    ['mmproj-f16.gguf'],
  ],
  ['a type after a dot', ['m.Q8_0.gguf', 'm.Q4_0.gguf'], { type: 'q8_0' }, ['m.Q8_0.gguf'], []],
  ['the last word that is a type', ['q4_0-tuned.Q8_0.gguf', 'x.Q4_1.gguf'], {}, ['x.Q4_1.gguf'], []],
  ['no type of another kind', ['m-IQ4_XS.gguf'], {}, ['m-IQ4_XS.gguf'], []],
  ['the only model, whatever its type', ['m.gguf', 'mmproj.gguf'], {}, ['m.gguf'], ['mmproj.gguf']],
  ['all parts of a split one, in a folder', [...split, 'mmproj-f16.gguf'], {}, split, ['mmproj-f16.gguf']],
  ['all parts by the name of one', [...split, 'x-q4_0.gguf'], { file: split[1] ?? '' }, split, []],
  ['a file before a type', secondState, { file: 'llava-v1.5-7b-Q2_K.gguf' }, ['llava-v1.5-7b-Q2_K.gguf'], []],
  [
    'a better tower before a smaller one',
    ['m.gguf', 'mmproj-Q8_0.gguf', 'mmproj-F32.gguf', 'mmproj-BF16.gguf'],
    {},
    ['m.gguf'],
    ['mmproj-BF16.gguf'],
  ],
  [
    'a tower by its name, alone',
    ['m.gguf', 'mmproj-a-f16.gguf', 'mmproj-b-f16.gguf'],
    { file: 'mmproj-b-f16.gguf' },
    ['mmproj-b-f16.gguf'],
    [],
  ],
  [
    'of several towers none, where the model is named',
    ['a.gguf', 'mmproj-a-f16.gguf', 'mmproj-b-f16.gguf'],
    { file: 'a.gguf' },
    ['a.gguf'],
    [],
  ],
]

for (const [what, paths, wanted, language, vision] of choices) {
  test(`${what} is chosen`, (t) => {
    t.deepEqual(chooseGguf('here', paths, wanted), { language, ...(vision.length > 0 && { vision }) })
  })
}

for (const [what, paths, wanted, code, words] of [
  ['no GGUF', ['model.safetensors'], {}, 'MODEL_NOT_FOUND', /no GGUF/],
  ['a tower alone', ['mmproj.gguf'], {}, 'MODEL_NOT_FOUND', /no language model/],
  [
    'a type that is not there',
    ['m-q8_0.gguf'],
    { type: 'q4_0' },
    'MODEL_NOT_FOUND',
    /no file of type q4_0 is there, but m-q8_0/,
  ],
  ['a file that is not there', ['m.gguf'], { file: 'n.gguf' }, 'MODEL_NOT_FOUND', /n\.gguf is not there, but m\.gguf/],
  ['a part that is not there', split.slice(0, 1), {}, 'MODEL_NOT_FOUND', /00002-of-00002.gguf is missing/],
  ['two of one type', ['a-q4_0.gguf', 'b-q4_0.gguf'], {}, 'INVALID_ARGUMENT', /here:FILE: a-q4_0\.gguf, b-q4_0\.gguf/],
  [
    'several, none of four bits',
    ['a-q8_0.gguf', 'a-q2_k.gguf'],
    {},
    'INVALID_ARGUMENT',
    /here:FILE: a-q2_k\.gguf, a-q8_0\.gguf/,
  ],
  [
    'two towers',
    ['a.gguf', 'mmproj-a.gguf', 'mmproj-b.gguf'],
    {},
    'INVALID_ARGUMENT',
    /mmproj-a\.gguf, mmproj-b\.gguf/,
  ],
] as const) {
  test(`${what} is ${code}`, (t) => {
    t.throws(() => chooseGguf('here', paths, wanted), { instanceOf: LlavaError, code, message: words })
  })
}
