import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { LlavaError } from '../../lib/errors.js'
import { readGgufHeader, type GgufHeader } from '../../lib/weights/gguf.js'
import { ggufFile, string, u32, u64, type GgufKey, type GgufParts } from './gguf-file.js'
import { temporaryFolder } from './tiny-llava.js'

async function read(t: ExecutionContext, bytes: Buffer): Promise<GgufHeader> {
  const file = path.join(await temporaryFolder(t), 'model.gguf')
  await writeFile(file, bytes)
  return readGgufHeader(file)
}

const scalars: readonly (GgufKey & { readonly read?: unknown })[] = [
  { key: 'a', type: 'u8', value: 200 },
  { key: 'b', type: 'i8', value: -100 },
  { key: 'c', type: 'u16', value: 60_000 },
  { key: 'd', type: 'i16', value: -30_000 },
  { key: 'e', type: 'u32', value: 4_000_000_000 },
  { key: 'f', type: 'i32', value: -2_000_000_000 },
  { key: 'g', type: 'f32', value: 0.5 },
  { key: 'h', type: 'f64', value: 0.1 },
  { key: 'i', type: 'bool', value: true },
  { key: 'j', type: 'string', value: 'Käse ▁ 🧀' },
  { key: 'k', type: 'u64', value: 5n, read: 5 },
  { key: 'l', type: 'u64', value: 2n ** 60n },
  { key: 'm', type: 'i64', value: -(2n ** 60n) },
]

test('every scalar type of a key reads back as written', async (t) => {
  const { metadata } = await read(t, ggufFile({ keys: scalars }))
  for (const { key, value, read: expected } of scalars) t.is<unknown, unknown>(metadata.get(key), expected ?? value)
})

test('arrays read back as typed arrays, strings and booleans as plain ones', async (t) => {
  const keys: GgufKey[] = [
    { key: 'floats', type: ['f32'], value: [1, -0.5] },
    { key: 'ints', type: ['i32'], value: [1, -2, 3] },
    { key: 'long', type: ['u64'], value: [7n] },
    { key: 'strings', type: ['string'], value: ['', '▁a'] },
    { key: 'flags', type: ['bool'], value: [true, false] },
    { key: 'none', type: ['u8'], value: [] },
  ]
  const { metadata } = await read(t, ggufFile({ keys }))
  t.deepEqual(
    [...metadata.values()],
    [Float32Array.of(1, -0.5), Int32Array.of(1, -2, 3), BigUint64Array.of(7n), ['', '▁a'], [true, false], new Uint8Array()],
  )
})

test('a header longer than the first read is read to its end', async (t) => {
  const pieces = Array.from({ length: 60_000 }, (_, id) => `piece number ${id}`)
  const { metadata, tensors } = await read(
    t,
    ggufFile({ keys: [{ key: 'pieces', type: ['string'], value: pieces }], tensors: [{ name: 'x', type: 0, ne: [3] }] }),
  )
  t.deepEqual(metadata.get('pieces'), pieces)
  t.is(tensors[0]?.nbytes, 12)
})

for (const version of [2, 3]) {
  test(`tensors of a version ${version} file have row-major shapes, absolute offsets and the bytes of their blocks`, async (t) => {
    const bytes = ggufFile({
      version,
      tensors: [
        { name: 'a', type: 2, ne: [64, 3] },
        { name: 'b', type: 30, ne: [5] },
      ],
    })
    const { tensors } = await read(t, bytes)
    t.deepEqual(
      tensors.map(({ name, dtype, shape, nbytes }) => [name, dtype, shape, nbytes]),
      [
        ['a', 'Q4_0', [3, 64], 108],
        ['b', 'BF16', [5], 10],
      ],
    )
    const [a, b] = tensors
    t.is((a?.offset ?? 1) % 32, 0)
    t.is((b?.offset ?? 0) - (a?.offset ?? 0), 128)
    t.is((b?.offset ?? 0) + 10, bytes.length)
  })
}

test('general.alignment decides where the data begins', async (t) => {
  const keys: GgufKey[] = [{ key: 'general.alignment', type: 'u32', value: 256 }]
  const { tensors } = await read(t, ggufFile({ alignment: 256, keys, tensors: [{ name: 'a', type: 0, ne: [1] }] }))
  t.is(tensors[0]?.offset, 256)
})

const one = { name: 'a', type: 0, ne: [8] } as const
const head = (version: number, tensors: bigint, keys: bigint): Buffer => Buffer.concat([Buffer.from('GGUF'), u32(version), u64(tensors), u64(keys)])
const key = (name: string, type: number, value: Buffer): Buffer => Buffer.concat([head(3, 0n, 1n), string(name), u32(type), value])
const parts = (broken: GgufParts): Buffer => ggufFile(broken)

