// Stage by stage against transformers: pixel_values, token ids, image features, projected rows, logits, greedy tokens.
// The goldens and the tiny random checkpoints they belong to are made by test/oracle/make_goldens.py.

import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { LLaVA, type OpenOptions } from '../lib/index.js'
import { native } from '../lib/native.js'

const goldens = fileURLToPath(new URL('../../test/fixtures/golden/', import.meta.url))

interface GoldenCase {
  readonly model: string
  readonly mmproj?: string
  readonly visionTower?: string
  readonly adapter?: string
  readonly image: string
  readonly prompt: string
  readonly maxTokens: number
}

/** Bounds as shares of the tensor's largest value; 0 means equal. The README promises these to users. */
const bounds = {
  pixelValues: 0,
  inputIds: 0,
  imageFeatures: 1e-4,
  projected: 1e-4,
  logits: 1e-3,
  generated: 0,
} as const
const stages = {
  pixelValues: 'pixel_values',
  inputIds: 'input_ids',
  imageFeatures: 'image_features',
  projected: 'projected',
  logits: 'logits',
  generated: 'generated',
} as const satisfies Record<keyof typeof bounds, string>

function readStages(file: string): ReadonlyMap<string, Float32Array | Int32Array> {
  const bytes = readFileSync(file)
  const headerLength = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >
  const tensors = new Map<string, Float32Array | Int32Array>()
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [begin, end] = data_offsets
    const data = Uint8Array.prototype.slice.call(bytes, 8 + headerLength + begin, 8 + headerLength + end).buffer
    tensors.set(name, dtype === 'I32' ? new Int32Array(data) : new Float32Array(data))
  }
  return tensors
}

/** max|Δ| / max|reference|; Infinity where the lengths differ, NaN where a value is. */
function departure(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity
  let difference = 0
  let scale = 0
  for (let i = 0; i < expected.length; i++) {
    const delta = Math.abs((actual[i] as number) - (expected[i] as number))
    if (Number.isNaN(delta)) return NaN
    difference = Math.max(difference, delta)
    scale = Math.max(scale, Math.abs(expected[i] as number))
  }
  return difference === 0 ? 0 : difference / scale
}

function readCase(name: string): GoldenCase {
  return JSON.parse(readFileSync(path.join(goldens, name, 'case.json'), 'utf8')) as GoldenCase
}

async function checkStages(t: ExecutionContext, name: string, options: OpenOptions): Promise<void> {
  const golden = readCase(name)
  const expected = readStages(path.join(goldens, name, 'stages.safetensors'))
  const parts = (['mmproj', 'visionTower', 'adapter'] as const).flatMap((part) => {
    const file = golden[part]
    return file === undefined ? [] : [[part, path.join(goldens, name, file)] as const]
  })
  using model = await LLaVA.open(path.join(goldens, name, golden.model), { ...Object.fromEntries(parts), ...options })
  const trace = await model.trace(path.join(goldens, name, golden.image), golden.prompt, {
    maxTokens: golden.maxTokens,
  })
  // In the order of the pipeline, so that the first stage that departs is the one reported.
  for (const stage of Object.keys(bounds) as (keyof typeof bounds)[]) {
    const reference = expected.get(stages[stage])
    if (reference === undefined) throw new Error(`${name} has no golden ${stages[stage]}`)
    const measured = departure(trace[stage].data, reference)
    t.true(
      measured <= bounds[stage],
      `${name}: ${stages[stage]} departs from transformers by ${measured}, allowed ${bounds[stage]}`,
    )
  }
}

for (const name of readdirSync(goldens)) {
  for (const isa of native().cpuInfo().isas) {
    test(`every stage of ${name} equals transformers on ${isa}`, async (t) => {
      await checkStages(t, name, { isa })
    })
  }
  if (process.env['LLAVA_CUDA_LIBRARY'] !== undefined) {
    test(`every stage of ${name} equals transformers on cuda`, async (t) => {
      await checkStages(t, name, { device: 'cuda' })
    })
  }
}
