// The roofline (Williams, Waterman & Patterson 2009): no work takes less time than its operations at the compute peak, nor than its bytes at the
// bandwidth peak. The larger of the two is the roof that binds; a ratio is that bound over the time taken.

/** What one call does at least: operations (a multiply-add is two), and bytes that must cross from memory and back. */
export interface Work {
  readonly operations: number
  readonly bytes: number
}

export interface Peak {
  readonly value: number
  readonly unit: string
  /** The instructions or traffic it was measured with. */
  readonly mix: string
}

/** Of one machine, ISA and number of threads: operations in G/s of the arithmetic in question, reads in GB/s. */
export interface Roofs {
  readonly compute: Peak
  readonly bandwidth: Peak
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

export function place({ operations, bytes }: Work, nanoseconds: number, { compute, bandwidth }: Roofs): Placed {
  const roof = operations / compute.value >= bytes / bandwidth.value ? 'compute' : 'bandwidth'
  const { value: peak, unit, mix } = roof === 'compute' ? compute : bandwidth
  const achieved = (roof === 'compute' ? operations : bytes) / nanoseconds
  return { roof, achieved, peak, unit, mix, ratio: achieved / peak, intensity: operations / bytes }
}
