// Files of checkpoints to be damaged, one of every format, and the damage: cut short, or with bits turned.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { LLaVA, type OpenOptions } from '../../lib/index.js'
import { randomNumbers } from './golden-models.js'

const goldens = fileURLToPath(new URL('../../../test/fixtures/golden/', import.meta.url))

export interface Victim {
  readonly golden: string
  /** The file that is damaged, in the golden's folder. */
  readonly file: string
  /** Where what describes the file ends; what is beyond is weights. */
  readonly headerEnd: (bytes: Buffer) => number
  /** Bytes at its end that nobody needs: white space, or padding in front of no tensors. */
  readonly spare?: number
}

const all = (bytes: Buffer): number => bytes.length
const safetensorsHeaderEnd = (bytes: Buffer): number => 8 + Number(bytes.readBigUInt64LE(0))
/** The tensor infos of these files end within the first half. */
const ggufHeaderEnd = (bytes: Buffer): number => bytes.lastIndexOf('.weight', Math.floor(bytes.length / 2)) + 60

export const victims: readonly Victim[] = [
  { golden: 'gguf-single-f16', file: 'checkpoint/model.gguf', headerEnd: ggufHeaderEnd },
  { golden: 'gguf-pair-q4_0', file: 'checkpoint/model-q4_0.gguf', headerEnd: ggufHeaderEnd },
  { golden: 'gguf-pair-q4_0', file: 'checkpoint/mmproj-q4_0.gguf', headerEnd: ggufHeaderEnd },
  { golden: 'gguf-split', file: 'checkpoint/tiny-f16-00001-of-00003.gguf', headerEnd: all, spare: 31 },
  { golden: 'gguf-split', file: 'checkpoint/tiny-f16-00003-of-00003.gguf', headerEnd: ggufHeaderEnd },
  { golden: 'gguf-lora', file: 'adapter.gguf', headerEnd: ggufHeaderEnd },
  { golden: 'hf-f32', file: 'checkpoint/model.safetensors', headerEnd: safetensorsHeaderEnd },
  { golden: 'hf-4x-names', file: 'checkpoint/model-00002-of-00002.safetensors', headerEnd: safetensorsHeaderEnd },
  { golden: 'hf-4x-names', file: 'checkpoint/model.safetensors.index.json', headerEnd: all, spare: 1 },
  { golden: 'hf-f32', file: 'checkpoint/config.json', headerEnd: all, spare: 1 },
  { golden: 'hf-f32', file: 'checkpoint/tokenizer.json', headerEnd: all, spare: 1 },
  { golden: 'hf-4x-names', file: 'checkpoint/tokenizer.model', headerEnd: all },
  { golden: 'hf-f32', file: 'checkpoint/processor_config.json', headerEnd: all, spare: 1 },
  { golden: 'hf-peft', file: 'adapter/adapter_config.json', headerEnd: all, spare: 1 },
  { golden: 'hf-peft', file: 'adapter/adapter_model.safetensors', headerEnd: safetensorsHeaderEnd },
  { golden: 'original-bin', file: 'checkpoint/pytorch_model-00002-of-00002.bin', headerEnd: () => 2000 },
  { golden: 'original-bin', file: 'clip-vit-tiny/pytorch_model.bin', headerEnd: () => 2000 },
]

/** A copy of the golden checkpoint. */
export interface Copy {
  readonly bytes: Buffer
  /** Puts other bytes into the victim's place. */
  readonly replace: (damaged: Buffer) => Promise<void>
  readonly open: (options?: OpenOptions) => Promise<LLaVA>
}

export async function withCopy(victim: Victim, work: (copy: Copy) => Promise<void>): Promise<void> {
  const golden = path.join(goldens, victim.golden)
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    await cp(golden, folder, { recursive: true })
    const { model, ...parts } = JSON.parse(readFileSync(path.join(golden, 'case.json'), 'utf8')) as { readonly model: string } & OpenOptions
    const at = (name: string): string => (name.startsWith('..') ? path.join(golden, name) : path.join(folder, name))
    const named = (['mmproj', 'visionTower', 'adapter'] as const).flatMap((part) => (parts[part] === undefined ? [] : [[part, at(parts[part])] as const]))
    const file = path.join(folder, victim.file)
    await work({
      bytes: await readFile(file),
      async replace(damaged) {
        await rm(file) // a mapping of the one before, should there be any, keeps its own file
        await writeFile(file, damaged)
      },
      open: (options) => LLaVA.open(at(model), { ...Object.fromEntries(named), ...options }),
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** `count` copies with one bit turned among the first `end` bytes, and which. */
export function* withTurnedBits(bytes: Buffer, end: number, count: number, seed: number): Generator<readonly [what: string, damaged: Buffer]> {
  const next = randomNumbers(seed)
  for (let i = 0; i < count; i++) {
    const [at, bit] = [Math.floor(next() * Math.min(end, bytes.length)), Math.floor(next() * 8)]
    const damaged = Buffer.from(bytes)
    damaged[at]! ^= 1 << bit
    yield [`bit ${bit} of byte ${at}`, damaged]
  }
}

/** Lengths to cut a file to: every one of its first bytes, all around `boundaries`, and some at random. */
export function lengths(size: number, boundaries: readonly number[], count: number, seed: number): number[] {
  const next = randomNumbers(seed)
  const wanted = new Set(Array.from({ length: 34 }, (_, length) => length))
  for (const boundary of [...boundaries, size]) for (const near of [-1, 0, 1]) wanted.add(boundary + near)
  while (wanted.size < count) wanted.add(Math.floor(next() * size))
  return [...wanted].filter((length) => length >= 0 && length < size)
}
