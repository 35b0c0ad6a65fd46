// float32 to float16, as IEEE 754 rounds: to nearest, ties to even, beyond 65504 to infinity; subnormals are kept.

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** The bits of each value as float16. */
export function toHalf(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, halfBits)
}

function halfBits(value: number): number {
  float[0] = value
  const sign = (bits[0]! >>> 16) & 0x8000
  const magnitude = bits[0]! & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00 // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // from 65520 on, infinity
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13) // a new exponent bias, 13 bits less
  float[0] = Math.abs(value) + 0.5 // below 2⁻¹⁴ halves are multiples of 2⁻²⁴, as floats from 0.5 on are: this sum rounds as wanted
  return sign | (bits[0]! - 0x3f000000)
}
