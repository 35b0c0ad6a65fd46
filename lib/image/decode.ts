// Bytes of any picture to 8-bit RGB, equal to Pillow's `Image.open(…).convert('RGB')` but for EXIF orientation, which is applied unless asked not to.
// Colour profiles are ignored, alpha is dropped and the stored colour kept (transparent GIF pixels are black), grey and palettes are expanded, CMYK
// becomes (255 − c)(255 − k) / 255, 16 bits keep the high byte (Pillow clips 16-bit grey), and an animation gives its first frame.
// Every input in memory up to 8 MiB is copied before the first await: later changes to it, or its transfer to another thread, do not matter. A larger
// one is copied a little at a time, as are all loops over pixels done, so that nobody waits long for the event loop; until then it must not change.

import { constants, createReadStream, open } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isAnyArrayBuffer, isUint8Array, isUint8ClampedArray } from 'node:util/types'
import type { Sharp } from 'sharp'
import { invalidArgument, LlavaError, shortened } from '../errors.js'
import { collectBytes, withinTime } from './byte-stream.js'
import { download, nameOf, type DownloadLimits } from './download.js'
import { finishInSlices } from '../slices.js'
import { loadSharp } from './load-sharp.js'
import { unreadFormat } from './unread-formats.js'

/** Rows of pixels, top to bottom: RGB or RGBA, 3 or 4 bytes per pixel according to the length of `data`. A canvas' ImageData is one. */
export interface RawRgb {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array | Uint8ClampedArray
}

/**
 * A picture: a path; a `file:`, `data:`, `http:` or `https:` URL (as text or URL); the bytes of a file (JPEG, PNG, WebP, GIF, TIFF, AVIF, SVG) in
 * memory, as a Blob or File, as the Response of a fetch, or as a stream (a Readable, a web ReadableStream, any AsyncIterable of bytes); the last two
 * are read once; a sharp instance (taken with what it is set to do; only its output counts); or bare pixels, ImageData among them.
 *
 * Up to 8 MiB in memory may be changed or transferred as soon as the call returns; leave more than that alone until its promise settles.
 */
export type ImageInput =
  | string
  | URL
  | Buffer
  | Uint8Array
  | ArrayBufferLike
  | Blob
  | Response
  | AsyncIterable<Uint8Array>
  | NodeJS.ReadableStream
  | Sharp
  | RawRgb

/** 8-bit RGB, [height, width, 3]. */
export interface RgbImage {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array
}

export interface DecodeOptions {
  /** Turn the picture as its EXIF orientation says. Default true; Pillow does not. */
  readonly autoOrient?: boolean
  /** Refuse pictures of more pixels, before they are decoded. Default 178,956,970, where Pillow too sees a decompression bomb. */
  readonly maxPixels?: number
  /** Refuse downloads and streams of more bytes. Default 64 MiB. */
  readonly maxBytes?: number
  /** Give up downloads and streams that take longer. Default 30,000. */
  readonly timeoutMs?: number
  /** Download from loopback, link-local and private addresses too. Default false. */
  readonly allowPrivateNetwork?: boolean
  /** Stops downloads and streams. */
  readonly signal?: AbortSignal
}

const defaultMaxPixels = 178_956_970
const defaultMaxBytes = 64 * 2 ** 20
const defaultTimeoutMs = 30_000
const longestTimeoutMs = 2 ** 31 - 1 // of a timer

/** The encoded bytes and what to call them in an error. */
interface Encoded {
  readonly bytes: Buffer
  readonly name: string
}

/**
 * Decodes `input` to RGB.
 * @throws {LlavaError} `INVALID_ARGUMENT`; `IMAGE_UNREADABLE` (missing, not to be had, truncated, of no known format); `IMAGE_TOO_LARGE` (more than
 * `maxPixels` or `maxBytes`)
 */
export async function decodeImage(input: ImageInput, options: DecodeOptions = {}): Promise<RgbImage> {
  return (await loadImage(input, options))()
}

