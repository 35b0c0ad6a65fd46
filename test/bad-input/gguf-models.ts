// GGUF models, pairs, models in parts and adapters whose keys and tensors do not fit each other, or this package.

import { ggufFile, type GgufKey, type GgufTensorInfo } from '../weights/gguf-file.js'
import {
  ggufTensors,
  languageFile,
  languageKeys,
  mmprojFile,
  part,
  partName,
  parts,
  splitKeys,
  textShapes,
  tiny,
  visionKeys,
  visionShapes,
  withKeys,
} from '../weights/tiny-llava.js'
import { calling, opening, openingOf, type BadInput, type Caller, type Files } from './row.js'

const pair: Files = { 'model.gguf': languageFile(), 'mmproj-model.gguf': mmprojFile() }
const textTensors = ggufTensors(textShapes())
const visionTensors = ggufTensors(visionShapes())
const language = (...changes: GgufKey[]): Files => ({ 'model.gguf': languageFile(withKeys(languageKeys, ...changes)) })
const vision = (...changes: GgufKey[]): Files => ({
  ...pair,
  'mmproj-model.gguf': mmprojFile(withKeys(visionKeys, ...changes)),
})
const retyped = (name: string, type: number): GgufTensorInfo[] =>
  textTensors.map((tensor) => (tensor.name === name ? { ...tensor, type } : tensor))
const withVisionTensors = (...more: GgufTensorInfo[]): Files => ({
  ...pair,
  'mmproj-model.gguf': mmprojFile(visionKeys, [...visionTensors, ...more]),
})

const ownKeys = withKeys([...languageKeys, ...visionKeys], {
  key: 'general.architecture',
  type: 'string',
  value: 'llava',
})
const own = (...changes: GgufKey[]): Files => ({
  'own.gguf': ggufFile({
    keys: withKeys(ownKeys, ...changes),
    tensors: ggufTensors(new Map([...textShapes(), ...visionShapes()])),
  }),
})

const mistralKeys: readonly GgufKey[] = [
  ...languageKeys
    .map((key) => ({ ...key, key: key.key.replace(/^llama\./, 'mistral3.') }))
    .filter(({ key }) => key !== 'general.architecture'),
  { key: 'general.architecture', type: 'string', value: 'mistral3' },
]

const unsupported: readonly (readonly [what: string, files: Files, message: RegExp])[] = [
  [
    'another architecture',
    language({ key: 'general.architecture', type: 'string', value: 'qwen2' }),
    /"qwen2".*supported: llama, llava, mistral3/,
  ],
  ['no weights', { 'model.gguf': languageFile(languageKeys, []) }, /vocabulary without weights/],
  [
    'a matrix in IQ4_NL',
    { 'model.gguf': languageFile(languageKeys, retyped('blk.0.attn_q.weight', 20)) },
    /blk\.0\.attn_q.*IQ4_NL.*F32, F16, BF16, Q4_0, Q4_1/,
  ],
  [
    'a norm in Q8_0',
    { 'model.gguf': languageFile(languageKeys, retyped('output_norm.weight', 8)) },
    /output_norm.*Q8_0.*F32, F16, BF16 for this tensor/,
  ],
  [
    'biases',
    { 'model.gguf': languageFile(languageKeys, [...textTensors, { name: 'blk.0.attn_q.bias', type: 0, ne: [32] }]) },
    /attn_q\.bias/,
  ],
  [
    'attention scaled with the position',
    {
      'model.gguf': languageFile([
        ...mistralKeys,
        { key: 'mistral3.attention.temperature_scale', type: 'f32', value: 0.1 },
      ]),
    },
    /temperature_scale/,
  ],
  ['experts', language({ key: 'llama.expert_count', type: 'u32', value: 8 }), /mixture of experts/],
  ['an adapter opened as a model', language({ key: 'general.type', type: 'string', value: 'adapter' }), /`adapter`/],
  ['yarn', language({ key: 'llama.rope.scaling.type', type: 'string', value: 'yarn' }), /"yarn"/],
  ['a partial rotation', language({ key: 'llama.rope.dimension_count', type: 'u32', value: 4 }), /rotation of 4 of 8/],
  [
    'an mmproj with another projector',
    vision({ key: 'clip.projector_type', type: 'string', value: 'ldpv2' }),
    /"ldpv2".*LLaVA 1\.5/,
  ],
  [
    'an mmproj with layer norms in the projector',
    withVisionTensors({ name: 'mm.3.weight', type: 0, ne: [32] }),
    /mm\.3/,
  ],
  [
    'an mmproj of LLaVA 1.6',
    vision({ key: 'clip.vision.image_grid_pinpoints', type: ['i32'], value: [336, 672] }),
    /1\.6/,
  ],
  ['an mmproj with SiLU', vision({ key: 'clip.use_silu', type: 'bool', value: true }), /SiLU/],
  [
    'an mmproj with features of two layers',
    vision({ key: 'clip.vision.feature_layer', type: ['i32'], value: [1, 2] }),
    /one feature layer/,
  ],
  [
    'an unknown aspect ratio',
    own({ key: 'llava.image_aspect_ratio', type: 'string', value: 'anyres' }),
    /"anyres".*pad, crop/,
  ],
]

