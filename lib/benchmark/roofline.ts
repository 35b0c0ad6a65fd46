// The roofline (Williams, Waterman & Patterson 2009): no work takes less time than its operations at the compute peak, than its reads at the peak of reads,
// nor than all its traffic at the peak of reads and writes in place (a core can write back what it has changed while it reads on, so that this peak is the
// higher one). The longest of these times is the roof that binds; a ratio is that time over the time taken.

/** What one call does at least: operations (a multiply-add is two), and bytes that must come from memory and go back. */
export interface Work {
  readonly operations: number
  readonly read: number
  readonly written: number
}

export interface Peak {
  readonly value: number
  readonly unit: string
  /** The instructions or traffic it was measured with. */
  readonly mix: string
}

/** Of one machine, ISA and number of threads: operations in G/s of the arithmetic in question, traffic in GB/s. */
export interface Roofs {
  readonly compute: Peak
  readonly reads: Peak
  /** Reads and writes in place; left out where results are small beside operands. */
  readonly updates?: Peak
}

export interface Placed {
  readonly roof: 'compute' | 'bandwidth'
  /** In the unit of the roof that binds. */
  readonly achieved: number
  readonly peak: number
  readonly unit: string
  readonly mix: string
  /** achieved / peak */
  readonly ratio: number
  /** Operations a byte. */
  readonly intensity: number
}

interface Bound {
  readonly roof: Placed['roof']
  readonly amount: number
  readonly peak: Peak
}

export function place(work: Work, nanoseconds: number, { compute, reads, updates }: Roofs): Placed {
  const { operations, read, written } = work
  const bounds: Bound[] = [
    { roof: 'compute', amount: operations, peak: compute },
    { roof: 'bandwidth', amount: read, peak: reads },
    ...(updates === undefined ? [] : [{ roof: 'bandwidth', amount: read + written, peak: updates } as const]),
  ]
  const { roof, amount, peak } = bounds.reduce((binding, bound) =>
    bound.amount / bound.peak.value > binding.amount / binding.peak.value ? bound : binding,
  )
  const achieved = amount / nanoseconds
  return {
    roof,
    achieved,
    peak: peak.value,
    unit: peak.unit,
    mix: peak.mix,
    ratio: achieved / peak.value,
    intensity: operations / (read + written),
  }
}
