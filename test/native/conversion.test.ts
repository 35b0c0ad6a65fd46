// Rows in every type: byte for byte what gguf's quantisers make of them, and K blocks that lose less than a plain encoder's.
// The expected bytes are made by test/oracle/make_quantised.py.

import { readFileSync } from 'node:fs'
import { truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { native, type Dtype, type NativeConversion, type NativeFindings, type TensorEntry } from '../../lib/native.js'
import { temporaryFolder } from '../weights/tiny-llava.js'
import { readTensors } from '../tiny-model.js'

const fixtures = fileURLToPath(new URL('../../../test/fixtures/quantised/', import.meta.url))

const blocks: Readonly<Record<Dtype, readonly [elements: number, nbytes: number]>> = {
  F32: [1, 4],
  F16: [1, 2],
  BF16: [1, 2],
  Q4_0: [32, 18],
  Q4_1: [32, 20],
  Q5_0: [32, 22],
  Q5_1: [32, 24],
  Q8_0: [32, 34],
  Q2_K: [256, 84],
  Q3_K: [256, 110],
  Q4_K: [256, 144],
  Q5_K: [256, 176],
  Q6_K: [256, 210],
}

function rowBytes(dtype: Dtype, columns: number): number {
  const [elements, nbytes] = blocks[dtype]
  return (columns / elements) * nbytes
}

/** One tensor in a file of its own, open for conversion. */
async function openTensor(t: ExecutionContext, dtype: Dtype, shape: readonly number[], bytes: Uint8Array, threads = 2): Promise<NativeConversion> {
  const file = path.join(await temporaryFolder(t), 'tensor.bin')
  await writeFile(file, bytes)
  const conversion = await native().openConversion([file], [{ name: 'w', dtype, shape, file: 0, offset: 0, nbytes: bytes.length }], threads)
  t.teardown(() => {
    conversion.dispose()
  })
  return conversion
}

interface Converted {
  readonly bytes: Uint8Array
  readonly findings: NativeFindings
}

async function convert(conversion: NativeConversion, dtype: Dtype, rows: number, columns: number, interleavedHeads = 0): Promise<Converted> {
  const bytes = new Uint8Array(rows * rowBytes(dtype, columns)).fill(0xaa)
  const findings = await conversion.convert({ tensor: 0, dtype, interleavedHeads, first: 0, count: rows }, bytes, null)
  return { bytes, findings }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer)
}

const { shape, data } = readTensors(path.join(fixtures, 'values.safetensors')).get('values')!
const [rows, columns] = shape as [number, number]
const values = data as Float32Array

for (const dtype of ['F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'] as const) {
  test(`${dtype} is byte for byte what gguf makes of the same values`, async (t) => {
    const conversion = await openTensor(t, 'F32', shape, bytesOf(values))
    const { bytes } = await convert(conversion, dtype, rows, columns)
    const expected = readFileSync(path.join(fixtures, `${dtype}.bin`))
    const stride = rowBytes(dtype, columns)
    const wrong = Array.from({ length: rows }, (_, row) => row).filter((row) => !expected.subarray(row * stride, (row + 1) * stride).equals(bytes.subarray(row * stride, (row + 1) * stride)))
    t.deepEqual(wrong, [], 'rows that differ')
  })

  test(`${dtype} comes out the same by stretches and on any number of threads`, async (t) => {
    const expected = readFileSync(path.join(fixtures, `${dtype}.bin`))
    const stride = rowBytes(dtype, columns)
    for (const threads of [1, 3]) {
      const conversion = await openTensor(t, 'F32', shape, bytesOf(values), threads)
      for (let first = 0; first < rows; first += 7) {
        const count = Math.min(7, rows - first)
        const out = new Uint8Array(count * stride)
        await conversion.convert({ tensor: 0, dtype, interleavedHeads: 0, first, count }, out, null)
        t.true(expected.subarray(first * stride, (first + count) * stride).equals(out))
      }
    }
  })
}

/** Rows of weights: normal, or with tails, from a seeded generator. */
function weights(count: number, tails: boolean): Float32Array {
  let state = 12345
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  return Float32Array.from({ length: count }, () => {
    const normal = Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
    return 0.02 * (tails ? normal / Math.sqrt(uniform()) : normal)
  })
}

