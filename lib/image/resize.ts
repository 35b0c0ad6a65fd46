// Bicubic resize that equals Pillow's byte for byte: separable Keys cubic (a = −1/2), antialiased by stretching the kernel when shrinking.
//   weight_i = f((i + lo − centre + ½) / max(scale, 1)) / Σ,  as 22-bit fixed point;  pixel = clamp((2²¹ + Σ weight_i · source_i) >> 22)
// Horizontal pass to 8 bits, then vertical. Two ideas keep time and memory in proportion to the source pixels that matter:
//   - only a window of the resized picture is computed, and the canvas around the picture is one colour that is never stored: its taps
//     are summed up beforehand, which is exact because everything is integer arithmetic;
//   - each source row is resized across once and added at once to the 32-bit sums of the few output rows that see it.
// A generator: it yields where it may pause, after some `tapsPerStep` taps at the latest, whatever the picture's shape.

import { type RgbImage } from './decode.js'

/** A canvas in one colour; the picture stands on it with its top left corner at (`left`, `top`). */
export interface Canvas {
  readonly width: number
  readonly height: number
  readonly left: number
  readonly top: number
  readonly fill: readonly [number, number, number]
}

/** The canvas resized to `width` × `height`, and the part of it that is wanted. */
export interface ResizedWindow {
  readonly width: number
  readonly height: number
  readonly left: number
  readonly top: number
  readonly columns: number
  readonly rows: number
}

const weightBits = 22
const half = 1 << (weightBits - 1)

/** Taps between two yields: well under a millisecond of work. */
const tapsPerStep = 2 ** 17

/** The wanted window [rows, columns, 3] of `image` on `canvas`, resized. */
export function* resizeBicubic(image: RgbImage, canvas: Canvas, wanted: ResizedWindow): Generator<undefined, RgbImage> {
  const across = yield* axisTaps(canvas.width, canvas.left, image.width, wanted.width, wanted.left, wanted.columns)
  const down = yield* axisTaps(canvas.height, canvas.top, image.height, wanted.height, wanted.top, wanted.rows)

  const acrossStart = new Int32Array(wanted.columns * 3)
  for (let i = 0; i < acrossStart.length; i++)
    acrossStart[i] = half + across.outside[Math.trunc(i / 3)]! * canvas.fill[i % 3]!
  const canvasRow = clampedRow(canvasOnlySums(across, canvas.fill))

  // sums[rows, columns * 3]: rounding term and what bare canvas gives, to which the picture's rows are added in the columns that see the picture
  const rowLength = wanted.columns * 3
  const sums = new Int32Array(wanted.rows * rowLength)
  for (let y = 0; y < wanted.rows; y++) {
    for (let u = 0; u < wanted.columns; u++) {
      const weight = across.count[u]! > 0 ? down.outside[y]! : down.total[y]!
      for (let i = u * 3; i < u * 3 + 3; i++) sums[y * rowLength + i] = half + weight * canvasRow[i]!
    }
  }

  const row = new Uint8ClampedArray(rowLength)
  const mostTaps = across.count.reduce((most, count) => Math.max(most, count), 1)
  const columnsPerStep = Math.max(1, Math.floor(tapsPerStep / mostTaps)) // of a row a million pixels long, not all at once
  let firstActive = 0
  let taps = 0
  for (let y = down.begin; y < down.end; y++) {
    while (firstActive < wanted.rows && down.first[firstActive]! + down.count[firstActive]! <= y) firstActive++
    for (let from = across.outputBegin; from < across.outputEnd; from += columnsPerStep) {
      const to = Math.min(from + columnsPerStep, across.outputEnd)
      resizeRow(image.data, y * image.width * 3, across, acrossStart, row, from, to)
      if ((taps += (to - from) * mostTaps) < tapsPerStep) continue
      taps = 0
      yield
    }
    // output rows that see source row y; first rows grow with the output row, so the first that begins below ends the search
    for (let o = firstActive; o < wanted.rows && down.first[o]! <= y; o++) {
      const tap = y - down.first[o]!
      if (tap < down.count[o]!)
        addRow(
          sums,
          o * rowLength,
          row,
          across.outputBegin * 3,
          across.outputEnd * 3,
          down.weights[down.offset[o]! + tap]!,
        )
    }
  }
  const clamped = clampedRow(sums)
  return { width: wanted.columns, height: wanted.rows, data: new Uint8Array(clamped.buffer) }
}

/** One axis: output u sums `weights[offset[u] + t] · source[first[u] + t]` for t < count[u], and `outside[u]` times the canvas colour; `total` is all its weights. */
interface AxisTaps {
  readonly first: Int32Array
  readonly count: Int32Array
  readonly offset: Int32Array
  readonly weights: Int32Array
  readonly outside: Int32Array
  readonly total: Int32Array
  /** Source samples that any output sees: [begin, end). */
  readonly begin: number
  readonly end: number
  /** Outputs that see any source sample: [outputBegin, outputEnd). */
  readonly outputBegin: number
  readonly outputEnd: number
}