const wide = { ...tiny, D: 64 }

const corrupt: readonly (readonly [what: string, files: Files, message: RegExp])[] = [
  [
    'a missing key',
    language({ key: 'llama.attention.head_count', type: 'u32', value: undefined }),
    /llama\.attention\.head_count.*missing/,
  ],
  [
    'a key of the wrong type',
    language({ key: 'llama.block_count', type: 'string', value: 'two' }),
    /llama\.block_count.*whole number.*"two"/,
  ],
  [
    'a size unlike its tensors',
    language({ key: 'llama.embedding_length', type: 'u32', value: 64 }),
    /hidden size.*64.*32/,
  ],
  ['more layers than its tensors', language({ key: 'llama.block_count', type: 'u32', value: 3 }), /3 layers.*hold 2/],
  [
    'a missing tensor',
    {
      'model.gguf': languageFile(
        languageKeys,
        textTensors.filter(({ name }) => name !== 'blk.1.ffn_gate.weight'),
      ),
    },
    /lacks.*layers\.1\.mlp\.gate_proj/,
  ],
  [
    'a projector of another model’s width',
    { ...pair, 'mmproj-model.gguf': mmprojFile(visionKeys, ggufTensors(visionShapes(3, wide))) },
    /rows of 64.*hidden size of 32.*different models/,
  ],
  [
    'a 336-pixel table and 224-pixel keys',
    vision({ key: 'clip.vision.image_size', type: 'u32', value: 6 }),
    /10 positions.*has 5/,
  ],
  [
    'more tower layers than its tensors',
    vision({ key: 'clip.vision.block_count', type: 'u32', value: 4 }),
    /4 layers.*hold 3/,
  ],
  [
    'two means',
    vision({ key: 'clip.vision.image_mean', type: ['f32'], value: [0.5, 0.5] }),
    /image_mean.*three numbers/,
  ],
  [
    'divisors of another head size',
    { 'model.gguf': languageFile(languageKeys, [...textTensors, { name: 'rope_freqs.weight', type: 0, ne: [3] }]) },
    /rope_freqs.*4 values/,
  ],
  [
    'divisors of zero',
    { 'model.gguf': languageFile(languageKeys, [...textTensors, { name: 'rope_freqs.weight', type: 0, ne: [4] }]) },
    /rope_freqs.*positive/,
  ],
]

// ---- models in parts

const brokenSplits: readonly (readonly [what: string, files: Files, message: RegExp])[] = [
  [
    'a part that calls itself another',
    { ...parts, ...part(1, textTensors.slice(0, 5), splitKeys(2, 3, textTensors.length)) },
    /part 2 of 3, but calls itself part 3 of 3/,
  ],
  [
    'a part of another split',
    { ...parts, ...part(1, textTensors.slice(0, 5), splitKeys(1, 4, textTensors.length)) },
    /part 2 of 4/,
  ],
  ['a part that is no part', { ...parts, ...part(1, textTensors.slice(0, 5), []) }, /does not say which part it is/],
  [
    'fewer tensors than promised',
    { ...parts, ...part(1, textTensors.slice(0, 4)) },
    /should hold 21 tensors together, but hold 20/,
  ],
  [
    'a tensor in two parts',
    {
      ...part(0, [], splitKeys(0, 3, 22)),
      ...part(1, textTensors.slice(0, 6), splitKeys(1, 3, 22)),
      ...part(2, textTensors.slice(5), splitKeys(2, 3, 22)),
    },
    /both stand for/,
  ],
  [
    'a name without a number',
    { 'model.gguf': languageFile([...languageKeys, ...splitKeys(0, 3, 21)]) },
    /one of 3 parts, but its name does not say which/,
  ],
]

// ---- adapters

const adapterKeys: readonly GgufKey[] = [
  { key: 'general.architecture', type: 'string', value: 'llama' },
  { key: 'general.type', type: 'string', value: 'adapter' },
  { key: 'adapter.type', type: 'string', value: 'lora' },
  { key: 'adapter.lora.alpha', type: 'f32', value: 6 },
]
const lora = (module: string, rank: number, input: number, out: number): GgufTensorInfo[] => [
  { name: `${module}.weight.lora_a`, type: 0, ne: [input, rank] },
  { name: `${module}.weight.lora_b`, type: 0, ne: [rank, out] },
]

