// Philox4x32-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// block n of a seed's numbers is a function of (seed, n) alone, so a text's draws do not depend on what else is being generated.

const rounds = 10
const mask = 0xffffffffn

/** Ten rounds over a counter of four words under a key of two. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < rounds; round++) {
    const p0 = BigInt(c0) * 0xd2511f53n
    const p1 = BigInt(c2) * 0xcd9e8d57n
    const high0 = Number(p0 >> 32n)
    const high1 = Number(p1 >> 32n)
    ;[c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, Number(p1 & mask), (high0 ^ c3 ^ k1) >>> 0, Number(p0 & mask)]
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** Numbers in [0, 1) with 53 random bits, one Philox block each. */
export class Random {
  readonly #key: readonly [number, number]
  readonly #stream: number
  #drawn = 0

  /**
   * @param seed any safe integer
   * @param stream which of the seed's independent sequences, in [0, 2^32)
   */
  constructor(seed: number, stream = 0) {
    const bits = BigInt.asUintN(64, BigInt(seed))
    this.#key = [Number(bits & mask), Number(bits >> 32n)]
    this.#stream = stream
  }

  next(): number {
    const n = this.#drawn++
    const [high, low] = philox([n >>> 0, Math.floor(n / 2 ** 32), this.#stream, 0], this.#key)
    return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53
  }
}
