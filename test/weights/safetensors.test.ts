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
  await writeFiles(folder, {
    [index]: { metadata: { total_size: 8 }, weight_map: weightMap },
    [weightMap.a]: shard('a'),
    [weightMap.b]: shard('b'),
  })
  const tensors = await readWeights(folder, new Set([index]))
  t.deepEqual(
    tensors?.map(({ name, path: file }) => [name, path.basename(file)]),
    Object.entries(weightMap),
  )
})