const ggufAdapters: readonly (readonly [
  what: string,
  code: BadInput['code'],
  keys: readonly GgufKey[],
  tensors: readonly GgufTensorInfo[],
  message: RegExp,
])[] = [
  ['that is a model', 'MODEL_UNSUPPORTED', languageKeys, textTensors, /as adapter, a GGUF that is none/],
  [
    'with a lone tensor',
    'MODEL_UNSUPPORTED',
    adapterKeys,
    [...lora('blk.0.attn_q', 3, 32, 32), { name: 'output_norm.weight', type: 0, ne: [32] }],
    /output_norm.*not half of a pair/,
  ],
  [
    'with half a pair',
    'MODEL_CORRUPT',
    adapterKeys,
    lora('blk.0.attn_q', 3, 32, 32).slice(1),
    /lora_b" lacks its other half/,
  ],
  [
    'for another width',
    'MODEL_CORRUPT',
    adapterKeys,
    lora('blk.0.attn_q', 3, 64, 32),
    /lora_a" has shape \[3, 64\].*\[3, 32\]/,
  ],
  [
    'without alpha',
    'MODEL_CORRUPT',
    adapterKeys.slice(0, 3),
    lora('blk.0.attn_q', 3, 32, 32),
    /adapter\.lora\.alpha.*missing/,
  ],
  [
    'for a layer that is not there',
    'MODEL_UNSUPPORTED',
    adapterKeys,
    lora('blk.7.attn_q', 3, 32, 32),
    /blk\.7\.attn_q/,
  ],
]

const callers: readonly Caller[] = [
  ['the vision half of a pair alone', 'MODEL_UNSUPPORTED', /language model.*`mmproj`/, pair, 'mmproj-model.gguf'],
  [
    'a language model named as mmproj',
    'MODEL_UNSUPPORTED',
    /as mmproj.*"llama"/,
    pair,
    'model.gguf',
    { mmproj: 'model.gguf' },
  ],
  [
    'an mmproj that is not there',
    'MODEL_NOT_FOUND',
    /none\.gguf: there is no such file/,
    pair,
    '',
    { mmproj: 'none.gguf' },
  ],
  ['an mmproj beside one file that holds everything', 'INVALID_ARGUMENT', /mmproj/, own(), '', { mmproj: 'x.gguf' }],
  [
    'several mmproj files beside a model',
    'INVALID_ARGUMENT',
    /mmproj-model\.gguf, mmproj-other\.gguf/,
    { ...pair, 'mmproj-other.gguf': mmprojFile() },
  ],
  [
    'several language models in a directory',
    'INVALID_ARGUMENT',
    /a\.gguf, b\.gguf/,
    { 'a.gguf': languageFile(), 'b.gguf': languageFile() },
  ],
  [
    'a model without part 1 of 3',
    'MODEL_NOT_FOUND',
    /3 parts big-00001-of-00003\.gguf is missing/,
    { ...parts, [partName(0)]: undefined },
    partName(1),
  ],
  [
    'a model without part 2 of 3',
    'MODEL_NOT_FOUND',
    /3 parts big-00002-of-00003\.gguf is missing/,
    { ...parts, [partName(1)]: undefined },
    partName(0),
  ],
  [
    'a model without part 3 of 3',
    'MODEL_NOT_FOUND',
    /3 parts big-00003-of-00003\.gguf is missing/,
    { ...parts, [partName(2)]: undefined },
    partName(0),
  ],
  [
    'an mmproj that is no GGUF',
    'MODEL_CORRUPT',
    /mmproj-model\.gguf: not a GGUF file/,
    { ...pair, 'mmproj-model.gguf': 'nothing' },
  ],
  [
    'a part that is no GGUF',
    'MODEL_CORRUPT',
    /big-00002-of-00003\.gguf: not a GGUF file/,
    { ...parts, [partName(1)]: 'nothing' },
    partName(0),
  ],
]

export const ggufModels: readonly BadInput[] = [
  ...unsupported.map(([what, files, message]): BadInput => ({
    title: `GGUF with ${what}`,
    code: 'MODEL_UNSUPPORTED',
    message,
    call: opening(files),
  })),
  ...corrupt.map(([what, files, message]): BadInput => ({
    title: `GGUF with ${what}`,
    code: 'MODEL_CORRUPT',
    message,
    call: opening(files),
  })),
  ...brokenSplits.map(([what, files, message]): BadInput => {
    return {
      title: `a split with ${what}`,
      code: 'MODEL_CORRUPT',
      message,
      call: opening(files, 'model.gguf' in files ? 'model.gguf' : partName(0)),
    }
  }),
  ...ggufAdapters.map(([what, code, keys, tensors, message]): BadInput => {
    const folders = { base: pair, adapters: { 'lora.gguf': ggufFile({ keys, tensors }) } }
    return {
      title: `a GGUF adapter ${what}`,
      code,
      message,
      call: openingOf(folders, 'base', { adapter: 'adapters/lora.gguf' }),
    }
  }),
  ...callers.map(calling),
]
