// Adapters that are incomplete, damaged, or do not fit the model they are named with.

import { dict, emptyTuple, global, pickle, reduce, tensor, torchFile, zerosFile } from '../weights/pytorch-file.js'
import { checkpoint, languageFile } from '../weights/tiny-llava.js'
import {
  adapterFiles,
  clipCheckpoint,
  languageCheckpoint,
  originalConfig,
  projectorShapes,
  wholeFile,
  type AdapterParts,
} from '../weights/tiny-original.js'
import { openingOf, type BadInput, type Files } from './row.js'

const lora = (parts: AdapterParts): Files => adapterFiles(parts)
const setting = (settings: object): Files => lora({ settings })

const onCheckpoint: readonly (readonly [
  what: string,
  code: BadInput['code'],
  adapter: Files | undefined,
  message: RegExp,
])[] = [
  ['that is not there', 'MODEL_NOT_FOUND', undefined, /no such adapter/],
  ['without files', 'MODEL_NOT_FOUND', {}, /no adapter/],
  [
    'without weights',
    'MODEL_NOT_FOUND',
    { 'adapter_config.json': { r: 3, lora_alpha: 6 } },
    /neither adapter_model\.safetensors nor adapter_model\.bin/,
  ],
  ['of another method', 'MODEL_UNSUPPORTED', setting({ peft_type: 'IA3' }), /"IA3"/],
  ['with transposed matrices', 'MODEL_UNSUPPORTED', setting({ fan_in_fan_out: true }), /fan_in_fan_out/],
  [
    'of a layer that is not there',
    'MODEL_UNSUPPORTED',
    lora({ modules: { 'base_model.model.model.layers.9.self_attn.q_proj': [32, 32] } }),
    /layers\.9/,
  ],
  [
    'of a module of another model',
    'MODEL_UNSUPPORTED',
    lora({ modules: { 'base_model.model.transformer.h.0.attn.c_attn': [32, 32] } }),
    /c_attn/,
  ],
  ['without a rank', 'MODEL_CORRUPT', setting({ r: null }), /`r` is missing/],
  [
    'with another rank than its tensors',
    'MODEL_CORRUPT',
    setting({ r: 8 }),
    /rank 3, but `r` or `rank_pattern` says 8/,
  ],
  ['with a scale that is no number', 'MODEL_CORRUPT', setting({ lora_alpha: 'much' }), /lora_alpha/],
  [
    'for another hidden size',
    'MODEL_CORRUPT',
    lora({ modules: { 'base_model.model.model.layers.0.self_attn.q_proj': [64, 32] } }),
    /\[3, 64\].*\[3, 32\]/,
  ],
  [
    'with a tensor of no module',
    'MODEL_UNSUPPORTED',
    { ...adapterFiles(), 'non_lora_trainables.bin': zerosFile([['base_model.model.something', [2]]]) },
    /something/,
  ],
  [
    'whose pickle would run code',
    'MODEL_UNSUPPORTED',
    { ...adapterFiles(), 'non_lora_trainables.bin': torchFile(pickle(global('os', 'abort'), emptyTuple, reduce)) },
    /"os\.abort"/,
  ],
  [
    'with half a pair',
    'MODEL_CORRUPT',
    {
      ...adapterFiles(),
      'adapter_model.safetensors': undefined,
      'adapter_model.bin': torchFile(pickle(dict({ 'base_model.model.lm_head.lora_A.weight': tensor() }))),
    },
    /other half/,
  ],
  [
    'with settings that are not JSON',
    'MODEL_CORRUPT',
    { ...adapterFiles(), 'adapter_config.json': '{' },
    /adapter_config\.json: is not valid JSON/,
  ],
  [
    'with damaged weights',
    'MODEL_CORRUPT',
    { ...adapterFiles(), 'adapter_model.safetensors': Buffer.alloc(7) },
    /adapter_model\.safetensors: 7 bytes are too few/,
  ],
]

const projector: Files = { ...adapterFiles(), 'non_lora_trainables.bin': wholeFile(projectorShapes) }

const onOthers: readonly (readonly [
  title: string,
  code: BadInput['code'],
  base: Files,
  adapter: Files,
  message: RegExp,
])[] = [
  [
    'a projector for a GGUF without its vision half',
    'MODEL_UNSUPPORTED',
    { 'model.gguf': languageFile() },
    { 'mm_projector.bin': wholeFile(projectorShapes) },
    /mmproj/,
  ],
  [
    'a projector for a language model that nothing makes a LLaVA of',
    'MODEL_UNSUPPORTED',
    languageCheckpoint(),
    projector,
    /without a vision tower/,
  ],
]

const opening = (base: Files, adapter: Files | undefined): BadInput['call'] =>
  openingOf({ base, 'clip-vit-tiny': clipCheckpoint(), ...(adapter && { adapter }) }, 'base', { adapter: 'adapter' })

export const adapters: readonly BadInput[] = [
  ...onCheckpoint.map(([what, code, adapter, message]): BadInput => ({
    title: `an adapter ${what}`,
    code,
    message,
    call: opening(checkpoint(), adapter),
  })),
  ...onOthers.map(([title, code, base, adapter, message]): BadInput => ({
    title,
    code,
    message,
    call: opening(base, adapter),
  })),
  {
    title: 'an adapter opened as a model',
    code: 'MODEL_NOT_FOUND',
    message: /`adapter`/,
    call: openingOf({ base: { ...projector, 'config.json': originalConfig } }, 'base'),
  },
]
