// Command lines that are wrong, or ask for what cannot be had.

import path from 'node:path'
import { goldenCase } from '../tiny-model.js'
import type { BadInput } from './row.js'

export interface BadCommand extends Pick<BadInput, 'title' | 'code' | 'message'> {
  /** `FOLDER` stands for an empty folder of the row's own. */
  readonly args: readonly string[]
}

const { model, picture, prompt } = goldenCase('hf-f32')
const tiny = ['--model', model, '--threads', '1']
const ask = (...flags: readonly string[]): readonly string[] => ['ask', 'What?', ...tiny, ...flags]
const embed = (...args: readonly string[]): readonly string[] => ['embed', ...args, ...tiny]
const out = path.join('FOLDER', 'out.gguf')

/** Exit status 2. */
const wrongUsage: readonly (readonly [title: string, message: RegExp, args: readonly string[]])[] = [
  ['an unknown verb', /unknown command 'sing'/, ['sing']],
  ['an unknown option', /unknown option '--colour'/, ['ask', 'What?', '--colour', 'red']],
  ['a misspelt option', /unknown option '--max-token'.*--max-tokens/, ['ask', 'What?', '--max-token', '3']],
  ['an option without its value', /'-m, --model <path>' argument missing/, ['ask', 'What?', '--model']],
  [
    'a number that is none',
    /--max-tokens <n>' argument 'many' is invalid\. It is not a whole number/,
    ['ask', 'What?', '--max-tokens', 'many'],
  ],
  [
    'a number with a unit',
    /--top-p <p>' argument '90%' is invalid\. It is not a number/,
    ['ask', 'What?', '--top-p', '90%'],
  ],
  ['an unknown instruction set', /Allowed choices are auto, scalar, .*avx512/, ['ask', 'What?', '--isa', 'sse']],
  ['an unknown type of keys and values', /Allowed choices are f16, f32, q8_0/, ['ask', 'What?', '--kv-cache', 'q8']],
  ['an unknown aspect ratio', /Allowed choices are pad, crop/, ['ask', 'What?', '--image-aspect-ratio', 'anyres']],
  ['an unknown way to show pictures', /--show \[how\]' argument 'fax' is invalid/, ['ask', 'What?', '--show', 'fax']],
  ['a value out of range', /--top-p to be a number in \(0, 1\], got 1\.5/, ask('--top-p', '1.5')],
  ['no tokens', /--max-tokens to be a whole number of at least 1, got 0/, ask('--max-tokens', '0')],
  [
    'no threads',
    /--threads to be a whole number in \[1, 1024\], got 0/,
    ['ask', 'What?', '--model', model, '--threads', '0'],
  ],
  ['an unknown template', /--template to be one of .* got "alpaca"/, ask('--template', 'alpaca')],
  ['an empty stop string', /--stop to be a non-empty string/, ask('--stop', '')],
  ['a bias without its number', /It is not TOKEN=NUMBER/, ask('--logit-bias', 'red')],
  ['a bias whose number is none', /It is not a number/, ask('--logit-bias', 'red=much')],
  ['a bias for several tokens', /single tokens, got "red star"/, ask('--logit-bias', 'red star=1')],
  ['log-probabilities that nobody would see', /--logprobs needs --json/, ask('--logprobs', '2')],
  ['a look at nothing', /a picture and a question are needed/, ['look', 'What?', '--out', 'a.png']],
  [
    'a look that nobody would see',
    /--out FILE says where the picture goes; or take --json/,
    ['look', picture, 'What?'],
  ],
  ['a look in another format', /the name ends in \.png or \.svg/, ['look', picture, 'What?', '--out', 'a.jpg']],
  [
    'a look at a picture that is not there',
    /--picture: there are 1/,
    ['look', picture, 'What?', '--out', 'a.png', '--picture', '1'],
  ],
  ['a layer that is none', /It is not a whole number/, ['look', picture, 'What?', '--out', 'a.png', '--layers', '1,x']],
  ['a picture without a question', /a question is missing after the picture/, ['ask', picture, ...tiny]],
  [
    'a question before its picture',
    /the question comes last: llava ask .*picture\.png "What is this\?"/,
    ['ask', 'What is this?', picture, ...tiny],
  ],
  ['two pictures without a question', /a question is missing after the picture/, ['ask', picture, picture, ...tiny]],
  [
    'a folder to ask about, and no question',
    /is a directory; name the pictures in it, and then the question/,
    ['ask', 'FOLDER', ...tiny],
  ],
  [
    'nothing to ask',
    /a question is missing; pictures, if any, stand before it: llava ask cat\.jpg "What is this\?"/,
    ['ask'],
  ],
  [
    'a picture by ftp',
    /expected `image` to be a path, or a file:, data:, http: or https: URL, got "ftp:/,
    ['ask', 'ftp://example.org/a.png', 'What?', ...tiny],
  ],
  [
    'too few pixels for a picture',
    /expected --max-pixels to be a whole number of at least 1, got 0/,
    ask('--max-pixels', '0'),
  ],
  [
    'an endless wait',
    /expected --timeout-ms to be a whole number in \[1, 2147483647\], got 0/,
    embed(picture, '--kind', 'projected', '--timeout-ms', '0'),
  ],
  ['stdin for two things', /stdin can be read once/, ['ask', '-', '-', 'What?', ...tiny]],
  ['each of no pictures', /--each needs pictures/, ask('--each')],
  ['no answers', /--answers to be a whole number in \[1, 512\], got 0/, ask('--answers', '0')],
  ['an mmproj beside a checkpoint', /--mmproj belongs to a GGUF/, ask('--mmproj', 'mmproj.gguf')],
  [
    'a vision layer that the tower lacks',
    /expected --vision-feature-layer to be from -4 to 3/,
    ask('--vision-feature-layer', '99'),
  ],
  ['no picture to trace', /missing required argument 'image'/, ['trace', '--prompt', 'x', '--out', 'x']],
  ['no file for a trace', /required option '-o, --out <file>' not specified/, ['trace', picture, '--prompt', prompt]],
  ['no prompt for a trace', /required option '-p, --prompt <text>' not specified/, ['trace', picture, '--out', 'x']],
  [
    'a trace of a prompt without a picture',
    /--prompt to hold `<image>` once, it holds it 0 times/,
    ['trace', picture, '--prompt', 'x', '--out', path.join('FOLDER', 'x.safetensors'), ...tiny],
  ],
  ['no kind of vector', /required option '-k, --kind <kind>' not specified/, embed(picture)],
  ['an unknown kind of vector', /--kind <kind>' argument 'soul' is invalid/, embed(picture, '--kind', 'soul')],
  ['a vector of pictures without one', /projected takes pictures, and no --text/, embed('--kind', 'projected')],
  [
    'a text for a vector of pictures',
    /projected takes pictures, and no --text/,
    embed(picture, '--text', 'red', '--kind', 'projected'),
  ],
  ['a vector of texts without one', /hidden_last takes --text/, embed('--kind', 'hidden_last')],
  [
    'two texts for one picture',
    /one --text for all pictures, or several without pictures/,
    embed(picture, '--text', 'red', '--text', 'blue', '--kind', 'hidden_last'),
  ],
  [
    'a picture for clip_text',
    /clip_text takes --text, and no pictures/,
    embed(picture, '--text', 'red', '--kind', 'clip_text'),
  ],
  [
    'clip_text without a CLIP',
    /needs a model opened with the option --clip/,
    embed('--text', 'red', '--kind', 'clip_text'),
  ],
  [
    'shards of a single file',
    /--shard-size and --retry-errors need --out with a directory/,
    embed(picture, '--kind', 'projected', '--out', 'v.npy', '--shard-size', '5'),
  ],
  [
    'shards of no size',
    /expected --shard-size to be a whole number of at least 1, got 0/,
    embed(picture, '--kind', 'projected', '--out', 'v', '--shard-size', '0'),
  ],
  [
    'vectors of base64 in a file',
    /--dtype <dtype>' argument 'base64' is invalid/,
    embed(picture, '--kind', 'projected', '--out', 'v.npy', '--dtype', 'base64'),
  ],
  [
    'a picture without a name in a directory',
    /a picture from stdin has no name/,
    embed('-', '--kind', 'projected', '--out', 'v'),
  ],
  ['a picture and a list from stdin', /stdin can be read once/, embed('-', '--list', '-', '--kind', 'projected')],
  [
    'a list that is not there',
    /--list no\/such\.txt: it cannot be read \(ENOENT\)/,
    embed('--list', 'no/such.txt', '--kind', 'projected'),
  ],
  ['a conversion without a type', /required option '--type <type>' not specified/, ['convert', model, '--out', out]],
  [
    'a conversion to a type that is none',
    /--type <type>' argument 'q9' is invalid/,
    ['convert', model, '--out', out, '--type', 'q9'],
  ],
  [
    'a conversion without a target',
    /required option '-o, --out <path>' not specified/,
    ['convert', model, '--type', 'f16'],
  ],
  ['a conversion of nothing', /missing required argument 'source'/, ['convert', '--out', out, '--type', 'f16']],
  ['a completion for no shell', /missing required argument 'shell'/, ['completion']],
  ['a completion for another shell', /value 'elvish' is invalid for argument 'shell'/, ['completion', 'elvish']],
  [
    'a benchmark of no tokens',
    /--prompt to be a whole number of at least 1, got 0/,
    ['bench', ...tiny, '--prompt', '0'],
  ],
]

/** Exit status 1. */
const failures: readonly (readonly [
  title: string,
  code: BadInput['code'],
  message: RegExp,
  args: readonly string[],
])[] = [
  ['a model that is not there', 'MODEL_NOT_FOUND', /no\/such\/model/, ['info', '--model', 'no/such/model']],
  ['a model that is none', 'MODEL_CORRUPT', /picture\.png: not a GGUF file/, ['info', '--model', picture]],
  ['a folder without a model', 'MODEL_NOT_FOUND', /neither config\.json/, ['info', '--model', 'FOLDER']],
  ['an adapter that is not there', 'MODEL_NOT_FOUND', /no such adapter/, ask('--adapter', 'no/such/adapter')],
  ['a picture that is not there', 'IMAGE_UNREADABLE', /no\/such\.png/, ['ask', 'no/such.png', 'What?', ...tiny]],
  [
    'a vector of a picture that is not there',
    'IMAGE_UNREADABLE',
    /no\/such\.png/,
    embed('no/such.png', '--kind', 'projected'),
  ],
  [
    'a folder for a picture',
    'IMAGE_UNREADABLE',
    /it is a directory; name the pictures in it/,
    ['ask', 'FOLDER', 'What?', ...tiny],
  ],
  [
    'a picture with too many pixels',
    'IMAGE_TOO_LARGE',
    /more than the 10 allowed; raise --max-pixels/,
    ['ask', picture, 'What?', ...tiny, '--max-pixels', '10'],
  ],
  [
    'a device longer than it may be',
    'IMAGE_TOO_LARGE',
    /longer than the 1000 bytes that --max-bytes allows/,
    ['ask', '/dev/zero', 'What?', ...tiny, '--max-bytes', '1000'],
  ],
  [
    'a picture at a private address',
    'IMAGE_UNREADABLE',
    /set --allow-private-network if/,
    ['ask', 'http://127.0.0.1:1/a.png', 'What?', ...tiny],
  ],
  [
    'a question beyond the context',
    'CONTEXT_OVERFLOW',
    /more than the model's context of 256/,
    ['ask', 'red '.repeat(400), ...tiny],
  ],
  [
    'vectors to where no directory is',
    'OUTPUT_FAILED',
    /v\.npy: its directory is not there/,
    embed(picture, '--kind', 'projected', '--out', path.join('FOLDER', 'none', 'v.npy')),
  ],
  [
    'a trace to where no directory is',
    'OUTPUT_FAILED',
    /x\.safetensors: its directory is not there/,
    [
      'trace',
      picture,
      '--prompt',
      prompt,
      '--max-tokens',
      '1',
      '--out',
      path.join('FOLDER', 'none', 'x.safetensors'),
      ...tiny,
    ],
  ],
  [
    'a conversion to where no directory is',
    'OUTPUT_FAILED',
    /directory is not there/,
    ['convert', model, '--type', 'f16', '--out', path.join('FOLDER', 'none', 'out.gguf')],
  ],
]

export const commands: readonly BadCommand[] = [
  ...wrongUsage.map(([title, message, args]): BadCommand => ({ title, code: 'INVALID_ARGUMENT', message, args })),
  ...failures.map(([title, code, message, args]): BadCommand => ({ title, code, message, args })),
]