/** The first half of `decodeImage`: loads what is to be decoded, which may wait for a network, and gives what decodes it. */
export async function loadImage(input: ImageInput, options: DecodeOptions = {}): Promise<() => Promise<RgbImage>> {
  const { autoOrient = true, maxPixels = defaultMaxPixels, signal } = options
  const { maxBytes = defaultMaxBytes, timeoutMs = defaultTimeoutMs, allowPrivateNetwork = false } = options
  if (typeof autoOrient !== 'boolean') throw invalidArgument('autoOrient', 'a boolean', autoOrient)
  if (typeof maxPixels !== 'number' || !(maxPixels > 0))
    throw invalidArgument('maxPixels', 'a number above 0', maxPixels)
  if (typeof maxBytes !== 'number' || !(maxBytes > 0)) throw invalidArgument('maxBytes', 'a number above 0', maxBytes)
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0 && timeoutMs <= longestTimeoutMs))
    throw invalidArgument('timeoutMs', 'a number above 0 and below 2^31', timeoutMs)
  if (typeof allowPrivateNetwork !== 'boolean')
    throw invalidArgument('allowPrivateNetwork', 'a boolean', allowPrivateNetwork)
  if (typeof input !== 'string' && Object(input) !== input) throw notAnImage(input)
  if (isRawRgb(input)) {
    const copy = await copyRaw(input, maxPixels)
    return () => Promise.resolve(copy)
  }
  if (isSharp(input)) {
    const pipeline = autoOrient ? input.clone().autoOrient() : input.clone()
    return () => decodePipeline(pipeline, maxPixels)
  }
  const encoded = await encodedBytes(input, { maxBytes, timeoutMs, allowPrivateNetwork, signal })
  return () => decodeBytes(encoded, autoOrient, maxPixels)
}

type EncodedInput = Exclude<ImageInput, Sharp | RawRgb>

async function encodedBytes(input: EncodedInput, limits: DownloadLimits): Promise<Encoded> {
  if (typeof input === 'string' || input instanceof URL) return bytesAt(input, limits)
  if (input instanceof Blob) return { bytes: Buffer.from(await input.arrayBuffer()), name: 'the picture in the Blob' }
  if (isUint8Array(input)) return { bytes: await copied(input), name: 'the picture in memory' }
  if (isAnyArrayBuffer(input)) return { bytes: await copied(bytesIn(input)), name: 'the picture in memory' }
  if (isResponse(input)) return bytesOfResponse(input, limits)
  if (Symbol.asyncIterator in input) return bytesOf(input, limits)
  throw notAnImage(input)
}

async function bytesOf(stream: AsyncIterable<unknown>, limits: DownloadLimits): Promise<Encoded> {
  const name = 'the picture in the stream'
  return read(name, () => withinTime(limits, (signal) => collectBytes(stream, limits.maxBytes, name, signal)))
}

/** The body of a fetch. What the server refused is no picture. */
async function bytesOfResponse(
  { ok, status, url, body, bodyUsed }: Response,
  limits: DownloadLimits,
): Promise<Encoded> {
  const name = url === '' ? 'the picture in the Response' : nameOf(new URL(url))
  if (bodyUsed) throw invalidArgument('image', 'a Response whose body nobody has read', 'one that has been read')
  return read(name, async () => {
    if (!ok) throw new Error(`the server answered with status ${status}`)
    if (body === null) return Buffer.alloc(0)
    return withinTime(limits, (signal) => collectBytes(body, limits.maxBytes, name, signal))
  })
}

async function bytesAt(location: string | URL, limits: DownloadLimits): Promise<Encoded> {
  const text = String(location)
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(text)?.[1]?.toLowerCase()
  // fetch decodes data: URLs itself, without a network
  if (scheme === 'data')
    return read('the picture in the data: URL', async () => Buffer.from(await (await fetch(text)).arrayBuffer()))
  if (scheme === 'file') {
    const path = pathOf(text)
    return read(path, () => bytesOfFile(path, limits))
  }
  if (scheme === 'http' || scheme === 'https') {
    const url = webAddress(text)
    return read(nameOf(url), () => download(url, limits))
  }
  if (location instanceof URL) throw invalidArgument('image', 'a path, or a file:, data:, http: or https: URL', text)
  if (text === '' || text.includes('\0')) throw invalidArgument('image', 'a path', text)
  try {
    return { bytes: await bytesOfFile(text, limits), name: text }
  } catch (cause) {
    if (cause instanceof LlavaError) throw cause
    throw notAPath(text, cause) ?? unreadable(text, cause)
  }
}

/** How files of these kinds begin in base64. */
const base64Starts = { '/9j/': 'jpeg', iVBORw0KGgo: 'png', R0lGOD: 'gif', UklGR: 'webp' } as const