/** How a K type divides its block, and what its codes and scales can be. */
const kTypes = {
  Q2_K: { group: 16, codes: [0, 3], scales: [0, 15], affine: true },
  Q3_K: { group: 16, codes: [-4, 3], scales: [-32, 31], affine: false },
  Q4_K: { group: 32, codes: [0, 15], scales: [0, 63], affine: true },
  Q5_K: { group: 32, codes: [0, 31], scales: [0, 63], affine: true },
  Q6_K: { group: 16, codes: [-32, 31], scales: [-128, 127], affine: false },
} as const satisfies Partial<Record<Dtype, unknown>>

function clampedRound(value: number, [low, high]: readonly [number, number]): number {
  return Math.min(high, Math.max(low, Math.round(value)))
}

/** The plain encoder: scales from each group's extremes, rounded to the block's whole numbers; nothing is searched for. */
function plainly(x: Float32Array, { group, codes, scales, affine }: (typeof kTypes)[keyof typeof kTypes]): Float32Array {
  const out = new Float32Array(x.length)
  for (let start = 0; start < x.length; start += 256) {
    const groups = Array.from({ length: 256 / group }, (_, g) => x.subarray(start + g * group, start + (g + 1) * group))
    const mins = groups.map((values) => (affine ? Math.max(0, -Math.min(...values)) : 0))
    const wanted = groups.map((values, g) => {
      if (affine) return (Math.max(...values) + (mins[g] ?? 0)) / codes[1]
      return values.reduce((largest, value) => (Math.abs(value) > Math.abs(largest) ? value : largest)) / codes[0]
    })
    const d = wanted.reduce((largest, value) => (Math.abs(value) > Math.abs(largest) ? value : largest)) / (affine ? scales[1] : scales[0])
    const dmin = Math.max(...mins) / scales[1]
    for (const [g, values] of groups.entries()) {
      const scale = d * clampedRound((wanted[g] ?? 0) / d, scales)
      const min = dmin === 0 ? 0 : dmin * clampedRound((mins[g] ?? 0) / dmin, scales)
      for (const [i, value] of values.entries()) out[start + g * group + i] = scale * clampedRound(scale === 0 ? 0 : (value + min) / scale, codes) - min
    }
  }
  return out
}

function squaredError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - (b[i] ?? NaN)) ** 2, 0)
}

/** The error that counts for weights: by the square of the value. */
function weightedError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value ** 2 * (value - (b[i] ?? NaN)) ** 2, 0)
}

async function throughType(t: ExecutionContext, x: Float32Array, dtype: Dtype): Promise<Float32Array> {
  const encoded = await convert(await openTensor(t, 'F32', [x.length / 256, 256], bytesOf(x)), dtype, x.length / 256, 256)
  const decoded = await convert(await openTensor(t, dtype, [x.length / 256, 256], encoded.bytes), 'F32', x.length / 256, 256)
  return floatsOf(decoded.bytes)
}

for (const [dtype, kind] of Object.entries(kTypes) as [keyof typeof kTypes, (typeof kTypes)[keyof typeof kTypes]][]) {
  for (const tails of [false, true]) {
    test(`${dtype} loses less than a plain encoder does, of ${tails ? 'heavy-tailed' : 'normal'} weights`, async (t) => {
      const x = weights(256 * 64, tails)
      const searched = await throughType(t, x, dtype)
      const plain = plainly(x, kind)
      // What the search minimises: x^2 counts where codes are symmetric, little of it where there is a min.
      const error = kind.affine ? squaredError : weightedError
      const [ours, theirs] = [error(x, searched), error(x, plain)]
      t.true(ours < theirs, `${Math.sqrt(ours / theirs).toFixed(3)} of the plain error`)
    })
  }

  test(`${dtype} gives zeros back as zeros, and a block of one value as nearly that value`, async (t) => {
    const zeros = await throughType(t, new Float32Array(512), dtype)
    t.true(zeros.every((value) => value === 0))
    // One code and one scale carry it: what is left is the rounding of d to 11 bits, and of the scale, whose group asks for the largest there is.
    for (const value of [0.7, -0.7]) {
      const same = await throughType(t, new Float32Array(256).fill(value), dtype)
      for (const each of same) t.true(Math.abs(each - value) <= Math.abs(value) * 2 ** -10, `${value} came back as ${each}`)
    }
  })

  test(`${dtype} of numbers nobody expects is some block, without a crash`, async (t) => {
    const odd = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e-45, -1e-45, 0, -0, 65504, 1]
    const x = Float32Array.from({ length: 256 * 16 }, (_, i) => odd[(i * 7 + (i >> 5)) % odd.length]!)
    const { findings } = await convert(await openTensor(t, 'F32', [16, 256], bytesOf(x)), dtype, 16, 256)
    t.is(findings.nan, x.filter((value) => Number.isNaN(value)).length)
    t.is(findings.infinite, x.filter((value) => Math.abs(value) === Infinity).length)
  })
}

