// Checkpoints in the original LLaVA's layout, and the CLIP directories beside them, that lack something or do not fit each other.

import { type OpenOptions } from '../../lib/index.js'
import { checkpoint, textShapes, visionShapes, type Shapes } from '../weights/tiny-llava.js'
import {
  clipCheckpoint,
  clipConfig,
  clipShapes,
  languageCheckpoint,
  originalCheckpoint,
  originalConfig,
  ownShapes,
} from '../weights/tiny-original.js'
import { openingOf, type BadInput, type Files } from './row.js'

const withConfig = (changes: object, shapes: Shapes = ownShapes): Files =>
  originalCheckpoint({ ...originalConfig, ...changes }, shapes)
const clip: Files = clipCheckpoint()

const original: readonly (readonly [
  what: string,
  code: BadInput['code'],
  folders: Readonly<Record<string, Files>>,
  message: RegExp,
  options?: OpenOptions,
])[] = [
  [
    'no CLIP anywhere',
    'MODEL_NOT_FOUND',
    { llava: originalCheckpoint() },
    /"clip-vit-tiny" inside or beside it.*`visionTower`/,
  ],
  [
    'a CLIP of another width only',
    'MODEL_NOT_FOUND',
    { llava: originalCheckpoint(), clip: clipCheckpoint({ ...clipConfig, vision_config: { hidden_size: 128 } }) },
    /inside or beside/,
  ],
  [
    'two CLIPs that fit',
    'INVALID_ARGUMENT',
    { llava: originalCheckpoint(), one: clip, two: clip },
    /several CLIP.*one.*two/,
  ],
  [
    'an option that names nothing',
    'MODEL_NOT_FOUND',
    { llava: originalCheckpoint() },
    /config\.json is missing/,
    { visionTower: 'nowhere' },
  ],
  [
    'an option that names a LLaVA',
    'MODEL_UNSUPPORTED',
    { llava: originalCheckpoint() },
    /as vision tower, model type "llava"/,
    { visionTower: 'llava' },
  ],
  [
    'a CLIP without weights',
    'MODEL_NOT_FOUND',
    { llava: originalCheckpoint(), clip: { 'config.json': clipConfig } },
    /model\.safetensors nor pytorch_model\.bin/,
  ],
  [
    'a CLIP with other tensors',
    'MODEL_CORRUPT',
    { llava: originalCheckpoint(), clip: clipCheckpoint(clipConfig, new Map([['logit', [1]]])) },
    /lacks the tensor vision_tower/,
  ],
  [
    'no projector',
    'MODEL_CORRUPT',
    { llava: withConfig({}, textShapes()), clip },
    /lacks the tensor multi_modal_projector/,
  ],
  [
    'fewer projector layers than it says',
    'MODEL_CORRUPT',
    { llava: withConfig({ mm_projector_type: 'mlp3x_gelu' }), clip },
    /projector layers is given as 3, but the weights have 2/,
  ],
  [
    'another projector',
    'MODEL_UNSUPPORTED',
    { llava: withConfig({ mm_projector_type: 'mlp2x_res2x_gelu' }), clip },
    /linear, mlpNx_gelu/,
  ],
  ['tiles', 'MODEL_UNSUPPORTED', { llava: withConfig({ image_aspect_ratio: 'anyres' }), clip }, /1\.6/],
  [
    'another select feature',
    'MODEL_UNSUPPORTED',
    { llava: withConfig({ mm_vision_select_feature: 'cls' }), clip },
    /patch, cls_patch/,
  ],
  [
    'no select layer',
    'MODEL_CORRUPT',
    { llava: withConfig({ mm_vision_select_layer: undefined }), clip },
    /mm_vision_select_layer.*missing/,
  ],
  [
    'no tower named',
    'MODEL_CORRUPT',
    { llava: withConfig({ mm_vision_tower: undefined }), clip },
    /mm_vision_tower.*missing/,
  ],
  [
    'a shard index that leaves the directory',
    'MODEL_CORRUPT',
    {
      llava: {
        ...originalCheckpoint(),
        'model.safetensors': undefined,
        'pytorch_model.bin.index.json': { weight_map: { a: '../x.bin' } },
      },
      clip,
    },
    /\.bin file in this directory/,
  ],
  [
    'only its projector',
    'MODEL_NOT_FOUND',
    { llava: { ...originalCheckpoint(), 'model.safetensors': undefined, 'mm_projector.bin': 'x' }, clip },
    /open that model, with this directory as `adapter`/,
  ],
  [
    'a tower of its own that nobody describes',
    'MODEL_UNSUPPORTED',
    { llava: withConfig({ mm_vision_tower: 'laion/some-tower' }, new Map([...textShapes(), ...visionShapes()])) },
    /"some-tower".*visionTower/,
  ],
  [
    'a tower named by nothing but dots',
    'MODEL_NOT_FOUND',
    { llava: withConfig({ mm_vision_tower: '/..' }) },
    /visionTower/,
  ],
  [
    'a vision tower for a language model',
    'INVALID_ARGUMENT',
    { llava: languageCheckpoint(), clip },
    /visionTower/,
    { visionTower: 'clip' },
  ],
]

const without = (name: string): Shapes => new Map([...clipShapes()].filter(([each]) => each !== name))
const clips: readonly (readonly [what: string, code: BadInput['code'], files: Files, message: RegExp])[] = [
  ['nothing in it', 'MODEL_NOT_FOUND', {}, /config\.json is missing/],
  ['another model in it', 'MODEL_UNSUPPORTED', clipCheckpoint({ model_type: 'siglip2' }), /"siglip2".*clip, siglip/],
  ['a tower alone', 'MODEL_UNSUPPORTED', clipCheckpoint(clipConfig.vision_config), /without its text tower/],
  ['no weights', 'MODEL_NOT_FOUND', { ...clipCheckpoint(), 'pytorch_model.bin': undefined }, /pytorch_model\.bin/],
  [
    'no tokenizer',
    'MODEL_NOT_FOUND',
    { ...clipCheckpoint(), 'merges.txt': undefined },
    /tokenizer\.json nor vocab\.json/,
  ],
  [
    'no text projection',
    'MODEL_CORRUPT',
    clipCheckpoint(clipConfig, without('text_projection.weight')),
    /text_projection/,
  ],
  [
    'another number of text layers',
    'MODEL_CORRUPT',
    clipCheckpoint({ ...clipConfig, text_config: { ...clipConfig.text_config, num_hidden_layers: 3 } }),
    /3 layers.*hold 2/,
  ],
  [
    'another number of positions',
    'MODEL_CORRUPT',
    clipCheckpoint({ ...clipConfig, text_config: { ...clipConfig.text_config, max_position_embeddings: 77 } }),
    /77.*9/,
  ],
  [
    'heads that do not divide its width',
    'MODEL_CORRUPT',
    clipCheckpoint({ ...clipConfig, text_config: { ...clipConfig.text_config, num_attention_heads: 5 } }),
    /heads \(5\)/,
  ],
]

export const originalLayout: readonly BadInput[] = [
  ...original.map(([what, code, folders, message, options]): BadInput => ({
    title: `the original layout with ${what}`,
    code,
    message,
    call: openingOf(folders, 'llava', options),
  })),
  ...clips.map(([what, code, files, message]): BadInput => {
    return {
      title: `a CLIP directory with ${what}`,
      code,
      message,
      call: openingOf({ llava: checkpoint(), clip: files }, 'llava', { clip: 'clip' }),
    }
  }),
]
