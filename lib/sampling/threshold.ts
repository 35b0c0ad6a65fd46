// Where to cut a list of logits: the value at which the weight, counted from the largest value down, reaches a target.
// A radix descent over the floats' bits (11, 11, 10 of them): three linear passes instead of a sort, whatever the values are.

const digits = [
  { shift: 21, size: 2048 },
  { shift: 10, size: 2048 },
  { shift: 0, size: 1024 },
] as const

export interface Threshold {
  /** The value in whose company the target is reached. */
  readonly value: number
  /** The weight of all larger values. */
  readonly above: number
}

export class ThresholdFinder {
  readonly #keys: Uint32Array
  readonly #histogram = new Float64Array(2048)

  /** @param capacity the longest list it will see */
  constructor(capacity: number) {
    this.#keys = new Uint32Array(capacity)
  }

  /**
   * @param values no NaN
   * @param weights not negative; without them each value weighs 1
   * @param target weight to reach, > 0
   */
  find(values: Float32Array, weights: Float64Array | undefined, target: number): Threshold {
    const keys = this.#keys
    const count = values.length
    const bits = new Uint32Array(values.buffer, values.byteOffset, count)
    for (let i = 0; i < count; i++) {
      const b = bits[i] as number
      keys[i] = b > 0x80000000 ? ~b : b | 0x80000000 // unsigned order of keys = order of floats; -0 is 0
    }
    let prefix = 0
    let above = 0
    for (const { shift, size } of digits) {
      const histogram = this.#histogram.subarray(0, size)
      histogram.fill(0)
      const top = shift === 21 ? 0 : prefix
      const topShift = shift === 21 ? 31 : shift === 10 ? 21 : 10
      for (let i = 0; i < count; i++) {
        const key = keys[i] as number
        if (shift === 21 || key >>> topShift === top) {
          const digit = (key >>> shift) & (size - 1)
          histogram[digit] = (histogram[digit] as number) + (weights ? (weights[i] as number) : 1)
        }
      }
      const digit = bucketReaching(histogram, target - above)
      for (let d = digit + 1; d < size; d++) above += histogram[d] as number
      prefix = shift === 21 ? digit : prefix * size + digit
    }
    return { value: valueOf(prefix), above }
  }
}

/** The highest bucket at which the sum from the top reaches `target`; the lowest that weighs anything, where rounding leaves it short. */
function bucketReaching(histogram: Float64Array, target: number): number {
  let sum = 0
  let lowest = histogram.length - 1
  for (let d = histogram.length - 1; d >= 0; d--) {
    const weight = histogram[d] as number
    if (weight === 0) continue
    sum += weight
    lowest = d
    if (sum >= target) break
  }
  return lowest
}

function valueOf(key: number): number {
  const bits = key >>> 31 === 1 ? key & 0x7fffffff : ~key
  return new Float32Array(Uint32Array.of(bits).buffer)[0] as number
}
