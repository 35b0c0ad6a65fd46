// safetensors files, and indices of their shards, that contradict the format or themselves.

import { safetensorsBytes, safetensorsFile } from '../weights/safetensors-file.js'
import { checkpoint } from '../weights/tiny-llava.js'
import { opening, type BadInput } from './row.js'

const entry = (name: string, dtype: string, shape: string, offsets: string): string =>
  `"${name}":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`
const header = (text: string, dataBytes: number): Buffer => safetensorsBytes(`{${text}}`, dataBytes)
const lengthOf = (nbytes: bigint): Buffer => {
  const bytes = Buffer.alloc(64, '{')
  bytes.writeBigUInt64LE(nbytes)
  return bytes
}

const files: readonly (readonly [what: string, bytes: Buffer, message: RegExp, cause?: RegExp])[] = [
  ['no bytes', Buffer.alloc(0), /0 bytes are too few/],
  ['seven bytes', Buffer.alloc(7), /7 bytes are too few/],
  ['a header longer than the file', lengthOf(57n), /its header should have 57 bytes/],
  ['a header longer than any', lengthOf(2n ** 63n), /a header of 9223372036854775808 bytes/],
  ['a header that is not JSON', safetensorsBytes('{"a":', 0), /model\.safetensors, header: is not valid JSON/, /JSON/],
  [
    'a header nested 100,000 deep',
    safetensorsBytes(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 0),
    /header: nests its values more than 64 deep/,
  ],
  ['a header that is a list', safetensorsBytes('[]', 0), /not a JSON object/],
  ['a header that begins with a space', safetensorsBytes(' {}', 0), /not a JSON object/],
  [
    'a header that is not UTF-8',
    Buffer.concat([safetensorsBytes('{"', 0).subarray(0, 8), Buffer.of(0x7b, 0xff)]),
    /not UTF-8/,
  ],
  ['a tensor twice', header(`${entry('a', 'F32', '[1]', '[0,4]')},${entry('a', 'F32', '[1]', '[4,8]')}`, 8), /twice/],
  [
    'a tensor twice, once escaped',
    header(`${entry('a', 'F32', '[1]', '[0,4]')},${entry('\\u0061', 'F32', '[1]', '[0,4]')}`, 4),
    /twice/,
  ],
  ['an entry that is a number', header('"a":1', 0), /expected a JSON object, got 1/],
  ['no dtype', header('"a":{"shape":[1],"data_offsets":[0,4]}', 4), /`dtype` is missing/],
  [
    'a dtype that is a number',
    header('"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}', 4),
    /`dtype` to be a string, got 32/,
  ],
  ['no shape', header('"a":{"dtype":"F32","data_offsets":[0,4]}', 4), /`shape` is missing/],
  ['no offsets', header('"a":{"dtype":"F32","shape":[1]}', 4), /`data_offsets` is missing/],
  ['a negative dimension', header(entry('a', 'F32', '[-1]', '[0,4]'), 4), /`shape` to be a list of sizes, got \[-1\]/],
  ['a fractional dimension', header(entry('a', 'F32', '[0.5,2]', '[0,4]'), 4), /`shape` to be a list of sizes/],
  [
    'a dimension in words',
    header(entry('a', 'F32', '["one"]', '[0,4]'), 4),
    /`shape` to be a list of numbers, got \["one"\]/,
  ],
  [
    'dimensions whose product overflows',
    header(entry('a', 'F32', '[4294967296,4294967296]', '[0,4]'), 4),
    /does not take the 4 bytes/,
  ],
  ['three offsets', header(entry('a', 'F32', '[1]', '[0,4,8]'), 8), /`data_offsets` to be two offsets, got \[0,4,8\]/],
  ['offsets in reverse', header(entry('a', 'F32', '[1]', '[4,0]'), 4), /does not take the -4 bytes/],
  [
    'bytes that do not fit the shape',
    header(entry('a', 'F32', '[2]', '[0,4]'), 4),
    /F32 of shape \[2\] does not take the 4 bytes/,
  ],
  [
    'a hole',
    header(`${entry('a', 'F32', '[1]', '[0,4]')},${entry('b', 'F32', '[1]', '[8,12]')}`, 12),
    /"b" begins at byte \d+, where \d+ was due/,
  ],
  [
    'an overlap',
    header(`${entry('a', 'F32', '[2]', '[0,8]')},${entry('b', 'F32', '[2]', '[4,12]')}`, 12),
    /"b" begins at byte \d+, where \d+ was due/,
  ],
  ['data cut short', header(entry('a', 'F32', '[2]', '[0,8]'), 7), /it may be truncated, fetch it again/],
  ['data left over', header(entry('a', 'F32', '[2]', '[0,8]'), 9), /its tensors end at byte \d+, but the file has \d+/],
]

