import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { LlavaError } from '../../lib/errors.js'
import { readSafetensorsHeader } from '../../lib/weights/safetensors.js'
import { readWeights } from '../../lib/weights/shards.js'
import type { StoredTensor } from '../../lib/weights/stored-tensor.js'
import { safetensorsBytes, safetensorsFile } from './safetensors-file.js'
import { temporaryFolder, writeFiles } from './tiny-llava.js'

async function read(t: ExecutionContext, bytes: Buffer): Promise<readonly StoredTensor[]> {
  const file = path.join(await temporaryFolder(t), 'model.safetensors')
  await writeFile(file, bytes)
  return readSafetensorsHeader(file)
}

const entries = [
  { name: 'a', dtype: 'F32', shape: [2, 3] },
  { name: 'b "quoted": {', dtype: 'BF16', shape: [5] },
  { name: 'empty', dtype: 'F16', shape: [0, 4] },
  { name: 'scalar', dtype: 'I64', shape: [] },
]

test('tensors have their shapes, and offsets from the start of the file', async (t) => {
  const bytes = safetensorsFile(entries, { format: 'pt', 'a:b': '{"x":1}' })
  const tensors = await read(t, bytes)
  t.deepEqual(
    tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    entries,
  )
  t.deepEqual(
    tensors.map(({ nbytes }) => nbytes),
    [24, 10, 0, 8],
  )
  t.is(tensors[0]?.offset, bytes.length - 42)
  t.is(tensors[3]?.offset, bytes.length - 8)
})

test('a header padded with spaces is read', async (t) => {
  const tensors = await read(t, safetensorsBytes('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}     ', 4))
  t.is(tensors.length, 1)
})

const entry = (name: string, dtype: string, shape: string, offsets: string): string =>
  `"${name}":{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`
const header = (text: string, dataBytes: number): Buffer => safetensorsBytes(`{${text}}`, dataBytes)
const lengthOf = (nbytes: bigint): Buffer => {
  const bytes = Buffer.alloc(64, '{')
  bytes.writeBigUInt64LE(nbytes)
  return bytes
}

const broken: readonly (readonly [what: string, bytes: Buffer, code: string])[] = [
  ['no bytes', Buffer.alloc(0), 'MODEL_CORRUPT'],
  ['seven bytes', Buffer.alloc(7), 'MODEL_CORRUPT'],
  ['a header longer than the file', lengthOf(57n), 'MODEL_CORRUPT'],
  ['a header longer than any', lengthOf(2n ** 63n), 'MODEL_CORRUPT'],
  ['a header that is not JSON', safetensorsBytes('{"a":', 0), 'MODEL_CORRUPT'],
  ['a header that is a list', safetensorsBytes('[]', 0), 'MODEL_CORRUPT'],
  ['a header that begins with a space', safetensorsBytes(' {}', 0), 'MODEL_CORRUPT'],
  ['a header that is not UTF-8', Buffer.concat([safetensorsBytes('{"', 0).subarray(0, 8), Buffer.of(0x7b, 0xff)]), 'MODEL_CORRUPT'],
  ['a tensor twice', header(`${entry('a', 'F32', '[1]', '[0,4]')},${entry('a', 'F32', '[1]', '[4,8]')}`, 8), 'MODEL_CORRUPT'],
  ['a tensor twice, once escaped', header(`${entry('a', 'F32', '[1]', '[0,4]')},${entry('\\u0061', 'F32', '[1]', '[0,4]')}`, 4), 'MODEL_CORRUPT'],
  ['an entry that is a number', header('"a":1', 0), 'MODEL_CORRUPT'],
  ['no dtype', header('"a":{"shape":[1],"data_offsets":[0,4]}', 4), 'MODEL_CORRUPT'],
  ['a negative dimension', header(entry('a', 'F32', '[-1]', '[0,4]'), 4), 'MODEL_CORRUPT'],
  ['a fractional dimension', header(entry('a', 'F32', '[0.5,2]', '[0,4]'), 4), 'MODEL_CORRUPT'],
  ['dimensions whose product overflows', header(entry('a', 'F32', '[4294967296,4294967296]', '[0,4]'), 4), 'MODEL_CORRUPT'],
  ['three offsets', header(entry('a', 'F32', '[1]', '[0,4,8]'), 8), 'MODEL_CORRUPT'],
  ['offsets in reverse', header(entry('a', 'F32', '[1]', '[4,0]'), 4), 'MODEL_CORRUPT'],
  ['bytes that do not fit the shape', header(entry('a', 'F32', '[2]', '[0,4]'), 4), 'MODEL_CORRUPT'],
  ['an unknown dtype', header(entry('a', 'Q9', '[1]', '[0,4]'), 4), 'MODEL_UNSUPPORTED'],
  ['a hole', header(`${entry('a', 'F32', '[1]', '[0,4]')},${entry('b', 'F32', '[1]', '[8,12]')}`, 12), 'MODEL_CORRUPT'],
  ['an overlap', header(`${entry('a', 'F32', '[2]', '[0,8]')},${entry('b', 'F32', '[2]', '[4,12]')}`, 12), 'MODEL_CORRUPT'],
  ['data cut short', header(entry('a', 'F32', '[2]', '[0,8]'), 7), 'MODEL_CORRUPT'],
  ['data left over', header(entry('a', 'F32', '[2]', '[0,8]'), 9), 'MODEL_CORRUPT'],
]

