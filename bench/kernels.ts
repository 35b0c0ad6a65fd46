// Each op by itself on LLaVA 1.5's shapes: achieved against the roof that binds, with the output's hash and verdict in the same row.
// The model's own op table is what runs, on a thread of its own. A wrong result has no time.

import {
  native,
  type Isa,
  type NativeAddon,
  type NativeOpBench,
  type OpRequest,
  type OpVerdict,
} from '../lib/native.js'
import { planKernels, type KernelCase, type KernelFilter } from './kernel-plan.js'
import type { ComputeBound } from '../lib/benchmark/work.js'
import { computeBoundOf, workOf } from './op-work.js'
import { place, type Placed, type Roofs } from '../lib/benchmark/roofline.js'
import { alike, PeakGauge } from './peaks.js'
import { median, spread } from '../lib/benchmark/statistics.js'

export interface KernelBenchOptions extends KernelFilter {
  /** 0: as many as the process may use. */
  readonly threads?: number
  /** Timed repetitions of each row, of which the median counts; default 7. */
  readonly repeat?: number
  /** The build that is measured; default: this package's own. */
  readonly addon?: NativeAddon
  /** What each row is also timed on, in alternation: an ISA of this build, or the addon of another. */
  readonly against?: Isa | { readonly name: string; readonly addon: NativeAddon }
  readonly signal?: AbortSignal
}

/** How long a call takes. */
export interface Timed {
  /** Of one call: the median of the repetitions. */
  readonly nanoseconds: number
  /** Distance of the quartiles, as a share of the median. */
  readonly spread: number
}

/** One op on one shape, with its sizes. Without a time when its result is wrong. */
export interface KernelLine extends OpRequest {
  readonly kind: 'kernel'
  readonly device: string
  readonly shape: string
  readonly isa: Isa
  readonly threads: number
  readonly ok: boolean
  /** In units in the last place of the largest true value; at most `bound` when `ok`. */
  readonly error: number
  readonly bound: number
  /** Of the whole output: equal on any number of threads. */
  readonly hash: string
  /** Whether the machine was as fast after the row as before it: what else ran on it did so all the time, or not at all. */
  readonly steady: boolean
  readonly time: (Timed & Placed) | null
  readonly against?: {
    readonly name: string
    readonly ok: boolean
    readonly hash: string
    readonly time: Timed | null
    /** How many times as fast this build is. */ readonly speedup: number | null
  }
}

export async function* runKernelBench(options: KernelBenchOptions = {}): AsyncGenerator<KernelLine, void, undefined> {
  const { threads = 0, against, addon = native() } = options
  const cases = planKernels(options)
  for (const isa of options.isas ?? (options.all === true ? addon.cpuInfo().isas : ['auto' as const])) {
    const bench = new addon.OpBench({ isa, threads })
    const rival = against === undefined ? undefined : openRival(against, addon, isa, threads)
    try {
      const peaks = new PeakGauge(bench)
      for (const one of cases.filter(({ request }) => isQuickEnough(request, bench.info().isa, options))) {
        options.signal?.throwIfAborted()
        yield await measure(one, bench, peaks, rival, options)
      }
    } finally {
      bench.dispose()
      rival?.bench.dispose()
    }
  }
}

/** Many rows take the scalar table minutes: it runs them only where rows are asked for. */
function isQuickEnough({ rows }: OpRequest, isa: Isa, { rows: asked }: KernelBenchOptions): boolean {
  return isa !== 'scalar' || asked !== undefined || rows <= 8
}

interface Rival {
  readonly name: string
  readonly bench: NativeOpBench
}

function openRival(
  against: NonNullable<KernelBenchOptions['against']>,
  own: NativeAddon,
  isa: Isa | 'auto',
  threads: number,
): Rival {
  if (typeof against === 'string') return { name: against, bench: new own.OpBench({ isa: against, threads }) }
  return { name: against.name, bench: new against.addon.OpBench({ isa, threads }) }
}

async function measure(
  { shape, request }: KernelCase,
  bench: NativeOpBench,
  peaks: PeakGauge,
  rival: Rival | undefined,
  { repeat = 7 }: KernelBenchOptions,
): Promise<KernelLine> {
  const { device, isa, threads } = bench.info()
  const own = await enter(bench, request)
  const other = rival && (await enter(rival.bench, request))
  const { roofs, steady } = await timeSteadily(
    other === undefined ? [own] : [own, other],
    peaks,
    computeBoundOf(request, bench.info()),
    repeat,
  )
  return {
    kind: 'kernel',
    device,
    shape,
    isa,
    threads,
    ...request,
    ...own.verdict,
    steady,
    time: own.time && { ...own.time, ...place(workOf(request), own.time.nanoseconds, roofs) },
    ...(rival && other && { against: comparison(rival.name, own, other) }),
  }
}

function comparison(
  name: string,
  own: Contender,
  { verdict: { ok, hash }, time }: Contender,
): NonNullable<KernelLine['against']> {
  return { name, ok, hash, time, speedup: own.time && time && time.nanoseconds / own.time.nanoseconds }
}

/** A bench with an op prepared and judged; timed only where it is right. */
interface Contender {
  readonly bench: NativeOpBench
  readonly verdict: OpVerdict
  time: Timed | null
}

async function enter(bench: NativeOpBench, request: OpRequest): Promise<Contender> {
  await bench.prepare(request)
  return { bench, verdict: await bench.judge(await bench.output()), time: null }
}

/** Times of a machine whose speed moved meanwhile are taken again, this often at most. */
const attempts = 3

async function timeSteadily(
  contenders: readonly Contender[],
  peaks: PeakGauge,
  compute: ComputeBound,
  repeat: number,
): Promise<{ roofs: Roofs; steady: boolean }> {
  for (let attempt = 1; ; attempt++) {
    const before = await peaks.speed()
    const roofs = await peaks.roofs(compute, before)
    await timeInTurns(contenders, repeat)
    const steady = alike(before, await peaks.speed())
    if (steady || attempt === attempts) return { roofs, steady }
  }
}

/** A repetition lasts about this long: many calls of a short op, one of a long one. */
const repetitionNanoseconds = 5e6
/** Ops whose calls are this long are repeated three times only. */
const longCallNanoseconds = 1.5e9

/** Warms up each that is right, then times them in turn, repetition by repetition. */
async function timeInTurns(contenders: readonly Contender[], repeat: number): Promise<void> {
  const turns = []
  for (const contender of contenders.filter(({ verdict }) => verdict.ok)) {
    const once = await contender.bench.sample(1)
    turns.push({
      contender,
      calls: Math.ceil(repetitionNanoseconds / once),
      repetitions: once > longCallNanoseconds ? Math.min(repeat, 3) : repeat,
      times: [] as number[],
    })
  }
  for (let n = 0; n < repeat; n++) {
    for (const { contender, calls, repetitions, times } of turns)
      if (n < repetitions) times.push(await contender.bench.sample(calls))
  }
  for (const { contender, times } of turns) contender.time = { nanoseconds: median(times), spread: spread(times) }
}
