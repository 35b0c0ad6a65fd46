// Checkpoint directories in Hugging Face's layout whose configuration, weights or side files do not fit each other, or this package.

import {
  checkpoint,
  llavaConfig,
  savedName,
  textShapes,
  tokenizerJson,
  visionShapes,
  type Shapes,
} from '../weights/tiny-llava.js'
import { calling, opening, type BadInput, type Caller, type Files } from './row.js'

const all: Shapes = new Map([...textShapes(), ...visionShapes()])
const withConfig = (config: object): Files => ({ ...checkpoint(), 'config.json': { ...llavaConfig, ...config } })
const withText = (text: object): Files => withConfig({ text_config: { ...llavaConfig.text_config, ...text } })
const withVision = (vision: object): Files => withConfig({ vision_config: { ...llavaConfig.vision_config, ...vision } })

const unsupported: readonly (readonly [what: string, files: Files, message: RegExp])[] = [
  [
    'another architecture',
    withConfig({ architectures: ['LlavaNextForConditionalGeneration'] }),
    /LlavaNext.*supported: LlavaForConditionalGeneration, LlamaForCausalLM, MistralForCausalLM, LlavaLlamaForCausalLM/,
  ],
  ['quantised weights', withConfig({ quantization_config: { quant_method: 'awq' } }), /quantization_config/],
  ['another language model', withText({ model_type: 'qwen2' }), /"qwen2".*supported: llama, mistral/],
  ['another text activation', withText({ hidden_act: 'gelu' }), /supported: silu/],
  ['biases in the attention', withText({ attention_bias: true }), /attention_bias/],
  ['biases in the MLP', withText({ mlp_bias: true }), /mlp_bias/],
  [
    'yarn',
    withText({ rope_parameters: { rope_type: 'yarn', factor: 4, rope_theta: 1e4 } }),
    /"yarn".*default, linear, llama3/,
  ],
  ['a partial rotation', withText({ partial_rotary_factor: 0.5 }), /partial_rotary_factor/],
  ['another vision activation', withVision({ hidden_act: 'gelu_new' }), /quick_gelu, gelu/],
  ['four channels', withVision({ num_channels: 4 }), /colour channels/],
  ['an oblong image', withVision({ image_size: [4, 6] }), /not square/],
  ['several feature layers', withConfig({ vision_feature_layer: [-2, -1] }), /one layer/],
  ['another select strategy', withConfig({ vision_feature_select_strategy: 'cls' }), /default, full/],
  ['another projector activation', withConfig({ projector_hidden_act: 'relu' }), /supported: gelu/],
  ['a projector without biases', withConfig({ multimodal_projector_bias: false }), /biases/],
  [
    'a tensor of another model',
    checkpoint(new Map([...all, ['language_model.layers.0.self_attn.q_norm.weight', [8]]])),
    /q_norm/,
  ],
  [
    'a bias beside a projection',
    checkpoint(new Map([...all, ['language_model.layers.0.self_attn.q_proj.bias', [32]]])),
    /q_proj\.bias/,
  ],
  ['F8 weights', checkpoint(all, savedName, 'F8_E4M3'), /F8_E4M3.*F32, F16, BF16/],
]

const without = (name: string): Shapes => new Map([...all].filter(([each]) => each !== name))

const reshaped = (name: string, shape: readonly number[]): Shapes => new Map([...all, [name, shape]])

const corrupt: readonly (readonly [what: string, files: Files, message: RegExp, cause?: RegExp])[] = [
  [
    'a config.json that is not JSON',
    { ...checkpoint(), 'config.json': '{' },
    /config\.json: is not valid JSON/,
    /JSON/,
  ],
  ['a config.json that is a list', { ...checkpoint(), 'config.json': [] }, /JSON object/],
  ['a hidden size in words', withText({ hidden_size: 'large' }), /hidden_size.*whole number.*"large"/],
  ['no heads', withText({ num_attention_heads: 0 }), /num_attention_heads/],
  ['a hidden size unlike its tensors', withText({ hidden_size: 64 }), /hidden size.*64.*32/],
  ['an MLP size unlike its tensors', withText({ intermediate_size: 65 }), /intermediate size/],
  ['key heads unlike its tensors', withText({ num_key_value_heads: 4 }), /key\/value heads/],
  ['more layers than its tensors', withText({ num_hidden_layers: 3 }), /3 layers.*hold 2/],
  ['an image size unlike its position table', withVision({ image_size: 8 }), /17 positions.*has 5/],
  ['a patch size unlike its tensors', withVision({ patch_size: 4 }), /patch size/],
  ['a feature layer that the tower lacks', withConfig({ vision_feature_layer: -5 }), /from -4 to 3/],
  ['rope scaling without a factor', withText({ rope_parameters: { rope_type: 'linear' } }), /factor.*missing/],
  [
    'a missing tensor',
    checkpoint(without('language_model.layers.1.mlp.up_proj.weight')),
    /lacks.*layers\.1\.mlp\.up_proj/,
  ],
  ['no output matrix', checkpoint(without('lm_head.weight')), /lm_head.*tie_word_embeddings/],
  [
    'a misshapen tensor',
    checkpoint(reshaped('language_model.layers.1.self_attn.o_proj.weight', [32, 16])),
    /o_proj.*\[32, 16\].*\[32, 32\]/,
  ],
  [
    'a projector for another hidden size',
    checkpoint(reshaped('multi_modal_projector.linear_2.bias', [40])),
    /linear_2\.bias/,
  ],
  [
    'one tensor under two names',
    checkpoint(new Map([...all, ['model.language_model.norm.weight', [32]]])),
    /both stand for language_model\.norm/,
  ],
  [
    'an image token elsewhere in the tokenizer',
    withConfig({ image_token_index: 5000 }),
    /image_token_index.*5000.*269/,
  ],
  [
    'more pieces than embeddings',
    {
      ...checkpoint(),
      'tokenizer.json': {
        ...tokenizerJson,
        model: { ...tokenizerJson.model, vocab: { ...tokenizerJson.model.vocab, zz: 400 } },
      },
    },
    /"zz".*400.*270 rows/,
  ],
  [
    'no language model in its config.json',
    withConfig({ text_config: 'llama' }),
    /`text_config` to be an object, got "llama"/,
  ],
  ['a rope_theta of zero', withText({ rope_parameters: { rope_type: 'default', rope_theta: 0 } }), /rope_theta/],
  ['more sizes than 2^31', withText({ hidden_size: 2 ** 31 }), /hidden_size.*whole number from 1 to 2147483647/],
  ['half a layer', withText({ num_hidden_layers: 1.5 }), /num_hidden_layers.*whole number.*1\.5/],
  [
    'a generation_config.json that is not JSON',
    { ...checkpoint(), 'generation_config.json': '{' },
    /generation_config\.json: is not valid JSON/,
    /JSON/,
  ],
  [
    'a tokenizer.json that is not JSON',
    { ...checkpoint(), 'tokenizer.json': '{"model":' },
    /tokenizer\.json: is not valid JSON/,
    /JSON/,
  ],
  [
    'a chat template that is a number',
    { ...checkpoint(), 'tokenizer_config.json': { chat_template: 7 } },
    /chat_template/,
  ],
]

