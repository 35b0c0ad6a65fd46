// GGUF files whose header contradicts the format, or itself.

import { ggufFile, string, u32, u64, type GgufParts } from '../weights/gguf-file.js'
import { opening, type BadInput } from './row.js'

const one = { name: 'a', type: 0, ne: [8] } as const
const twice = { key: 'k', type: 'u8', value: 1 } as const
const alignment = (value: number): GgufParts => ({ keys: [{ key: 'general.alignment', type: 'u32', value }] })
const head = (version: number, tensors: bigint, keys: bigint): Buffer =>
  Buffer.concat([Buffer.from('GGUF'), u32(version), u64(tensors), u64(keys)])
const key = (name: string, type: number, value: Buffer): Buffer =>
  Buffer.concat([head(3, 0n, 1n), string(name), u32(type), value])
const array = (type: number, count: bigint, ...values: readonly Buffer[]): Buffer =>
  key('k', 9, Buffer.concat([u32(type), u64(count), ...values]))

const corrupt: readonly (readonly [what: string, bytes: Buffer, message: RegExp])[] = [
  ['no bytes', Buffer.alloc(0), /first bytes are not "GGUF"/],
  ['a zip archive in it', Buffer.from('PK\x03\x04 and more than that'), /first bytes are not "GGUF"/],
  ['its magic alone', Buffer.from('GGUF'), /ends after 4 bytes, in the middle of a value of 4/],
  ['no counts', Buffer.concat([Buffer.from('GGUF'), u32(3)]), /ends after 8 bytes/],
  ['more tensors than bytes', ggufFile({ tensorCount: 2n ** 40n }), /1099511627776 tensors cannot fit/],
  ['a count of tensors beyond 2^53', ggufFile({ tensorCount: 2n ** 63n }), /beyond 2\^53/],
  ['more key-values than bytes', ggufFile({ keyCount: 2n ** 40n }), /1099511627776 key-values cannot fit/],
  ['a count of key-values beyond 2^53', ggufFile({ keyCount: 2n ** 63n }), /beyond 2\^53/],
  ['a thousand tensors promised and none there', ggufFile({ tensorCount: 1000n }), /1000 tensors cannot fit/],
  ['a thousand key-values promised and none there', ggufFile({ keyCount: 1000n }), /1000 key-values cannot fit/],
  ['a key-value that is not there', ggufFile({ keyCount: 1n, tensors: [one] }), /0 dimensions/],
  [
    'a key of 70,000 bytes',
    ggufFile({ keys: [{ key: 'k'.repeat(70_000), type: 'u8', value: 1 }] }),
    /name of 70000 bytes/,
  ],
  ['a string longer than the file', key('k', 8, u64(1000n)), /in the middle of a value of 1000/],
  ['a string of 2^64 - 1 bytes', key('k', 8, u64(2n ** 64n - 1n)), /beyond 2\^53/],
  ['an unknown value type', key('k', 13, u64(0n)), /key "k" has the unknown value type 13/],
  ['an unknown element type', array(99, 0n), /key "k" has the unknown element type 99/],
  ['an array longer than the file', array(12, 2n ** 50n), /1125899906842624 values of "k" cannot fit/],
  ['a string array longer than the file', array(8, 2n ** 33n), /8589934592 strings of "k" cannot fit/],
  ['a boolean array longer than the file', array(7, 2n ** 33n), /8589934592 values of "k" cannot fit/],
  ['a thousand strings promised and none there', array(8, 1000n), /1000 strings of "k" cannot fit/],
  ['a string array that ends in a string', array(8, 1n, u64(9n)), /in the middle of a value of 9/],
  ['a boolean that is 2', key('k', 7, Buffer.of(2)), /should be true or false, but its byte is 2/],
  ['a boolean array with a 2', array(7, 2n, Buffer.of(1, 2)), /should be true or false, but its byte is 2/],
  ['a key twice', ggufFile({ keys: [twice, twice] }), /key "k" stands there twice/],
  ['a tensor twice', ggufFile({ tensors: [one, one] }), /tensor "a" stands there twice/],
  ['a tensor name of 100 bytes', ggufFile({ tensors: [{ ...one, name: 'n'.repeat(100) }] }), /name of 100 bytes/],
  ['no dimension', ggufFile({ tensors: [{ ...one, ne: [] }] }), /0 dimensions/],
  ['five dimensions', ggufFile({ tensors: [{ ...one, ne: [1, 1, 1, 1, 1] }] }), /5 dimensions/],
  ['a dimension of 0', ggufFile({ tensors: [{ ...one, ne: [8, 0] }] }), /impossible dimensions 8 x 0/],
  [
    'a product of dimensions beyond 2^64',
    ggufFile({ tensors: [{ ...one, ne: [2n ** 40n, 2n ** 40n] }] }),
    /impossible dimensions/,
  ],
  ['a dimension beyond 2^53', ggufFile({ tensors: [{ ...one, ne: [2n ** 63n] }] }), /beyond 2\^53/],
  [
    'rows that do not divide into blocks',
    ggufFile({ tensors: [{ name: 'a', type: 2, ne: [48, 2] }] }),
    /rows of 48 do not divide into Q4_0 blocks of 32/,
  ],
  [
    'an offset that is not aligned',
    ggufFile({ tensors: [{ ...one, offset: 8 }] }),
    /offset 8 is not a multiple of the alignment 32/,
  ],
  [
    'an offset beyond the file',
    ggufFile({ tensors: [{ ...one, offset: 1 << 20 }] }).subarray(0, 200),
    /tensor "a" ends at byte 1048\d+, but the file has 200/,
  ],
  [
    'data one byte short',
    ggufFile({ tensors: [one] }).subarray(0, -1),
    /tensor "a" ends at byte \d+, but the file has \d+; it may be truncated/,
  ],
  [
    'tensors that overlap',
    ggufFile({
      tensors: [
        { ...one, ne: [16] },
        { ...one, name: 'b', offset: 32 },
      ],
    }),
    /tensors "a" and "b" overlap/,
  ],
  ['an alignment of 24', ggufFile(alignment(24)), /`general\.alignment` is not a power of two/],
  ['an alignment of 0', ggufFile(alignment(0)), /`general\.alignment` is not a power of two/],
]

const unsupported: readonly (readonly [what: string, bytes: Buffer, message: RegExp])[] = [
  ['version 1', head(1, 0n, 0n), /GGUF version 1; supported: GGUF versions 2 and 3/],
  ['version 4', head(4, 0n, 0n), /GGUF version 4/],
  ['a big-endian version', head(0x0300_0000, 0n, 0n), /big-endian/],
  ['arrays in an array', array(9, 1n, u32(4), u64(0n)), /arrays in an array/],
  [
    'an unknown tensor type',
    ggufFile({ tensors: [{ ...one, type: 4 }] }),
    /tensor "a" has the unknown type 4; supported: .*Q4_0/,
  ],
]

export const ggufHeaders: readonly BadInput[] = (
  [
    ['MODEL_CORRUPT', corrupt],
    ['MODEL_UNSUPPORTED', unsupported],
  ] as const
).flatMap(([code, rows]) =>
  rows.map(([what, bytes, message]) => ({
    title: `a GGUF with ${what}`,
    code,
    message,
    call: opening({ 'model.gguf': bytes }, 'model.gguf'),
  })),
)
