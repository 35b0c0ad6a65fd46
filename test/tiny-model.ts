// The tiny random checkpoints of test/fixtures/golden, opened for tests of what is built on them.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const golden = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../test/fixtures/golden')

export interface GoldenCase {
  /** The checkpoint, absolute. */
  readonly model: string
  /** A picture file, absolute. */
  readonly picture: string
  readonly prompt: string
  readonly maxTokens: number
}

export function goldenCase(name: string): GoldenCase {
  const folder = path.join(golden, name)
  const { model, image, prompt, maxTokens } = JSON.parse(readFileSync(path.join(folder, 'case.json'), 'utf8')) as {
    readonly model: string
    readonly image: string
    readonly prompt: string
    readonly maxTokens: number
  }
  return { model: path.join(folder, model), picture: path.join(folder, image), prompt, maxTokens }
}

/** A tensor as transformers left it. */
export interface StoredTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array | Int32Array
}

interface HeaderEntry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** Every F32 and I32 tensor of a safetensors file. */
export function readTensors(file: string): ReadonlyMap<string, StoredTensor> {
  const bytes = new Uint8Array(readFileSync(file)) // a copy that starts at 0, so that views are aligned
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Record<string, HeaderEntry>
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => {
          const data = bytes.buffer.slice(8 + length + begin, 8 + length + end)
          return [name, { shape, data: dtype === 'I32' ? new Int32Array(data) : new Float32Array(data) }]
        },
      ),
  )
}

/** What transformers made of the case, stage by stage. */
export function goldenStages(name: string): ReadonlyMap<string, StoredTensor> {
  return readTensors(path.join(golden, name, 'stages.safetensors'))
}