const plainProcessor = {
  image_processor_type: 'CLIPImageProcessor',
  size: { shortest_edge: 6 },
  crop_size: { height: 4, width: 4 },
  image_mean: [0.5, 0.4, 0.3],
  image_std: [0.5, 0.5, 0.25],
}

const processors: readonly (readonly [what: string, change: object, code: BadInput['code'], message: RegExp])[] = [
  ['a bilinear filter', { resample: 2 }, 'MODEL_UNSUPPORTED', /resampling filter 2/],
  ['a crop unlike the image size', { crop_size: 5 }, 'MODEL_UNSUPPORTED', /crop/],
  ['a resize below the crop', { size: { shortest_edge: 3 } }, 'MODEL_UNSUPPORTED', /shortest_edge|size/],
  ['a resize to no square', { size: { height: 4, width: 5 } }, 'MODEL_UNSUPPORTED', /size/],
  ['no resize', { do_resize: false }, 'MODEL_UNSUPPORTED', /do_resize/],
  ['no crop', { do_center_crop: false }, 'MODEL_UNSUPPORTED', /do_center_crop/],
  ['two means', { image_mean: [0.5, 0.5] }, 'MODEL_CORRUPT', /image_mean/],
  ['a deviation of zero', { image_std: [0.5, 0, 0.5] }, 'MODEL_CORRUPT', /image_std/],
]

const callers: readonly Caller[] = [
  [
    'a checkpoint without model.safetensors',
    'MODEL_NOT_FOUND',
    /neither model\.safetensors nor pytorch_model\.bin/,
    { ...checkpoint(), 'model.safetensors': undefined },
  ],
  [
    'a checkpoint without tokenizer.json',
    'MODEL_NOT_FOUND',
    /tokenizer/,
    { ...checkpoint(), 'tokenizer.json': undefined },
  ],
  [
    'an mmproj beside a checkpoint',
    'INVALID_ARGUMENT',
    /`mmproj` belongs to a GGUF/,
    checkpoint(),
    '',
    { mmproj: 'mmproj.gguf' },
  ],
  [
    'a feature layer beyond the tower, as an option',
    'INVALID_ARGUMENT',
    /visionFeatureLayer/,
    checkpoint(),
    '',
    { visionFeatureLayer: 4 },
  ],
  ['an empty directory', 'MODEL_NOT_FOUND', /neither config\.json.*nor a \.gguf/, {}],
  ['a path where nothing is', 'MODEL_NOT_FOUND', /no such/, {}, 'none'],
  ['a file of a checkpoint', 'MODEL_UNSUPPORTED', /directory/, { 'model.safetensors': '' }, 'model.safetensors'],
  ['a directory with only a safetensors file', 'MODEL_NOT_FOUND', /config\.json/, { 'model.safetensors': '' }],
]

const processed = (change: object): Files => ({
  ...checkpoint(),
  'preprocessor_config.json': { ...plainProcessor, ...change },
})

export const checkpoints: readonly BadInput[] = [
  ...unsupported.map(([what, files, message]): BadInput => ({
    title: `a checkpoint with ${what}`,
    code: 'MODEL_UNSUPPORTED',
    message,
    call: opening(files),
  })),
  ...corrupt.map(([what, files, message, cause]): BadInput => ({
    title: `a checkpoint with ${what}`,
    code: 'MODEL_CORRUPT',
    message,
    ...(cause && { cause }),
    call: opening(files),
  })),
  ...processors.map(([what, change, code, message]): BadInput => ({
    title: `preprocessing with ${what}`,
    code,
    message,
    call: opening(processed(change)),
  })),
  ...callers.map(calling),
]
