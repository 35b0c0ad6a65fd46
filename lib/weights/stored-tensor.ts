// A tensor as a weights file lists it, before it has a canonical name.

export interface StoredTensor {
  /** The file's own name for it. */
  readonly name: string
  /** The file's element type, one of `Dtype` or not. */
  readonly dtype: string
  /** Row-major, slowest dimension first. */
  readonly shape: readonly number[]
  readonly path: string
  /** From the start of the file. */
  readonly offset: number
  readonly nbytes: number
  /** A matrix whose file holds it with rows and columns exchanged. */
  readonly transposed?: true
}

/** Product of the dimensions; `undefined` when it is not exact in a double. */
export function elementCount(shape: readonly number[]): number | undefined {
  if (shape.includes(0)) return 0
  let count = 1
  for (const dimension of shape) {
    count *= dimension
    if (count > Number.MAX_SAFE_INTEGER) return undefined
  }
  return count
}

/** Rows [0, n), [n, 2 n) and [2 n, 3 n) of a tensor of 3 n rows. */
export function threeParts(tensor: StoredTensor, names: readonly string[]): readonly StoredTensor[] {
  const [rows = 0, ...rest] = tensor.shape
  const nbytes = tensor.nbytes / 3
  return names.map((name, n) => ({
    ...tensor,
    name,
    shape: [rows / 3, ...rest],
    offset: tensor.offset + n * nbytes,
    nbytes,
  }))
}