/** What a text that names no file was meant for, where that is plain to see. */
function notAPath(text: string, cause: unknown): LlavaError | undefined {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text))
    return invalidArgument('image', 'a path, or a file:, data:, http: or https: URL', text)
  const known = Object.entries(base64Starts).find(([start]) => text.startsWith(start))
  if (!/^[A-Za-z0-9+/_\r\n-]+={0,2}\s*$/.test(text.slice(0, 256)) || (known === undefined && text.length < 1024))
    return undefined
  const advice = `put data:image/${known?.[1] ?? 'png'};base64, in front of it, or give Buffer.from(text, 'base64')`
  const begins = JSON.stringify(`${text.slice(0, 16)}…`)
  return new LlavaError(
    'INVALID_ARGUMENT',
    `expected \`image\` to be a path or URL, got ${text.length} characters that look like base64 (${begins}): ${advice}`,
    { cause },
  )
}

/** Pipes and devices are streams: they may never end, or never begin. */
async function bytesOfFile(path: string, limits: DownloadLimits): Promise<Buffer> {
  const found = await stat(path)
  if (found.isFile() || found.isDirectory()) return readFile(path)
  if (found.isFIFO()) return bytesOfPipe(path, limits)
  const stream = createReadStream(path)
  const chunks = { [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator]() } // to be left even while it is being opened, unlike the stream itself
  return withinTime(limits, (signal) => collectBytes(chunks, limits.maxBytes, path, signal))
}