for (const [what, bytes, code] of broken) {
  test(`safetensors with ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(read(t, bytes), { instanceOf: LlavaError, code })
  })
}

test('a safetensors file with flipped bits opens or fails with a typed error', async (t) => {
  const sample = safetensorsFile(entries)
  const file = path.join(await temporaryFolder(t), 'model.safetensors')
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: sample.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
      const bytes = Buffer.from(sample)
      bytes[at] = (bytes[at] ?? 0) ^ mask
      await writeFile(file, bytes)
      await readSafetensorsHeader(file).catch((error: unknown) => t.true(error instanceof LlavaError, String(error)))
    }),
    { numRuns: 300 },
  )
  t.pass()
})

const index = 'model.safetensors.index.json'
const shard = (name: string): Buffer => safetensorsFile([{ name, dtype: 'F32', shape: [1] }])

test('the index says which shard each tensor is in', async (t) => {
  const folder = await temporaryFolder(t)
  const weightMap = { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' }
  await writeFiles(folder, { [index]: { metadata: { total_size: 8 }, weight_map: weightMap }, [weightMap.a]: shard('a'), [weightMap.b]: shard('b') })
  const tensors = await readWeights(folder, new Set([index]))
  t.deepEqual(
    tensors?.map(({ name, path: file }) => [name, path.basename(file)]),
    Object.entries(weightMap),
  )
})

const brokenIndices: readonly (readonly [what: string, index: unknown, code: string])[] = [
  ['no weight_map', {}, 'MODEL_CORRUPT'],
  ['a list for its weight_map', { weight_map: [] }, 'MODEL_CORRUPT'],
  ['a shard outside the directory', { weight_map: { a: '../a.safetensors' } }, 'MODEL_CORRUPT'],
  ['a shard in a folder', { weight_map: { a: 'x/a.safetensors' } }, 'MODEL_CORRUPT'],
  ['a shard by its absolute path', { weight_map: { a: '/a.safetensors' } }, 'MODEL_CORRUPT'],
  ['a shard that is another kind of file', { weight_map: { a: 'config.json' } }, 'MODEL_CORRUPT'],
  ['a shard that is not there', { weight_map: { a: 'b.safetensors' } }, 'MODEL_NOT_FOUND'],
  ['a tensor that its shard lacks', { weight_map: { b: 'a.safetensors' } }, 'MODEL_CORRUPT'],
  ['text that is not JSON', '{', 'MODEL_CORRUPT'],
]

for (const [what, content, code] of brokenIndices) {
  test(`a safetensors index with ${what} fails with ${code}`, async (t) => {
    const folder = await temporaryFolder(t)
    await writeFiles(folder, { [index]: content, 'a.safetensors': shard('a') })
    await t.throwsAsync(readWeights(folder, new Set([index])), { instanceOf: LlavaError, code })
  })
}
