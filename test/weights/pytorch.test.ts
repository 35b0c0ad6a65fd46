import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { readPytorchFile } from '../../lib/weights/pytorch.js'
import type { StoredTensor } from '../../lib/weights/stored-tensor.js'
import {
  dict,
  int,
  mark,
  orderedDict,
  pickle,
  setItems,
  tensor,
  text,
  torchEntries,
  torchFile,
  zipFile,
} from './pytorch-file.js'
import { temporaryFolder } from './tiny-llava.js'

async function read(t: ExecutionContext, bytes: Buffer): Promise<readonly StoredTensor[]> {
  const file = path.join(await temporaryFolder(t), 'pytorch_model.bin')
  await writeFile(file, bytes)
  return readPytorchFile(file)
}

const values = Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
const one = pickle(dict({ w: tensor() }))

test('a tensor is the range of the file that holds its values', async (t) => {
  const bytes = torchFile(one, { 0: values })
  const [stored] = await read(t, bytes)
  t.like(stored, { name: 'w', dtype: 'F32', shape: [2, 3], nbytes: 24, offset: bytes.indexOf(values) })
})

test('an archive with zip64 numbers and a comment is read', async (t) => {
  const bytes = zipFile({ entries: torchEntries(one, { 0: values }), zip64: true, comment: 'made by hand' })
  t.like((await read(t, bytes))[0], { offset: bytes.indexOf(values), nbytes: 24 })
})

test('tensors may share a storage, each from its own offset', async (t) => {
  const bytes = torchFile(
    pickle(
      dict({
        all: tensor(),
        end: tensor({ elements: 6, shape: [2], offset: int(4) }),
        scalar: tensor({ elements: 6, shape: [] }),
      }),
    ),
    { 0: values },
  )
  const start = bytes.indexOf(values)
  t.deepEqual(
    (await read(t, bytes)).map(({ name, shape, offset, nbytes }) => [name, shape, offset - start, nbytes]),
    [
      ['all', [2, 3], 0, 24],
      ['end', [2], 16, 8],
      ['scalar', [], 0, 4],
    ],
  )
})

test('every storage type of numbers is known by its size', async (t) => {
  const types = {
    FloatStorage: ['F32', 4],
    HalfStorage: ['F16', 2],
    BFloat16Storage: ['BF16', 2],
    DoubleStorage: ['F64', 8],
    LongStorage: ['I64', 8],
    IntStorage: ['I32', 4],
    ShortStorage: ['I16', 2],
    CharStorage: ['I8', 1],
    ByteStorage: ['U8', 1],
    BoolStorage: ['BOOL', 1],
  } as const
  for (const [storage, [dtype, size]] of Object.entries(types)) {
    t.like((await read(t, torchFile(pickle(dict({ w: tensor({ storage }) })), { 0: Buffer.alloc(6 * size) })))[0], {
      dtype,
      nbytes: 6 * size,
    })
  }
})

test('an OrderedDict with torch’s _metadata, and a dictionary under `state_dict`, are read', async (t) => {
  const items = Buffer.concat([mark, text('w'), tensor(), setItems])
  const metadata = dict({
    _metadata: Buffer.concat([orderedDict, mark, text(''), dict({ version: int(1) }), setItems]),
  })
  t.is((await read(t, torchFile(pickle(orderedDict, items, metadata, Buffer.from('b')))))[0]?.name, 'w')
  t.is((await read(t, torchFile(pickle(dict({ epoch: int(3), state_dict: dict({ w: tensor() }) })))))[0]?.name, 'w')
})

test('strides of a dimension with one element do not matter', async (t) => {
  t.is((await read(t, torchFile(pickle(dict({ w: tensor({ shape: [1, 6], strides: [1, 1] }) })))))[0]?.nbytes, 24)
})

test('a file of torch’s own, cut or with a bit turned anywhere, opens or fails with a typed error', async (t) => {
  const whole = readFileSync(
    fileURLToPath(
      new URL(
        '../../../test/fixtures/golden/original-bin/checkpoint/pytorch_model-00002-of-00002.bin',
        import.meta.url,
      ),
    ),
  )
  const file = path.join(await temporaryFolder(t), 'model.bin')
  let [seed, failed] = [1, 0]
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
  for (let round = 0; round < 300; round++) {
    const bytes = round % 3 === 0 ? whole.subarray(0, random(whole.length)) : Buffer.from(whole)
    // Bits of the storages are anybody's: most turns go where the structure is, the pickle in front and the directory at the end.
    const at = round % 3 === 1 ? random(2000) : bytes.length - 1 - random(Math.min(2000, bytes.length))
    if (round % 3 !== 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8))
    await writeFile(file, bytes)
    const error: unknown = await readPytorchFile(file).then(
      () => undefined,
      (caught: unknown) => caught,
    )
    if (error === undefined) continue
    failed++
    t.true(
      error instanceof LlavaError && ['MODEL_CORRUPT', 'MODEL_UNSUPPORTED'].includes(error.code),
      error instanceof Error ? error.stack : 'no Error',
    )
  }
  t.true(failed > 100)
})