/** Opened without waiting for who writes to it: an open that waits cannot be given up, and would hold a thread and the process. */
async function bytesOfPipe(path: string, limits: DownloadLimits): Promise<Buffer> {
  const descriptor = await promisify(open)(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const pipe = new Socket({ fd: descriptor, readable: true, writable: false })
  return withinTime(limits, (signal) => collectBytes(pipe, limits.maxBytes, path, signal))
}

function pathOf(fileUrl: string): string {
  try {
    return fileURLToPath(fileUrl)
  } catch {
    throw invalidArgument('image', 'a file: URL of this machine', fileUrl)
  }
}

function webAddress(text: string): URL {
  try {
    return new URL(text)
  } catch {
    throw invalidArgument('image', 'an http: or https: URL that can be read', text)
  }
}

async function read(name: string, load: () => Promise<Buffer>): Promise<Encoded> {
  try {
    return { bytes: await load(), name }
  } catch (cause) {
    throw cause instanceof LlavaError ? cause : unreadable(name, cause)
  }
}

/** What is copied in one go: a few milliseconds, most of them for memory that is new to the process. */
const bytesAtOnce = 2 ** 23

/** A copy in memory of its own: works for shared and resizable buffers, refuses detached ones. */
async function copied(source: Uint8Array | Uint8ClampedArray): Promise<Buffer> {
  bytesIn(source.buffer)
  const { length } = source // 0 once its owner transfers it
  const target = Buffer.allocUnsafeSlow(length)
  function* steps(): Generator<undefined, Buffer> {
    for (let from = 0; from < length; from += bytesAtOnce) {
      bytesIn(source.buffer)
      target.set(source.subarray(from, from + bytesAtOnce), from)
      if (from + bytesAtOnce < length) yield
    }
    return target
  }
  return finishInSlices(steps())
}

function bytesIn(buffer: ArrayBufferLike): Uint8Array {
  try {
    return new Uint8Array(buffer)
  } catch {
    throw invalidArgument('image', 'bytes that are still there', 'a detached buffer')
  }
}

async function decodeBytes({ bytes, name }: Encoded, autoOrient: boolean, maxPixels: number): Promise<RgbImage> {
  if (bytes.length === 0) throw new LlavaError('IMAGE_UNREADABLE', `cannot read ${name}: it holds no bytes`)
  const sharp = await loadSharp()
  const open = () => sharp(bytes, { ignoreIcc: true, autoOrient, limitInputPixels: false, failOn: 'error' })
  try {
    const { width, height, space } = await open().metadata()
    refuseTooLarge(name, width, height, maxPixels)
    return space === 'cmyk' ? await decodeCmyk(open()) : await decodeRgb(open())
  } catch (cause) {
    throw cause instanceof LlavaError ? cause : unreadable(name, cause, unreadFormat(bytes))
  }
}

async function decodePipeline(pipeline: Sharp, maxPixels: number): Promise<RgbImage> {
  const name = 'the picture of the sharp instance'
  try {
    const image = await decodeRgb(pipeline)
    refuseTooLarge(name, image.width, image.height, maxPixels)
    return image
  } catch (cause) {
    throw cause instanceof LlavaError ? cause : unreadable(name, cause)
  }
}

async function decodeRgb(pipeline: Sharp): Promise<RgbImage> {
  const { data, info } = await pipeline
    .toColourspace('srgb')
    .removeAlpha()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}

/** Ink as it is stored, without the profile that sharp would otherwise apply; then as Pillow mixes it. */
async function decodeCmyk(pipeline: Sharp): Promise<RgbImage> {
  const { data, info } = await pipeline
    .pipelineColourspace('cmyk')
    .toColourspace('cmyk')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  const { width, height, channels } = info
  const rgb = await eachPixel(width * height, (from, to, target) => {
    for (let pixel = from, source = from * channels; pixel < to; pixel++, source += channels) {
      const light = 255 - data[source + 3]!
      for (let c = 0; c < 3; c++) target[pixel * 3 + c] = Math.round(((255 - data[source + c]!) * light) / 255)
    }
  })
  return { width, height, data: rgb }
}

/** Pixels between two pauses: well under a millisecond of work. */
const pixelsPerStep = 2 ** 15

/** `area` pixels of RGB, written by `write`, which is given pixels [from, to) at a time. */
async function eachPixel(
  area: number,
  write: (from: number, to: number, rgb: Uint8Array) => void,
): Promise<Uint8Array> {
  const rgb = new Uint8Array(area * 3)
  function* steps(): Generator<undefined, Uint8Array> {
    for (let from = 0; from < area; from += pixelsPerStep) {
      write(from, Math.min(from + pixelsPerStep, area), rgb)
      yield
    }
    return rgb
  }
  return finishInSlices(steps())
}

async function copyRaw({ width, height, data }: RawRgb, maxPixels: number): Promise<RgbImage> {
  if (!Number.isSafeInteger(width) || width < 1) throw invalidArgument('image.width', 'a positive integer', width)
  if (!Number.isSafeInteger(height) || height < 1) throw invalidArgument('image.height', 'a positive integer', height)
  if (!isUint8Array(data) && !isUint8ClampedArray(data))
    throw invalidArgument('image.data', 'a Uint8Array or Uint8ClampedArray', data)
  bytesIn(data.buffer)
  refuseTooLarge('the raw picture', width, height, maxPixels)
  const area = width * height
  if (data.length !== 3 * area && data.length !== 4 * area)
    throw invalidArgument('image.data.length', `3 or 4 times ${width} × ${height}`, data.length)
  const copy = await copied(data)
  if (copy.length === 3 * area) return { width, height, data: new Uint8Array(copy.buffer) }
  const rgb = await eachPixel(area, (from, to, target) => {
    for (let pixel = from; pixel < to; pixel++) {
      target[pixel * 3] = copy[pixel * 4]!
      target[pixel * 3 + 1] = copy[pixel * 4 + 1]!
      target[pixel * 3 + 2] = copy[pixel * 4 + 2]!
    }
  })
  return { width, height, data: rgb }
}

function isRawRgb(input: ImageInput): input is RawRgb {
  return typeof input === 'object' && 'width' in input && 'height' in input && 'data' in input
}

/** By what it has: fetch may be another's than Node's own. */
function isResponse(input: object): input is Response {
  return 'bodyUsed' in input && 'status' in input && 'body' in input
}

/** By what it can do: a caller's sharp may be another copy of the package than ours. */
function isSharp(input: ImageInput): input is Sharp {
  return typeof input === 'object' && 'toColourspace' in input && typeof input.toColourspace === 'function'
}

function refuseTooLarge(name: string, width: number, height: number, maxPixels: number): void {
  if (width * height > maxPixels) {
    throw new LlavaError(
      'IMAGE_TOO_LARGE',
      `${name} has ${width} × ${height} pixels, more than the ${maxPixels} allowed; raise \`maxPixels\` or shrink it first`,
    )
  }
}

function notAnImage(input: unknown): LlavaError {
  return invalidArgument(
    'image',
    'a path or URL, the bytes of a file, a Blob, a stream of bytes, a sharp instance, or { width, height, data }',
    input,
  )
}

/** What the system says of a file, in words that tell what to do. */
const fileReasons: ReadonlyMap<string | undefined, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['ENOTDIR', 'there is no such file'],
  ['ENAMETOOLONG', 'no path is so long'],
  ['EISDIR', 'it is a directory; name the pictures in it'],
  ['EACCES', 'it may not be read'],
  ['EPERM', 'it may not be read'],
])

function unreadable(name: string, cause: unknown, known?: string): LlavaError {
  const { code, message } = cause as NodeJS.ErrnoException
  const reason = known ?? fileReasons.get(code) ?? (cause instanceof Error ? message : String(cause))
  return new LlavaError('IMAGE_UNREADABLE', `cannot read ${shortened(name, 200)}: ${reason}`, { cause })
}
