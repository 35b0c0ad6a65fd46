import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { writeSafetensors } from '../../lib/weights/safetensors-writer.js'

async function inTemporaryFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('several that write to one path do not write through each other: the file is whole, one of theirs', async (t) => {
  await inTemporaryFolder(async (folder) => {
    const file = path.join(folder, 'x.safetensors')
    const values = Array.from({ length: 10 }, (_, n) => new Float32Array(200_000).fill(n))
    await Promise.all(values.map((data) => writeSafetensors(file, { a: { shape: [data.length], data } })))
    const bytes = await readFile(file)
    const begin = bytes.readFloatLE(bytes.length - 4)
    for (let n = 0; n < 200_000; n += 97) t.is(bytes.readFloatLE(bytes.length - 4 * (n + 1)), begin)
    t.deepEqual(await readdir(folder), ['x.safetensors'])
  })
})

test('tensors stand one after another behind a header padded to 8 bytes', async (t) => {
  await inTemporaryFolder(async (folder) => {
    const file = path.join(folder, 'x.safetensors')
    await writeSafetensors(file, {
      a: { shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 3) },
      b: { shape: [1], data: Int32Array.of(-200) },
      c: { shape: [0], data: new Float32Array(0) },
    })
    const bytes = await readFile(file)
    const length = Number(bytes.readBigUInt64LE())
    t.is(length % 8, 0)
    t.is(bytes.length, 8 + length + 20)
    t.deepEqual(JSON.parse(bytes.toString('utf8', 8, 8 + length)), {
      a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
      b: { dtype: 'I32', shape: [1], data_offsets: [16, 20] },
      c: { dtype: 'F32', shape: [0], data_offsets: [20, 20] },
    })
    t.deepEqual(
      [0, 4, 8, 12].map((at) => bytes.readFloatLE(8 + length + at)),
      [1, -2, 0.5, 3],
    )
    t.is(bytes.readInt32LE(8 + length + 16), -200)
  })
})

test('a part of a larger array is written, not the whole', async (t) => {
  await inTemporaryFolder(async (folder) => {
    const file = path.join(folder, 'x.safetensors')
    await writeSafetensors(file, { a: { shape: [1], data: Float32Array.of(1, 2, 3).subarray(1, 2) } })
    const bytes = await readFile(file)
    t.is(bytes.readFloatLE(bytes.length - 4), 2)
    t.is(bytes.length, 8 + Number(bytes.readBigUInt64LE()) + 4)
  })
})

test('a failed write leaves nothing behind', async (t) => {
  await inTemporaryFolder(async (folder) => {
    const file = path.join(folder, 'missing', 'x.safetensors')
    await t.throwsAsync(writeSafetensors(file, { a: { shape: [1], data: Float32Array.of(1) } }), {
      code: 'OUTPUT_FAILED',
    })
    t.deepEqual(await readdir(folder), [])
  })
})
