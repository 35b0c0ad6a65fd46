// Decoding: equal to Pillow on every kind of file, every kind of input, and typed errors for what cannot be read.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createReadStream, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { crc32 } from 'node:zlib'
import test from 'ava'
import sharp from 'sharp'
import { decodeImage, type DecodeOptions, type ImageInput } from '../../lib/image/decode.js'
import { LlavaError } from '../../lib/errors.js'

const pictures = fileURLToPath(new URL('../../../test/fixtures/pictures/', import.meta.url))
const fixture = (name: string): string => path.join(pictures, name)
const pillow = JSON.parse(readFileSync(fixture('pillow.json'), 'utf8')) as Record<
  string,
  readonly [number, number, number]
>
const [width, height, rgbCrc] = pillow['rgb.png']!

async function failure(input: unknown, options?: DecodeOptions): Promise<LlavaError> {
  try {
    await decodeImage(input as ImageInput, options)
  } catch (error) {
    if (error instanceof LlavaError) return error
    throw error
  }
  throw new Error('the picture was decoded')
}

for (const [name, [expectedWidth, expectedHeight, crc]] of Object.entries(pillow)) {
  test(`${name} decodes to the bytes that Pillow gives`, async (t) => {
    const image = await decodeImage(fixture(name), { autoOrient: false })
    t.deepEqual(
      [image.width, image.height, image.data.length],
      [expectedWidth, expectedHeight, expectedWidth * expectedHeight * 3],
    )
    t.is(crc32(image.data), crc)
  })
}

test('EXIF orientation is applied unless asked not to', async (t) => {
  const upright = await decodeImage(fixture('turned.jpg'))
  const stored = await decodeImage(fixture('turned.jpg'), { autoOrient: false })
  t.deepEqual([upright.width, upright.height, stored.width, stored.height], [height, width, width, height])
  // orientation 6: the stored left column, from the bottom up, is the top row
  t.deepEqual(
    [...upright.data.subarray(0, 3)],
    [...stored.data.subarray((height - 1) * width * 3, (height - 1) * width * 3 + 3)],
  )
})

test('16-bit grey keeps its high byte in all three channels', async (t) => {
  const values = Uint16Array.of(0, 255, 256, 300, 32768, 65535)
  const png = await sharp(values, { raw: { width: 6, height: 1, channels: 1, depth: 'ushort' } as never })
    .toColourspace('grey16')
    .png()
    .toBuffer()
  t.is((await sharp(png).metadata()).depth, 'ushort')
  t.deepEqual(
    [...(await decodeImage(png)).data],
    [...values].flatMap((value) => [value >> 8, value >> 8, value >> 8]),
  )
})

test('alpha is dropped and the stored colour kept', async (t) => {
  const png = await sharp(Uint8Array.of(10, 20, 30, 0), { raw: { width: 1, height: 1, channels: 4 } })
    .png()
    .toBuffer()
  t.deepEqual([...(await decodeImage(png)).data], [10, 20, 30])
})

async function* eachByte(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const same = new Uint8Array(1) // filled again and again
  for (const byte of bytes) {
    await Promise.resolve()
    same[0] = byte
    yield same
  }
}

/** As a canvas' ImageData: its properties are its class's. */
class CanvasPixels {
  readonly #data: Uint8ClampedArray
  readonly #size: readonly [number, number]
  readonly colorSpace = 'srgb'

  constructor(columns: number, rows: number, rgba: Uint8Array) {
    this.#data = Uint8ClampedArray.from(rgba)
    this.#size = [columns, rows]
  }

  get width(): number {
    return this.#size[0]
  }

  get height(): number {
    return this.#size[1]
  }

  get data(): Uint8ClampedArray {
    return this.#data
  }
}

test('every way to hand over the same picture gives the same pixels', async (t) => {
  const file = fixture('rgb.png')
  const bytes = await readFile(file)
  const exact = Uint8Array.from(bytes)
  const shared = new SharedArrayBuffer(bytes.length)
  new Uint8Array(shared).set(bytes)
  const inside = new Uint8Array(bytes.length + 9)
  inside.set(bytes, 5)
  const decoded = await decodeImage(file)
  const inputs: Readonly<Record<string, ImageInput>> = {
    'relative path': path.relative(process.cwd(), file),
    'file: URL': pathToFileURL(file),
    'file: URL as text': pathToFileURL(file).href,
    'data: URL': `data:image/png;base64,${bytes.toString('base64')}`,
    'data: URL as URL': new URL(`data:image/png;base64,${bytes.toString('base64')}`),
    Buffer: bytes,
    Uint8Array: exact,
    'part of a Uint8Array': inside.subarray(5, 5 + bytes.length),
    ArrayBuffer: exact.buffer,
    SharedArrayBuffer: shared,
    'Uint8Array on shared memory': new Uint8Array(shared),
    Blob: new Blob([exact]),
    File: new File([exact], 'rgb.png', { type: 'image/png' }),
    Readable: createReadStream(file, { highWaterMark: 100 }),
    'Readable of one chunk': Readable.from([bytes]),
    'web ReadableStream': new Blob([exact]).stream(),
    Response: new Response(exact),
    'Response of a stream': new Response(new Blob([exact]).stream()),
    'async generator': eachByte(bytes),
    'sharp instance': sharp(file),
    'raw RGB': { width, height, data: decoded.data },
    'raw RGBA': { width, height, data: await sharp(file).ensureAlpha(0.5).raw().toBuffer() },
    ImageData: new CanvasPixels(width, height, await sharp(file).ensureAlpha().raw().toBuffer()),
    'clamped raw RGB': { width, height, data: Uint8ClampedArray.from(decoded.data) },
  }
  for (const [name, input] of Object.entries(inputs)) {
    const image = await decodeImage(input)
    t.deepEqual([image.width, image.height, crc32(image.data)], [width, height, rgbCrc], name)
  }
})