const index = 'model.safetensors.index.json'
const shard = safetensorsFile([{ name: 'a', dtype: 'F32', shape: [1] }])

const indices: readonly (readonly [
  what: string,
  index: unknown,
  code: BadInput['code'],
  message: RegExp,
  cause?: RegExp,
])[] = [
  ['no weight_map', {}, 'MODEL_CORRUPT', /`weight_map` is missing/],
  ['a list for its weight_map', { weight_map: [] }, 'MODEL_CORRUPT', /`weight_map` to be an object/],
  ['a number for a shard', { weight_map: { a: 7 } }, 'MODEL_CORRUPT', /`a` to be a string, got 7/],
  [
    'a shard outside the directory',
    { weight_map: { a: '../a.safetensors' } },
    'MODEL_CORRUPT',
    /a safetensors file in this directory, got "\.\.\/a\.safetensors"/,
  ],
  [
    'a shard in a folder',
    { weight_map: { a: 'x/a.safetensors' } },
    'MODEL_CORRUPT',
    /in this directory, got "x\/a\.safetensors"/,
  ],
  [
    'a shard by its absolute path',
    { weight_map: { a: '/a.safetensors' } },
    'MODEL_CORRUPT',
    /in this directory, got "\/a\.safetensors"/,
  ],
  [
    'a shard that is another kind of file',
    { weight_map: { a: 'config.json' } },
    'MODEL_CORRUPT',
    /a safetensors file in this directory, got "config\.json"/,
  ],
  [
    'a shard that is not there',
    { weight_map: { a: 'b.safetensors' } },
    'MODEL_NOT_FOUND',
    /b\.safetensors: there is no such file/,
    /ENOENT/,
  ],
  [
    'a tensor that its shard lacks',
    { weight_map: { b: 'a.safetensors' } },
    'MODEL_CORRUPT',
    /lacks tensor "b", which the index places there/,
  ],
  ['text that is not JSON', '{', 'MODEL_CORRUPT', /index\.json: is not valid JSON/, /JSON/],
]

const unknownDtype: BadInput = {
  title: 'safetensors with an unknown dtype',
  code: 'MODEL_UNSUPPORTED',
  message: /tensor "a" has the type Q9; supported: F32, F16, BF16/,
  call: opening({ ...checkpoint(), 'model.safetensors': header(entry('a', 'Q9', '[1]', '[0,4]'), 4) }),
}

export const safetensors: readonly BadInput[] = [
  unknownDtype,
  ...files.map(([what, bytes, message, cause]): BadInput => ({
    title: `safetensors with ${what}`,
    code: 'MODEL_CORRUPT',
    message,
    ...(cause && { cause }),
    call: opening({ ...checkpoint(), 'model.safetensors': bytes }),
  })),
  ...indices.map(([what, content, code, message, cause]): BadInput => ({
    title: `a safetensors index with ${what}`,
    code,
    message,
    ...(cause && { cause }),
    call: opening({ ...checkpoint(), 'model.safetensors': undefined, [index]: content, 'a.safetensors': shard }),
  })),
]
