// Small files that claim a great deal: counts, lengths and sizes as large as the format can write them, and programs that would build without end.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { ggufFile, string, u32, u64 } from '../weights/gguf-file.js'
import { dict, emptyDict, mark, pickle, setItems, tensor, text, torchFile, zipFile, torchEntries } from '../weights/pytorch-file.js'
import { safetensorsBytes } from '../weights/safetensors-file.js'

const values: readonly bigint[] = [2n ** 16n, 2n ** 24n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]
const padding = Buffer.alloc(4096)
const key = (type: number, value: Buffer): Buffer => Buffer.concat([Buffer.from('GGUF'), u32(3), u64(0n), u64(1n), string('k'), u32(type), value, padding])
const headerOf = (nbytes: bigint): Buffer => Buffer.concat([u64(nbytes), Buffer.from('{}'), padding])

type Format = 'gguf' | 'safetensors' | 'bin'

const files: readonly (readonly [format: Format, what: string, bytes: Buffer])[] = [
  ...values.flatMap((value) => [
    ['gguf', `${value} tensors`, Buffer.concat([ggufFile({ tensorCount: value }), padding])] as const,
    ['gguf', `${value} key-values`, Buffer.concat([ggufFile({ keyCount: value }), padding])] as const,
    ['gguf', `a string of ${value} bytes`, key(8, u64(value))] as const,
    ...[0, 6, 7, 8, 12].map((type) => ['gguf', `an array of ${value} values of type ${type}`, key(9, Buffer.concat([u32(type), u64(value)]))] as const),
    ['gguf', `a dimension of ${value}`, ggufFile({ tensors: [{ name: 'a', type: 0, ne: [value, value] }] })] as const,
    ['safetensors', `a header of ${value} bytes`, headerOf(value)] as const,
    ['safetensors', `a dimension of ${value}`, safetensorsBytes(`{"a":{"dtype":"F32","shape":[${value}],"data_offsets":[0,${value}]}}`, 0)] as const,
    ['bin', `${value} entries`, zipFile({ entries: torchEntries(pickle(dict({})), {}), zip64: true, count: Math.min(Number(value), 2 ** 63) })] as const,
  ]),
  ['gguf', 'a million empty strings', key(9, Buffer.concat([u32(8), u64(1_000_000n), Buffer.alloc(8_000_000)]))],
  ['safetensors', 'a header of empty objects', safetensorsBytes(`{"a":[${'{},'.repeat(300_000)}{}]}`, 0)],
  ['safetensors', 'a header of opened lists', safetensorsBytes(`{"a":${'['.repeat(8_000_000)}`, 0)],
  ['bin', 'a program of a million dictionaries', torchFile(pickle(Buffer.alloc(1_000_000, '}')))],
  ['bin', 'a program of a million marks', torchFile(pickle(Buffer.alloc(1_000_000, '(')))],
  ['bin', 'a text of 2 GiB', torchFile(pickle(Buffer.from('58ffffff7f', 'hex')))],
  ['bin', 'a tensor of 2^62 elements', torchFile(pickle(dict({ w: tensor({ shape: [2 ** 31 - 1, 2 ** 31 - 1], elements: 6 }) })))],
  ['bin', 'a dictionary that doubles itself', torchFile(pickle(emptyDict, Buffer.from('7100', 'hex'), ...Array.from({ length: 1000 }, (_, n) => Buffer.concat([mark, text(`k${n}`), Buffer.from('6800', 'hex'), setItems]))))],
]

/** Calls `check` with each file, written. */
export async function hostileFiles(check: (format: Format, what: string, file: string, size: number) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    for (const [format, what, bytes] of files) {
      const file = path.join(folder, `model.${format}`)
      await writeFile(file, bytes)
      await check(format, what, file, bytes.length)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}