test('rows of heads half a head apart become neighbours, whatever the type', async (t) => {
  const [heads, perHead, width] = [3, 8, 32]
  const x = Float32Array.from({ length: heads * perHead * width }, (_, i) => Math.floor(i / width) + 1)
  const conversion = await openTensor(t, 'F32', [heads * perHead, width], bytesOf(x))
  const expected = Array.from({ length: heads * perHead }, (_, row) => {
    const [head, inHead] = [Math.floor(row / perHead), row % perHead]
    return head * perHead + (inHead % 2) * (perHead / 2) + Math.floor(inHead / 2) + 1
  })
  const asF32 = floatsOf((await convert(conversion, 'F32', heads * perHead, width, heads)).bytes)
  t.deepEqual(Array.from({ length: heads * perHead }, (_, row) => asF32[row * width]), expected)
  const asQ8 = (await convert(conversion, 'Q8_0', heads * perHead, width, heads)).bytes
  const back = floatsOf((await convert(await openTensor(t, 'Q8_0', [heads * perHead, width], asQ8), 'F32', heads * perHead, width)).bytes)
  for (const [row, value] of expected.entries()) t.true(Math.abs((back[row * width] ?? NaN) - value) <= value * 2 ** -10)
})

test('an adapter is added as scale times B times A, row by row', async (t) => {
  const folder = await temporaryFolder(t)
  const [w, a, b] = [
    [1, 2, 3, 4, 5, 6],
    [1, 0, -1, 2, 2, 2],
    [1, 10, 0, 1],
  ].map((list) => Float32Array.from(list)) as [Float32Array, Float32Array, Float32Array]
  await writeFile(path.join(folder, 'w.bin'), Buffer.concat([w, a, b].map(bytesOf)))
  const entry = (name: string, shape: readonly number[], offset: number, nbytes: number): TensorEntry => ({ name, dtype: 'F32', shape, file: 0, offset, nbytes })
  const directory = [entry('m.weight', [2, 3], 0, 24), entry('m.lora_A.weight', [2, 3], 24, 24), { ...entry('m.lora_B.weight', [2, 2], 48, 16), lora: { scale: 0.5, interleavedHeads: 0 } }]
  const conversion = await native().openConversion([path.join(folder, 'w.bin')], directory, 1)
  // 0.5 B A = 0.5 [[1, 10], [0, 1]] [[1, 0, -1], [2, 2, 2]] = [[10.5, 10, 9.5], [1, 1, 1]]
  t.deepEqual([...floatsOf((await convert(conversion, 'F32', 2, 3)).bytes)], [11.5, 12, 12.5, 5, 6, 7])
  conversion.dispose()
})

test('values that are no numbers are counted, and those too large for the target apart from them', async (t) => {
  const x = Float32Array.from({ length: 64 }, (_, i) => i)
  x.set([NaN, Infinity, -Infinity, NaN], 3)
  x[40] = 70_000
  const conversion = await openTensor(t, 'F32', [2, 32], bytesOf(x))
  t.deepEqual((await convert(conversion, 'F16', 2, 32)).findings, { nan: 2, infinite: 2, overflowed: 1 })
  t.deepEqual((await convert(conversion, 'BF16', 2, 32)).findings, { nan: 2, infinite: 2, overflowed: 0 })
  t.deepEqual((await convert(conversion, 'F32', 2, 32)).findings, { nan: 2, infinite: 2, overflowed: 0 })
})