function* axisTaps(
  canvasSize: number,
  start: number,
  size: number,
  resized: number,
  from: number,
  outputs: number,
): Generator<undefined, AxisTaps> {
  const scale = canvasSize / resized
  const stretch = Math.max(scale, 1)
  const support = 2 * stretch
  const maxTaps = Math.min(canvasSize, Math.ceil(support) * 2 + 1)
  const first = new Int32Array(outputs)
  const count = new Int32Array(outputs)
  const offset = new Int32Array(outputs)
  const outside = new Int32Array(outputs)
  const total = new Int32Array(outputs)
  const weights = new Int32Array(outputs * Math.min(maxTaps, size))
  const real = new Float64Array(maxTaps)
  let stored = 0
  let begin = size
  let end = 0
  let outputBegin = outputs
  let outputEnd = 0
  let sinceYield = 0
  for (let u = 0; u < outputs; u++) {
    const centre = (from + u + 0.5) * scale
    const lo = Math.max(0, Math.trunc(centre - support + 0.5))
    const taps = Math.min(canvasSize, Math.trunc(centre + support + 0.5)) - lo
    let sum = 0
    for (let i = 0; i < taps; i++) sum += real[i] = cubic((i + lo - centre + 0.5) * (1 / stretch))

    const inside = Math.min(size, Math.max(0, lo - start))
    const insideEnd = Math.max(inside, Math.min(size, lo + taps - start))
    first[u] = inside
    count[u] = insideEnd - inside
    offset[u] = stored
    let canvasWeight = 0
    let allWeights = 0
    for (let i = 0; i < taps; i++) {
      const weight = fixedPoint(real[i]! / sum)
      allWeights += weight
      const source = lo + i - start
      if (source >= inside && source < insideEnd) weights[stored++] = weight
      else canvasWeight += weight
    }
    outside[u] = canvasWeight
    total[u] = allWeights
    if (insideEnd > inside) {
      outputBegin = Math.min(outputBegin, u)
      outputEnd = u + 1
      begin = Math.min(begin, inside)
      end = Math.max(end, insideEnd)
    }
    if ((sinceYield += taps) < tapsPerStep) continue
    sinceYield = 0
    yield
  }
  return { first, count, offset, weights, outside, total, begin, end, outputBegin, outputEnd }
}

/** Keys' cubic convolution kernel with a = −1/2. */
function cubic(t: number): number {
  const x = Math.abs(t)
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
}

function fixedPoint(weight: number): number {
  return Math.trunc(weight * 2 ** weightBits + (weight < 0 ? -0.5 : 0.5))
}

/** The sums of a row that lies outside the picture: every tap sees the canvas colour. */
function canvasOnlySums(across: AxisTaps, fill: readonly [number, number, number]): Int32Array {
  return Int32Array.from(
    { length: across.total.length * 3 },
    (_, i) => half + across.total[Math.trunc(i / 3)]! * fill[i % 3]!,
  )
}

/** Horizontal pass of one source row that begins at byte `at`, in columns [from, to), which see the picture. */
function resizeRow(
  source: Uint8Array,
  at: number,
  across: AxisTaps,
  start: Int32Array,
  row: Uint8ClampedArray,
  from: number,
  to: number,
): void {
  const { first, count, offset, weights } = across
  for (let u = from, o = u * 3; u < to; u++, o += 3) {
    let red = start[o]!
    let green = start[o + 1]!
    let blue = start[o + 2]!
    let pixel = at + first[u]! * 3
    const end = offset[u]! + count[u]!
    for (let t = offset[u]!; t < end; t++, pixel += 3) {
      const weight = weights[t]!
      red = (red + Math.imul(weight, source[pixel]!)) | 0
      green = (green + Math.imul(weight, source[pixel + 1]!)) | 0
      blue = (blue + Math.imul(weight, source[pixel + 2]!)) | 0
    }
    row[o] = red >> weightBits
    row[o + 1] = green >> weightBits
    row[o + 2] = blue >> weightBits
  }
}

/** sums[at + i] += weight · row[i] for begin ≤ i < end */
function addRow(
  sums: Int32Array,
  at: number,
  row: Uint8ClampedArray,
  begin: number,
  end: number,
  weight: number,
): void {
  for (let i = begin; i < end; i++) sums[at + i] = (sums[at + i]! + Math.imul(weight, row[i]!)) | 0
}

function clampedRow(sums: Int32Array): Uint8ClampedArray<ArrayBuffer> {
  const clamped = new Uint8ClampedArray(sums.length)
  for (let i = 0; i < sums.length; i++) clamped[i] = sums[i]! >> weightBits
  return clamped
}
