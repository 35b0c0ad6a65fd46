// Options that are none, or not what the call takes.

import path from 'node:path'
import {
  embedToDirectory,
  type EmbedToDirectoryOptions,
  convertModel,
  LLaVA,
  type AnswerOptions,
  type ConvertOptions,
  type EmbedOptions,
  type EncodeOptions,
  type OpenOptions,
} from '../../lib/index.js'
import { goldenCase } from '../tiny-model.js'
import type { BadInput } from './row.js'

type Rows = readonly (readonly [what: string, options: unknown, message: RegExp])[]

const { model: modelPath } = goldenCase('hf-f32')

const openOptions: Rows = [
  ['options that are null', null, /`options` to be an object with the options of LLaVA\.open\(\), got null/],
  ['options that are a number', 3, /`options` to be an object .* got 3/],
  ['options that are a string', 'fast', /`options` to be an object .* got "fast"/],
  ['options that are a list', [], /`options` to be an object .* got an empty list/],
  ['a misspelt option', { thread: 2 }, /LLaVA\.open\(\) has no option `thread`; it has .*threads/],
  ['an option that every object has', { toString: 1 }, /has no option `toString`/],
  ['no threads', { threads: 0 }, /`threads` to be a whole number in \[1, 1024\], got 0/],
  ['half a thread', { threads: 2.5 }, /`threads` to be a whole number in \[1, 1024\], got 2\.5/],
  ['threads in words', { threads: '2' }, /`threads` to be a whole number in \[1, 1024\], got "2"/],
  ['more threads than any machine has', { threads: 4096 }, /`threads` to be a whole number in \[1, 1024\], got 4096/],
  ['an unknown instruction set', { isa: 'sse' }, /`isa` to be one of 'auto', 'scalar', .*'avx512', .*got "sse"/],
  ['an unknown template', { template: 'alpaca' }, /`template` to be one of 'vicuna_v1'.* got "alpaca"/],
  ['an unknown type of keys', { kvCache: 'q8' }, /`kvCache` to be one of 'f16', 'f32', 'q8_0', got "q8"/],
  ['an unknown arithmetic', { arithmetic: 'slow' }, /`arithmetic` to be one of 'fast', 'exact'/],
  ['an unknown aspect ratio', { imageAspectRatio: 'anyres' }, /`imageAspectRatio` to be one of 'pad', 'crop'/],
  [
    'a vision layer that is a fraction',
    { visionFeatureLayer: -1.5 },
    /`visionFeatureLayer` to be a whole number in \[-1024, 1024\]/,
  ],
  ['an mmproj that is no path', { mmproj: 7 }, /`mmproj` to be a string, got 7/],
  ['an adapter that is no path', { adapter: {} }, /`adapter` to be a string, got an instance of Object/],
  ['a system text that is none', { system: 3 }, /`system` to be a string, got 3/],
  ['a signal that is none', { signal: {} }, /`signal` to be an AbortSignal, got an instance of Object/],
  ['no pixels', { maxPixels: 0 }, /`maxPixels` to be a whole number of at least 1, got 0/],
  ['a flag that is a number', { autoOrient: 1 }, /`autoOrient` to be true or false, got 1/],
]

