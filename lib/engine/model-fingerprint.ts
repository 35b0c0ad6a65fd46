// What keys, values and encoded pictures depend on: weights, sizes, and how the model computes. Two models of one
// fingerprint give the same bits.

import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { NativeInfo, NativeOptions } from '../native.js'
import type { ModelDescription } from '../weights/model-description.js'

/**
 * Of each file, so many blocks at even distances are read: to tell fine-tunes of one model apart without reading all of
 * it.
 */
const samples = 64
const sampleBytes = 4096

/** 32 hexadecimal digits. */
export async function modelFingerprint(
  { files, tensors, config }: ModelDescription,
  { kvCache, arithmetic }: NativeOptions,
  { device, isa }: Pick<NativeInfo, 'device' | 'isa'>,
): Promise<string> {
  const hash = createHash('sha256')
  hash.update(JSON.stringify({ config, tensors, kvCache, arithmetic, device, isa }, plainArrays))
  for (const file of files) {
    const handle = await open(file, 'r')
    try {
      const { size } = await handle.stat()
      hash.update(`${size}`)
      for (let n = 0; n < samples; n++) {
        const position = Math.floor((Math.max(0, size - sampleBytes) * n) / (samples - 1))
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(sampleBytes), 0, sampleBytes, position)
        hash.update(buffer.subarray(0, bytesRead))
      }
    } finally {
      await handle.close()
    }
  }
  return hash.digest('hex').slice(0, 32)
}

function plainArrays(_key: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? [...(value as Float32Array)] : value
}