/** The checksum bit by bit, as it is defined. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return ~crc >>> 0
}

test('the checksum is CRC-32, however many stretches it is put together from', async (t) => {
  t.is(crc32(Buffer.from('123456789')), 0xcbf43926)
  const x = weights(3 * 300_001, false)
  const conversion = await openTensor(t, 'F32', [3 * 300_001, 1], bytesOf(x)) // 3.6 MB, in stretches of 1 MiB
  t.deepEqual(await conversion.check(0, null), { nan: 0, infinite: 0, crc32: crc32(bytesOf(x)) })
})

const ofTwoRows: TensorEntry = { name: 'w', dtype: 'F32', shape: [2, 32], file: 0, offset: 0, nbytes: 256 }

for (const [what, lie] of Object.entries({
  'a tensor beyond the end of its file': { offset: 8 },
  'a tensor far beyond it': { offset: 2 ** 52, nbytes: 256 },
  'bytes that do not hold the shape': { nbytes: 252 },
  'a shape that overflows': { shape: [2 ** 40, 2 ** 40], nbytes: 256 },
  'a size of zero': { shape: [0, 32], nbytes: 0 },
  'rows that do not divide into blocks': { dtype: 'Q4_0', shape: [2, 33] },
  'a file that is not listed': { file: 1 },
} as const satisfies Record<string, Partial<TensorEntry>>)) {
  test(`a directory that lies is MODEL_CORRUPT: ${what}`, async (t) => {
    const file = path.join(await temporaryFolder(t), 'w.bin')
    await writeFile(file, new Uint8Array(256))
    await t.throwsAsync(async () => native().openConversion([file], [{ ...ofTwoRows, ...lie }], 1), { code: 'MODEL_CORRUPT' })
  })
}

test('a file that shrinks while it is open is MODEL_CORRUPT, not a fault', async (t) => {
  const file = path.join(await temporaryFolder(t), 'w.bin')
  await writeFile(file, new Uint8Array(256))
  const conversion = await native().openConversion([file], [ofTwoRows], 2)
  await truncate(file, 100)
  await t.throwsAsync(convert(conversion, 'Q8_0', 2, 32), { code: 'MODEL_CORRUPT' })
  await t.throwsAsync(conversion.check(0, null), { code: 'MODEL_CORRUPT' })
  conversion.dispose()
})

test('requests for what is not there are INVALID_ARGUMENT', async (t) => {
  const conversion = await openTensor(t, 'F32', [6, 32], new Uint8Array(768))
  const right = { tensor: 0, dtype: 'Q8_0', interleavedHeads: 0, first: 0, count: 6 } as const
  const wrong = [{ tensor: 1 }, { tensor: -1 }, { tensor: 0.5 }, { first: -1 }, { first: 1 }, { count: 0 }, { count: 7 }, { count: 2 ** 53 }, { interleavedHeads: 4 }, { interleavedHeads: 2 }, { interleavedHeads: -1 }, { dtype: 'Q4_K' }] as const
  for (const change of wrong) {
    await t.throwsAsync(async () => conversion.convert({ ...right, ...change }, new Uint8Array(6 * 34), null), { code: 'INVALID_ARGUMENT' }, JSON.stringify(change))
  }
  await t.throwsAsync(async () => conversion.convert({ ...right, dtype: 'Q9' as Dtype }, new Uint8Array(6 * 34), null), { code: 'MODEL_UNSUPPORTED' })
  for (const out of [new Uint8Array(6 * 34 - 1), new Float32Array(51), new Uint8Array(new SharedArrayBuffer(6 * 34)), undefined]) {
    await t.throwsAsync(async () => conversion.convert(right, out as Uint8Array, null), { code: 'INVALID_ARGUMENT' })
  }
})

test('an array that is detached meanwhile fails the call and nothing else', async (t) => {
  const conversion = await openTensor(t, 'F32', [6, 32], new Uint8Array(768))
  const out = new Uint8Array(6 * 34)
  const work = conversion.convert({ tensor: 0, dtype: 'Q8_0', interleavedHeads: 0, first: 0, count: 6 }, out, null)
  structuredClone(out, { transfer: [out.buffer] })
  await t.throwsAsync(work, { code: 'INVALID_ARGUMENT' })
  t.is((await convert(conversion, 'Q8_0', 6, 32)).bytes.length, 6 * 34)
})

test('a conversion that was disposed of says so', async (t) => {
  const conversion = await openTensor(t, 'F32', [6, 32], new Uint8Array(768))
  conversion.dispose()
  await t.throwsAsync(async () => conversion.check(0, null), { code: 'DISPOSED' })
})

test('a cancelled call is ABORTED', async (t) => {
  const conversion = await openTensor(t, 'F32', [4096, 256], bytesOf(weights(4096 * 256, false)))
  const cancellation = new (native().Cancellation)()
  const work = conversion.convert({ tensor: 0, dtype: 'Q4_K', interleavedHeads: 0, first: 0, count: 4096 }, new Uint8Array(4096 * 144), cancellation)
  cancellation.cancel()
  await t.throwsAsync(work, { code: 'ABORTED' })
})
