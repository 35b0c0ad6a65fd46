// The Euclidean length of a vector, and rows of length 1, whose dot products are cosines.

export function norm(row: Float32Array): number {
  let sum = 0
  for (const value of row) sum += value * value
  return Math.sqrt(sum)
}

/** In place; a row of zeros stays as it is. */
export function normalizeRow(row: Float32Array): void {
  const length = norm(row)
  if (length === 0) return
  const scale = 1 / length
  for (let i = 0; i < row.length; i++) row[i]! *= scale
}