const broken: readonly (readonly [what: string, bytes: Buffer, code: string])[] = [
  ['an empty file', Buffer.alloc(0), 'MODEL_CORRUPT'],
  ['another format', Buffer.from('PK\x03\x04 and more than that'), 'MODEL_CORRUPT'],
  ['version 1', head(1, 0n, 0n), 'MODEL_UNSUPPORTED'],
  ['version 4', head(4, 0n, 0n), 'MODEL_UNSUPPORTED'],
  ['a big-endian version', head(0x0300_0000, 0n, 0n), 'MODEL_UNSUPPORTED'],
  ['more tensors than bytes', parts({ tensorCount: 2n ** 40n }), 'MODEL_CORRUPT'],
  ['more key-values than bytes', parts({ keyCount: 2n ** 63n }), 'MODEL_CORRUPT'],
  ['a key-value that is not there', parts({ keyCount: 1n, tensors: [one] }), 'MODEL_CORRUPT'],
  ['a key of 70,000 bytes', parts({ keys: [{ key: 'k'.repeat(70_000), type: 'u8', value: 1 }] }), 'MODEL_CORRUPT'],
  ['a string longer than the file', key('k', 8, u64(1000n)), 'MODEL_CORRUPT'],
  ['a string of 2^64 - 1 bytes', key('k', 8, u64(2n ** 64n - 1n)), 'MODEL_CORRUPT'],
  ['an unknown value type', key('k', 13, u64(0n)), 'MODEL_CORRUPT'],
  ['an unknown element type', key('k', 9, Buffer.concat([u32(99), u64(0n)])), 'MODEL_CORRUPT'],
  ['arrays in an array', key('k', 9, Buffer.concat([u32(9), u64(1n), u32(4), u64(0n)])), 'MODEL_UNSUPPORTED'],
  ['an array longer than the file', key('k', 9, Buffer.concat([u32(12), u64(2n ** 50n)])), 'MODEL_CORRUPT'],
  ['a string array longer than the file', key('k', 9, Buffer.concat([u32(8), u64(2n ** 33n)])), 'MODEL_CORRUPT'],
  ['a boolean that is 2', key('k', 7, Buffer.of(2)), 'MODEL_CORRUPT'],
  [
    'a key twice',
    parts({
      keys: [
        { key: 'k', type: 'u8', value: 1 },
        { key: 'k', type: 'u8', value: 1 },
      ],
    }),
    'MODEL_CORRUPT',
  ],
  ['a tensor twice', parts({ tensors: [one, one] }), 'MODEL_CORRUPT'],
  ['a tensor name of 100 bytes', parts({ tensors: [{ ...one, name: 'n'.repeat(100) }] }), 'MODEL_CORRUPT'],
  ['no dimension', parts({ tensors: [{ ...one, ne: [] }] }), 'MODEL_CORRUPT'],
  ['five dimensions', parts({ tensors: [{ ...one, ne: [1, 1, 1, 1, 1] }] }), 'MODEL_CORRUPT'],
  ['a dimension of 0', parts({ tensors: [{ ...one, ne: [8, 0] }] }), 'MODEL_CORRUPT'],
  ['a product of dimensions beyond 2^64', parts({ tensors: [{ ...one, ne: [2n ** 40n, 2n ** 40n] }] }), 'MODEL_CORRUPT'],
  ['a dimension beyond 2^53', parts({ tensors: [{ ...one, ne: [2n ** 63n] }] }), 'MODEL_CORRUPT'],
  ['rows that do not divide into blocks', parts({ tensors: [{ name: 'a', type: 2, ne: [48, 2] }] }), 'MODEL_CORRUPT'],
  ['an unknown tensor type', parts({ tensors: [{ ...one, type: 4 }] }), 'MODEL_UNSUPPORTED'],
  ['an offset that is not aligned', parts({ tensors: [{ ...one, offset: 8 }] }), 'MODEL_CORRUPT'],
  ['an offset beyond the file', parts({ tensors: [{ ...one, offset: 1 << 20 }] }).subarray(0, 200), 'MODEL_CORRUPT'],
  ['data one byte short', parts({ tensors: [one] }).subarray(0, -1), 'MODEL_CORRUPT'],
  [
    'tensors that overlap',
    parts({
      tensors: [
        { ...one, ne: [16] },
        { ...one, name: 'b', offset: 32 },
      ],
    }),
    'MODEL_CORRUPT',
  ],
  ['an alignment of 24', parts({ keys: [{ key: 'general.alignment', type: 'u32', value: 24 }] }), 'MODEL_CORRUPT'],
  ['an alignment of 0', parts({ keys: [{ key: 'general.alignment', type: 'u32', value: 0 }] }), 'MODEL_CORRUPT'],
]

for (const [what, bytes, code] of broken) {
  test(`GGUF with ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(read(t, bytes), { instanceOf: LlavaError, code })
  })
}

const sample = ggufFile({
  keys: [...scalars, { key: 'list', type: ['string'], value: ['a', 'bc'] }],
  tensors: [one, { name: 'b', type: 8, ne: [32, 2] }],
})

test('a GGUF file cut anywhere fails with MODEL_CORRUPT', async (t) => {
  const file = path.join(await temporaryFolder(t), 'model.gguf')
  for (let length = 0; length < sample.length; length++) {
    await writeFile(file, sample.subarray(0, length))
    await t.throwsAsync(readGgufHeader(file), { instanceOf: LlavaError, code: 'MODEL_CORRUPT' }, `cut at ${length}`)
  }
})

test('a GGUF file with flipped bits opens or fails with a typed error', async (t) => {
  const file = path.join(await temporaryFolder(t), 'model.gguf')
  const flip = fc.record({ at: fc.nat({ max: sample.length - 1 }), mask: fc.integer({ min: 1, max: 255 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(flip, { minLength: 1, maxLength: 4 }), async (flips) => {
      const bytes = Buffer.from(sample)
      for (const { at, mask } of flips) bytes[at] = (bytes[at] ?? 0) ^ mask
      await writeFile(file, bytes)
      await readGgufHeader(file).catch((error: unknown) => t.true(error instanceof LlavaError, String(error)))
    }),
    { numRuns: 300 },
  )
  t.pass()
})

test('a count that cannot fit into the file is refused before anything is made of it', async (t) => {
  for (const bytes of [ggufFile({ tensorCount: 1000n }), ggufFile({ keyCount: 1000n }), key('k', 9, Buffer.concat([u32(8), u64(1000n)]))]) {
    await t.throwsAsync(read(t, bytes), { code: 'MODEL_CORRUPT', message: /1000 .* cannot fit/ })
  }
})
