import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { LlavaError } from '../../lib/errors.js'
import { readGgufHeader, type GgufHeader } from '../../lib/weights/gguf.js'
import { ggufFile, type GgufKey } from './gguf-file.js'
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
    [
      Float32Array.of(1, -0.5),
      Int32Array.of(1, -2, 3),
      BigUint64Array.of(7n),
      ['', '▁a'],
      [true, false],
      new Uint8Array(),
    ],
  )
})

test('a header longer than the first read is read to its end', async (t) => {
  const pieces = Array.from({ length: 60_000 }, (_, id) => `piece number ${id}`)
  const { metadata, tensors } = await read(
    t,
    ggufFile({
      keys: [{ key: 'pieces', type: ['string'], value: pieces }],
      tensors: [{ name: 'x', type: 0, ne: [3] }],
    }),
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