const answerOptions: Rows = [
  ['maxTokens 0', { maxTokens: 0 }, /`maxTokens` to be a whole number of at least 1, got 0/],
  ['maxTokens in words', { maxTokens: 'many' }, /`maxTokens` to be a whole number of at least 1, got "many"/],
  ['more minTokens than maxTokens', { minTokens: 9, maxTokens: 3 }, /`minTokens` to be at most `maxTokens`, 3, got 9/],
  ['negative minTokens', { minTokens: -1 }, /`minTokens` to be an integer that is 0 or greater, got -1/],
  ['temperature "warm"', { temperature: 'warm' }, /`temperature` to be a number that is 0 or greater, got "warm"/],
  ['a negative temperature', { temperature: -0.1 }, /`temperature` to be a number that is 0 or greater, got -0\.1/],
  [
    'a temperature that is no number',
    { temperature: Number.NaN },
    /`temperature` to be a number that is 0 or greater, got NaN/,
  ],
  [
    'an endless temperature',
    { temperature: Infinity },
    /`temperature` to be a number that is 0 or greater, got Infinity/,
  ],
  ['topK -1', { topK: -1 }, /`topK` to be an integer that is 0 or greater, got -1/],
  ['topK 2.5', { topK: 2.5 }, /`topK` to be an integer that is 0 or greater, got 2\.5/],
  ['topP 0', { topP: 0 }, /`topP` to be a number in \(0, 1\], got 0/],
  ['topP 1.5', { topP: 1.5 }, /`topP` to be a number in \(0, 1\], got 1\.5/],
  ['topP that is no number', { topP: Number.NaN }, /`topP` to be a number in \(0, 1\], got NaN/],
  ['minP 2', { minP: 2 }, /`minP` to be a number in \[0, 1\], got 2/],
  ['minP -0.1', { minP: -0.1 }, /`minP` to be a number in \[0, 1\], got -0\.1/],
  ['typicalP 0', { typicalP: 0 }, /`typicalP` to be a number in \(0, 1\], got 0/],
  ['typicalP 2', { typicalP: 2 }, /`typicalP` to be a number in \(0, 1\], got 2/],
  ['repetitionPenalty 0', { repetitionPenalty: 0 }, /`repetitionPenalty` to be a number greater than 0, got 0/],
  [
    'an endless repetitionPenalty',
    { repetitionPenalty: Infinity },
    /`repetitionPenalty` to be a number greater than 0, got Infinity/,
  ],
  [
    'a presencePenalty that is no number',
    { presencePenalty: Number.NaN },
    /`presencePenalty` to be a finite number, got NaN/,
  ],
  ['a frequencyPenalty in words', { frequencyPenalty: '1' }, /`frequencyPenalty` to be a finite number, got "1"/],
  [
    'an endless frequencyPenalty',
    { frequencyPenalty: Infinity },
    /`frequencyPenalty` to be a finite number, got Infinity/,
  ],
  ['half an n-gram', { noRepeatNgramSize: 0.5 }, /`noRepeatNgramSize` to be an integer that is 0 or greater, got 0\.5/],
  ['a seed that is no integer', { seed: 0.5 }, /`seed` to be an integer, got 0\.5/],
  ['a seed beyond 2^53', { seed: 2 ** 60 }, /`seed` to be an integer, got 1152921504606847000/],
  ['a bias that is a list', { logitBias: [] }, /`logitBias` to be token ids or texts with numbers to add/],
  [
    'a bias that is a Map',
    { logitBias: new Map([[3, 1]]) },
    /`logitBias` to be token ids or texts .* got an instance of Map/,
  ],
  [
    'an endless bias',
    { logitBias: { 3: Infinity } },
    /`logitBias\["3"\]` to be a number to add, or -Infinity, got Infinity/,
  ],
  ['a bias beyond float32', { logitBias: { 3: 1e39 } }, /`logitBias\["3"\]` to be a number to add/],
  ['a bias in words', { logitBias: { 3: '1' } }, /`logitBias\["3"\]` to be a number to add, or -Infinity, got "1"/],
  [
    'a bias for a token beyond the vocabulary',
    { logitBias: { 342: 1 } },
    /`logitBias` to be token ids in \[0, 341\] or texts, got 342/,
  ],
  [
    'a bias for a text of several tokens',
    { logitBias: { 'red star': 1 } },
    /single tokens, got "red star", whose tokens are \d+, \d+/,
  ],
  [
    'a bias that leaves nothing',
    { logitBias: Object.fromEntries(Array.from({ length: 342 }, (_, id) => [id, -Infinity])) },
    /every logit is -Infinity after logit bias/,
  ],
  [
    'a function as logits processor',
    { logitsProcessor: () => undefined },
    /`logitsProcessor` to be an object with a method `process`, got a function/,
  ],
  [
    'an asynchronous logits processor',
    { logitsProcessor: { process: () => Promise.reject(new Error('late')) } },
    /logitsProcessor/,
  ],
  [
    'a logits processor that leaves nothing',
    { logitsProcessor: { process: (z: Float32Array) => z.fill(-Infinity) } },
    /every logit is -Infinity after logit bias, penalties, n-grams and processor/,
  ],
  [
    'a logits processor that writes NaN',
    { logitsProcessor: { process: (z: Float32Array) => z.fill(Number.NaN) } },
    /is not a number after logit bias, penalties, n-grams and processor/,
  ],
  ['an empty stop string', { stop: '' }, /`stop` to be a non-empty string or a list of them, got ""/],
  [
    'a stop string that is a number',
    { stop: ['a', 1] },
    /`stop` to be a non-empty string or a list of them, got a list of 2/,
  ],
  ['21 alternatives', { logprobs: 21 }, /`logprobs` to be a whole number in \[0, 20\], got 21/],
  ['an onProgress that is none', { onProgress: true }, /`onProgress` to be a function, got true/],
  ['a signal that is none', { signal: {} }, /`signal` to be an AbortSignal/],
  ['an unknown template', { template: 'alpaca' }, /`template` to be one of 'vicuna_v1'/],
  ['a system text that is none', { system: null }, /`system` to be a string, got null/],
  ['a misspelt option', { maxtokens: 3 }, /ask\(\) has no option `maxtokens`; it has .*maxTokens/],
  ['a misspelt penalty', { repeatPenalty: 2 }, /ask\(\) has no option `repeatPenalty`/],
  ['an option of pictures', { maxPixels: 3 }, /ask\(\) has no option `maxPixels`/],
]

