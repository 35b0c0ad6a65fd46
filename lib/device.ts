// Which device a model computes on. The CPU is part of the addon; a GPU's back end is a shared library in a package of
// its own, looked for only when a GPU is asked for.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { invalidArgument, LlavaError, type LlavaErrorCode } from './errors.js'
import type { NativeOptions } from './native.js'
import type { OptionCheck } from './options.js'

/** `cuda` is the first GPU, `cuda:1` the second; `auto` the first one where it can be used, else the CPU. */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** Options that only the CPU's back end knows. */
export interface CpuOptions {
  readonly threads?: number
  readonly isa?: string
  readonly weights?: 'mapped' | 'copied'
}

/** Where a model is opened, and where that is the CPU for want of a GPU, why. */
export type Place = Pick<NativeOptions, 'device' | 'library' | 'fallback'>

const wording = "'auto', 'cpu', 'cuda', or 'cuda:N' with the number of a GPU"

export const deviceCheck: OptionCheck = (name, value) => {
  if (typeof value !== 'string' || !/^(?:auto|cpu|cuda|cuda:(?:0|[1-9]\d?))$/.test(value))
    throw invalidArgument(name, wording, value)
}

/** What says that a GPU cannot be used, as opposed to that a model or a call is wrong. */
const missing: ReadonlySet<LlavaErrorCode> = new Set(['DEVICE_UNAVAILABLE', 'DEVICE_FAILED', 'OUT_OF_MEMORY'])

/**
 * Opens on the device that is asked for. With `auto` on the CPU where that fails for want of a GPU, its driver, its
 * package or its memory.
 * Throws DEVICE_UNAVAILABLE, and INVALID_ARGUMENT where `cpu` holds an option that a GPU has no use for.
 */
export async function openOn<Opened>(
  asked: Device,
  cpu: CpuOptions,
  open: (place: Place) => Promise<Opened>,
): Promise<Opened> {
  if (asked === 'cpu') return open({ device: 'cpu' })
  if (asked !== 'auto') {
    refuseCpuOptions(asked, cpu)
    return open(gpu(asked))
  }
  try {
    return await open(gpu('cuda'))
  } catch (error) {
    if (!(error instanceof LlavaError && missing.has(error.code))) throw error
    return open({ device: 'cpu', fallback: error.message })
  }
}

function refuseCpuOptions(asked: Device, { threads, isa, weights }: CpuOptions): void {
  const given = Object.entries({ threads, isa: isa === 'auto' ? undefined : isa, weights })
  for (const [name, value] of given)
    if (value !== undefined)
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `\`${name}\` is an option of the CPU: leave it out with device '${asked}'`,
      )
}

function gpu(asked: 'cuda' | `cuda:${number}`): Place {
  return { device: asked === 'cuda' ? 'cuda:0' : asked, library: cudaLibrary() }
}

/** The shared library of the CUDA back end: `LLAVA_CUDA_LIBRARY`, else that of its package. */
function cudaLibrary(): string {
  const { LLAVA_CUDA_LIBRARY: chosen } = process.env
  if (chosen !== undefined && chosen !== '') {
    if (existsSync(chosen)) return path.resolve(chosen)
    throw new LlavaError('DEVICE_UNAVAILABLE', `LLAVA_CUDA_LIBRARY names ${chosen}, and no file is there`)
  }
  const name = `@llava-native/cuda-${process.platform}-${process.arch}`
  try {
    return createRequire(import.meta.url).resolve(`${name}/llava_cuda.so`)
  } catch (cause) {
    throw new LlavaError(
      'DEVICE_UNAVAILABLE',
      `the CUDA back end is not installed: npm install ${name}, or name its library in LLAVA_CUDA_LIBRARY`,
      { cause },
    )
  }
}

/** What computes: a GPU's name with its number, or the CPU's, with why no GPU does where one was asked for. */
export function deviceName(name: string, { device, fallback }: Place): string {
  if (device !== 'cpu') return `${name} (${device})`
  return fallback === undefined ? name : `${name} (no GPU: ${fallback})`
}
