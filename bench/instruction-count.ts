// Instructions an op takes, counted by callgrind: a figure that no other process can move. One thread, one call, operands cut to a few rows of weights,
// which changes neither the kernels nor their inner loops. Callgrind knows the instructions of scalar and AVX2 code.

import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Isa, OpRequest } from '../lib/native.js'
import { planKernels, type KernelFilter } from './kernel-plan.js'
import { workOf } from './op-work.js'

/** ISAs that callgrind can run. */
export const countedIsas: readonly Isa[] = ['scalar', 'avx2']

export interface CountLine extends OpRequest {
  readonly kind: 'count'
  readonly shape: string
  readonly isa: Isa
  /** Of one call, all that the op runs. */
  readonly instructions: number
  /** What they are divided by: multiply-adds of a product, values of any other op. */
  readonly per: 'multiply-add' | 'value'
  readonly instructionsPer: number
}

export interface CountOptions extends KernelFilter {
  readonly signal?: AbortSignal
}

export function valgrindInstalled(): boolean {
  return spawnSync('valgrind', ['--version']).status === 0
}

/** Fails when valgrind is not installed. */
export async function* countInstructions(options: CountOptions = {}): AsyncGenerator<CountLine, void, undefined> {
  if (!valgrindInstalled())
    throw new Error(
      'instructions are counted by valgrind, which is not installed (on Debian or Ubuntu: apt-get install valgrind)',
    )
  const cases = planKernels({ ...options, rows: options.rows ?? [1, 64] })
  for (const isa of options.isas ?? countedIsas) {
    if (!countedIsas.includes(isa))
      throw new Error(`callgrind cannot run ${isa} code: instructions are counted for ${countedIsas.join(' and ')}`)
    for (const { shape, request } of cases) {
      options.signal?.throwIfAborted()
      const small = cut(request)
      const instructions = await count(small, isa)
      const { operations } = workOf(small)
      const isProduct = small.op === 'linear' || small.op === 'attention' || small.op === 'patch_embed'
      const units = isProduct
        ? operations / 2
        : small.rows * (small.columns ?? 2 * (small.heads ?? 1) * (small.headDim ?? 1))
      yield {
        kind: 'count',
        shape,
        isa,
        ...small,
        instructions,
        per: isProduct ? 'multiply-add' : 'value',
        instructionsPer: instructions / units,
      }
    }
  }
}

const mostColumns = 64
const mostKeys = 256

/** The same call on fewer rows of weights, heads and keys. */
function cut({ columns, heads, keys, rows, ...others }: OpRequest): OpRequest {
  const isLinear = others.op === 'linear'
  return {
    ...others,
    rows: keys === undefined ? rows : Math.min(rows, mostKeys),
    ...(columns !== undefined && { columns: isLinear ? Math.min(columns, mostColumns) : columns }),
    ...(isLinear && { outputs: 1 }),
    ...(others.op === 'embed_rows' && { depth: mostColumns }),
    ...(heads !== undefined && { heads: 1 }),
    ...(keys !== undefined && { keys: Math.min(keys, mostKeys) }),
    cold: false,
  }
}

/** Every measured op's `run` of native/bench. */
const measuredFunction = 'llava::bench::*Op*::run(llava::Backend&, long)'

async function count(request: OpRequest, isa: Isa): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), 'llava-count-'))
  const out = path.join(folder, 'callgrind.out')
  const child = fileURLToPath(new URL('./count-child.js', import.meta.url))
  try {
    const valgrind = [
      '--tool=callgrind',
      `--callgrind-out-file=${out}`,
      '--collect-atstart=no',
      `--toggle-collect=${measuredFunction}`,
    ]
    await promisify(execFile)('valgrind', [
      ...valgrind,
      process.execPath,
      '--jitless',
      child,
      isa,
      JSON.stringify(request),
    ])
    const total = /^(?:summary|totals): (\d+)/m.exec(await readFile(out, 'utf8'))?.[1]
    if (total === undefined || total === '0')
      throw new Error('callgrind found no measured op in the addon: is it stripped of its symbols?')
    return Number(total)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
