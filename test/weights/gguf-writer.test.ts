// What the writer lays out, the reader finds: keys of every type, tensors aligned and in order.

import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'ava'
import { finish } from '../../lib/slices.js'
import { fitsBlocks, layoutGguf, type GgufField } from '../../lib/weights/gguf-writer.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'
import { checkRoom, PartialFile } from '../../lib/partial-file.js'
import { temporaryFolder } from './tiny-llava.js'

test('keys of every type read back as written', async (t) => {
  const fields: Readonly<Record<string, GgufField>> = {
    u32: ['u32', 4_000_000_000],
    i32: ['i32', -5],
    f32: ['f32', 0.5],
    f64: ['f64', 0.1],
    true: ['bool', true],
    false: ['bool', false],
    string: ['string', 'Käse ▁ 🧀'],
    strings: ['strings', ['', 'a', '▁'.repeat(100_000)]], // larger than the buffer begins
    u8s: ['u8s', [0, 255]],
    i32s: ['i32s', Int32Array.of(-1, 2)],
    f32s: ['f32s', Float32Array.of(0.25, -0)],
    none: ['strings', []],
  }
  const file = path.join(await temporaryFolder(t), 'keys.gguf')
  await writeFile(file, finish(layoutGguf(new Map(Object.entries(fields)), [])).header)
  const { metadata } = await readGgufHeader(file)
  t.deepEqual([...metadata.keys()], Object.keys(fields))
  for (const [key, [, value]] of Object.entries(fields)) {
    const read = metadata.get(key)
    t.deepEqual<unknown, unknown>(
      ArrayBuffer.isView(read) ? Array.from(read as unknown as ArrayLike<number>) : read,
      typeof value === 'object' ? Array.from(value as ArrayLike<unknown>) : value,
      key,
    )
  }
})

test('tensors lie in order, aligned, and fill the file', async (t) => {
  const tensors = [
    { name: 'a', dtype: 'F32', shape: [3] },
    { name: 'b', dtype: 'Q4_K', shape: [5, 512] },
    { name: 'c', dtype: 'F16', shape: [2, 3, 7, 7] },
  ] as const
  const { header, extents, nbytes } = finish(layoutGguf(new Map(), tensors))
  t.deepEqual(
    extents.map((extent) => extent.nbytes),
    [12, 5 * 2 * 144, 2 * 3 * 49 * 2],
  )
  const file = path.join(await temporaryFolder(t), 'tensors.gguf')
  const data = extents.flatMap((extent, i) => [Buffer.alloc(extent.nbytes, i + 1), Buffer.alloc(extent.padding)])
  await writeFile(file, Buffer.concat([header, ...data]))
  t.is((await readFile(file)).length, nbytes)
  const { tensors: read } = await readGgufHeader(file)
  t.deepEqual(
    read.map(({ name, dtype, shape }) => ({ name, dtype, shape: [...shape] })),
    tensors.map((tensor) => ({ ...tensor, shape: [...tensor.shape] })),
  )
  const bytes = await readFile(file)
  for (const [i, { offset, nbytes: size }] of read.entries()) {
    t.is(offset % 32, 0)
    t.true(bytes.subarray(offset, offset + size).every((byte) => byte === i + 1))
  }
})

test('a type fits rows that divide into its blocks', (t) => {
  t.true(fitsBlocks('F16', 7))
  t.true(fitsBlocks('Q8_0', 96))
  t.false(fitsBlocks('Q8_0', 48))
  t.false(fitsBlocks('Q6_K', 128))
})

test('a partial file has its name only once it is committed', async (t) => {
  const folder = await temporaryFolder(t)
  const file = await PartialFile.create(path.join(folder, 'out'))
  await file.write(Buffer.from('ab'))
  await file.write(Buffer.from('c'))
  const [temporary, ...others] = await readdir(folder)
  t.regex(temporary ?? '', /^out\.[-0-9a-f]{36}\.tmp$/)
  t.deepEqual(others, [])
  t.is(file.nbytes, 3)
  await file.commit()
  await file.discard()
  t.deepEqual(await readdir(folder), ['out'])
  t.is(await readFile(path.join(folder, 'out'), 'utf8'), 'abc')
})

test('a partial file that is discarded leaves nothing', async (t) => {
  const folder = await temporaryFolder(t)
  const file = await PartialFile.create(path.join(folder, 'out'))
  await file.write(Buffer.from('abc'))
  await file.discard()
  await file.discard()
  t.deepEqual(await readdir(folder), [])
})

test('more bytes than the disk has room for are refused before any is written', async (t) => {
  const folder = await temporaryFolder(t)
  await t.notThrowsAsync(checkRoom(folder, 1))
  await t.throwsAsync(checkRoom(folder, 2 ** 60), {
    code: 'OUTPUT_FAILED',
    message: /bytes are to be written, but its disk has \d+ free/,
  })
})