const encodeOptions: Rows = [
  ['maxPixels 0', { maxPixels: 0 }, /`maxPixels` to be a whole number of at least 1, got 0/],
  ['maxBytes that are no number', { maxBytes: Number.NaN }, /`maxBytes` to be a whole number of at least 1, got NaN/],
  [
    'a time beyond any timer',
    { timeoutMs: 2 ** 31 },
    /`timeoutMs` to be a whole number in \[1, 2147483647\], got 2147483648/,
  ],
  ['a permission that is a number', { allowPrivateNetwork: 1 }, /`allowPrivateNetwork` to be true or false, got 1/],
  ['autoOrient in words', { autoOrient: 'yes' }, /`autoOrient` to be true or false, got "yes"/],
  ['a misspelt option', { maxPixel: 1 }, /encodeImage\(\) has no option `maxPixel`; it has .*maxPixels/],
]

const embedOptions: Rows = [
  ['no kind', {}, /`kind` to be one of 'patch_features', .* got undefined/],
  ['an unknown kind', { kind: 'soul' }, /`kind` to be one of 'patch_features', .* got "soul"/],
  [
    'an unknown dtype',
    { kind: 'projected', dtype: 'f64' },
    /`dtype` to be one of 'f32', 'f16', 'int8', 'binary', 'base64', got "f64"/,
  ],
  [
    'a misspelt option',
    { kind: 'projected', normalise: true },
    /embed\(\) has no option `normalise`; it has .*normalize/,
  ],
]

const directoryOptions: Rows = [
  ['no kind', {}, /`kind` to be one of 'patch_features', .* got undefined/],
  [
    'base64',
    { kind: 'projected', dtype: 'base64' },
    /`dtype` to be one of 'f32', 'f16', 'int8', 'binary', got "base64"/,
  ],
  ['shards of no size', { kind: 'projected', shardSize: 0 }, /`shardSize` to be a whole number of at least 1, got 0/],
  ['names of another kind', { kind: 'projected', names: 'path' }, /`names` to be one of 'image_path', 'caption'/],
  ['settings in a list', { kind: 'projected', settings: { layers: [1] } }, /`settings` to be an object of strings/],
  [
    'a misspelt option',
    { kind: 'projected', shardsize: 1 },
    /embedToDirectory\(\) has no option `shardsize`; it has .*shardSize/,
  ],
]

const convertOptions: Rows = [
  ['no type', {}, /`type` to be one of .* got undefined/],
  ['an unknown type', { type: 'q9' }, /`type` to be one of 'f32'.* got "q9"/],
  ['a type in capitals', { type: 'Q4_0' }, /`type` to be one of .* got "Q4_0"/],
  ['an unknown type of the tower', { type: 'f16', visionType: 'q4_k_m' }, /`visionType` to be one of .* got "q4_k_m"/],
  ['a misspelt option', { type: 'f16', pairs: true }, /convertModel\(\) has no option `pairs`; it has .*pair/],
  ['no threads', { type: 'f16', threads: 0 }, /`threads` to be a whole number in \[1, 1024\]/],
  ['an onProgress that is none', { type: 'f16', onProgress: 1 }, /`onProgress` to be a function, got 1/],
]

const row = (title: string, message: RegExp, call: BadInput['call']): BadInput => ({
  title,
  code: 'INVALID_ARGUMENT',
  message,
  call,
})

export const options: readonly BadInput[] = [
  ...openOptions.map(([what, given, message]) =>
    row(`opening with ${what}`, message, () => LLaVA.open(modelPath, given as OpenOptions)),
  ),
  ...answerOptions.map(([what, given, message]) =>
    row(`asking with ${what}`, message, ({ model }) => model.ask([], 'What?', given as AnswerOptions)),
  ),
  ...encodeOptions.map(([what, given, message]) =>
    row(`encoding with ${what}`, message, ({ model, picture }) => model.encodeImage(picture, given as EncodeOptions)),
  ),
  ...embedOptions.map(([what, given, message]) =>
    row(`embedding with ${what}`, message, ({ model, picture }) => model.embed(picture, given as EmbedOptions)),
  ),
  ...directoryOptions.map(([what, given, message]) =>
    row(`embedding to a directory with ${what}`, message, ({ model, picture, folder }) =>
      embedToDirectory(model, [{ name: 'a', input: picture }], folder, given as EmbedToDirectoryOptions),
    ),
  ),
  ...convertOptions.map(([what, given, message]) =>
    row(`converting with ${what}`, message, ({ folder }) =>
      convertModel(modelPath, path.join(folder, 'out.gguf'), given as ConvertOptions),
    ),
  ),
]
