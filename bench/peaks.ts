// What this machine can do at most, on one ISA and some threads.

import { native, type ComputePeak, type Isa, type NativeOpBench } from '../lib/native.js'
import { boundedPeak, type ComputeBound } from '../lib/benchmark/work.js'
import type { Peak, Roofs } from '../lib/benchmark/roofline.js'

export interface MachinePeaks {
  readonly device: string
  readonly isa: Isa
  readonly threads: number
  /** float32 multiply-adds, two operations each. */
  readonly fma: Peak
  /** Multiply-adds of bfloat16 pairs; where the CPU has none, the float32 ones. */
  readonly bf16: Peak
  /** The fastest exact mix of int8 multiply-adds. */
  readonly int8: Peak
  readonly read: Peak
  /** Reads and writes in place, GB/s of both. */
  readonly update: Peak
}

/** Measures all peaks, in about a second. Threads 0 (default): as many as the process may use. */
export async function measurePeaks({
  isa = 'auto',
  threads = 0,
}: { readonly isa?: Isa | 'auto'; readonly threads?: number } = {}): Promise<MachinePeaks> {
  const bench = new (native().OpBench)({ isa, threads })
  try {
    const peak = (kind: PeakKind) => bench.measurePeak(kind)
    return {
      ...bench.info(),
      fma: await peak('fma'),
      bf16: await peak('bf16'),
      int8: await peak('int8'),
      read: await peak('read'),
      update: await peak('update'),
    }
  } finally {
    bench.dispose()
  }
}

type PeakKind = ComputePeak | 'read' | 'update'

interface KnownPeak {
  readonly peak: Peak
  readonly at: number
  /** The machine's when it was measured. */
  readonly speed: number
}

/** Whether two speeds are of the same machine, undisturbed or disturbed alike. */
export function alike(speed: number, other: number): boolean {
  return Math.abs(speed / other - 1) < 0.1
}

/**
 * Peaks of a bench's own threads and ISA. A shared machine's speed moves within seconds: it is gauged by the float32 peak, some hundredths of a second's
 * work, and peaks are measured anew when it has moved since, or when they are some seconds old.
 */
export class PeakGauge {
  static readonly freshMs = 5000
  readonly #bench: NativeOpBench
  readonly #known = new Map<PeakKind, KnownPeak>()

  constructor(bench: NativeOpBench) {
    this.#bench = bench
  }

  /** Of this moment. */
  async speed(): Promise<number> {
    return (await this.#bench.measurePeak('fma')).value
  }

  /** Those of a machine that has this speed now. */
  async roofs(compute: ComputeBound, speed: number): Promise<Roofs> {
    return {
      compute: boundedPeak(await this.#peak(compute.kind, speed), compute),
      reads: await this.#peak('read', speed),
      updates: await this.#peak('update', speed),
    }
  }

  async #peak(kind: PeakKind, speed: number): Promise<Peak> {
    const known = this.#known.get(kind)
    if (known !== undefined && performance.now() - known.at < PeakGauge.freshMs && alike(known.speed, speed))
      return known.peak
    const peak = await this.#bench.measurePeak(kind)
    this.#known.set(kind, { peak, at: performance.now(), speed })
    return peak
  }
}