test('a sharp instance is taken with what it is set to do, and can be used again', async (t) => {
  const instance = sharp(fixture('rgb.png')).resize(4, 3)
  t.is((await decodeImage(instance)).width, 4)
  t.is((await decodeImage(instance)).height, 3)
})

test('bytes are copied at the call: changing or transferring them afterwards does not matter', async (t) => {
  const bytes = Uint8Array.from(await readFile(fixture('rgb.png')))
  const changed = Uint8Array.from(bytes)
  const decoding = [decodeImage(bytes), decodeImage(changed)]
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  changed.fill(0)
  for (const image of await Promise.all(decoding)) t.is(crc32(image.data), rgbCrc)
})

test('raw pixels are copied too', async (t) => {
  const data = Uint8Array.of(1, 2, 3)
  const image = await decodeImage({ width: 1, height: 1, data })
  data.fill(9)
  t.deepEqual([...image.data], [1, 2, 3])
})

test('a large picture in memory is copied a little at a time, and its transfer meanwhile is an error or none', async (t) => {
  const [columns, rows] = [5000, 4000]
  const data = new Uint8Array(3 * columns * rows).fill(77)
  data.fill(1, -1)
  const image = await decodeImage({ width: columns, height: rows, data })
  t.deepEqual([image.data.length, image.data.at(-1), image.data[0]], [data.length, 1, 77])
  const decoding = decodeImage({ width: columns, height: rows, data })
  structuredClone(data, { transfer: [data.buffer] })
  const last = await decoding.then(
    (whole) => whole.data.at(-1),
    (error: unknown) => (error as LlavaError).code,
  )
  t.true(last === 1 || last === 'INVALID_ARGUMENT') // never half a picture
})

test('a file name with brackets is a file name', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'picture-'))
  try {
    const file = path.join(folder, 'a[page=1].png')
    await writeFile(file, await readFile(fixture('rgb.png')))
    t.is(crc32((await decodeImage(file)).data), rgbCrc)
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a picture over the pixel limit is refused before it is decoded, and one at the limit is not', async (t) => {
  const file = fixture('rgb.png')
  for (const input of [file, sharp(file), await decodeImage(file)]) {
    const error = await failure(input, { maxPixels: width * height - 1 })
    t.is(error.code, 'IMAGE_TOO_LARGE')
    t.true(error.message.includes(`${width} × ${height}`))
    t.is((await decodeImage(input, { maxPixels: width * height })).width, width)
  }
})

for (const [what, stream] of [
  ['a Readable', () => new Readable({ read: () => undefined })],
  ['a web stream', () => new ReadableStream()],
  [
    'an async generator',
    async function* () {
      await new Promise(() => undefined)
      yield new Uint8Array(1)
    },
  ],
] as const) {
  test(`${what} that never gives anything is given up when the time is over, or when the reader leaves`, async (t) => {
    const late = await failure(stream(), { timeoutMs: 20 })
    t.is(late.code, 'IMAGE_UNREADABLE')
    t.regex(late.message, /timeoutMs/)
    const controller = new AbortController()
    setTimeout(() => {
      controller.abort(new Error('left'))
    }, 5)
    const left = await failure(stream(), { signal: controller.signal })
    t.regex(left.message, /left/)
    t.regex((await failure(stream(), { signal: AbortSignal.abort(new Error('gone')) })).message, /gone/)
  })
}

test('a stream longer than the limit is refused and destroyed, one at the limit is read', async (t) => {
  const bytes = await readFile(fixture('rgb.png'))
  t.is((await decodeImage(Readable.from([bytes]), { maxBytes: bytes.length })).width, width)
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(1000))
    },
  })
  const error = await failure(endless, { maxBytes: bytes.length - 1 })
  t.is(error.code, 'IMAGE_TOO_LARGE')
  t.regex(error.message, /maxBytes/)
  t.true(endless.destroyed)
  let cancelled = false
  const web = new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(1000))
    },
    cancel() {
      cancelled = true
    },
  })
  t.is((await failure(web, { maxBytes: bytes.length - 1 })).code, 'IMAGE_TOO_LARGE')
  t.true(cancelled)
})
