// Bytes of any picture to 8-bit RGB, equal to Pillow's `Image.open(…).convert('RGB')` but for EXIF orientation, which is applied unless asked not to.
// Colour profiles are ignored, alpha is dropped and the stored colour kept (transparent GIF pixels are black), grey and palettes are expanded, CMYK
// becomes (255 − c)(255 − k) / 255, 16 bits keep the high byte (Pillow clips 16-bit grey), and an animation gives its first frame.
// Every input is copied before the first await: later changes to it, or its transfer to another thread, do not matter.

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { isAnyArrayBuffer, isUint8Array, isUint8ClampedArray } from 'node:util/types'
import { type Sharp } from 'sharp'
import { invalidArgument, LlavaError } from '../errors.js'

/** Rows of pixels, top to bottom: RGB or RGBA, 3 or 4 bytes per pixel according to the length of `data`. */
export interface RawRgb {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array | Uint8ClampedArray
}

/**
 * A picture: a path, a `file:` or `data:` URL (as text or URL), the bytes of a file (JPEG, PNG, WebP, GIF, TIFF, AVIF, SVG), a Blob, a sharp instance
 * (taken with what it is set to do; only its output counts), or bare pixels.
 */
export type ImageInput = string | URL | Buffer | Uint8Array | ArrayBufferLike | Blob | Sharp | RawRgb

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
}

const defaultMaxPixels = 178_956_970

/** The encoded bytes and what to call them in an error. */
interface Encoded {
  readonly bytes: Buffer
  readonly name: string
}

/**
 * Decodes `input` to RGB.
 * @throws {LlavaError} `INVALID_ARGUMENT`; `IMAGE_UNREADABLE` (missing, truncated, of no known format); `IMAGE_TOO_LARGE` (more than `maxPixels`)
 */
export async function decodeImage(input: ImageInput, options: DecodeOptions = {}): Promise<RgbImage> {
  const { autoOrient = true, maxPixels = defaultMaxPixels } = options
  if (typeof autoOrient !== 'boolean') throw invalidArgument('autoOrient', 'a boolean', autoOrient)
  if (typeof maxPixels !== 'number' || !(maxPixels > 0)) throw invalidArgument('maxPixels', 'a number above 0', maxPixels)
  if (typeof input !== 'string' && Object(input) !== input) throw notAnImage(input)
  if (isRawRgb(input)) return copyRaw(input, maxPixels)
  if (isSharp(input)) return decodePipeline(autoOrient ? input.clone().autoOrient() : input.clone(), maxPixels)
  return decodeBytes(await encodedBytes(input), autoOrient, maxPixels)
}

async function encodedBytes(input: string | URL | Uint8Array | ArrayBufferLike | Blob): Promise<Encoded> {
  if (typeof input === 'string' || input instanceof URL) return bytesAt(input)
  if (input instanceof Blob) return { bytes: Buffer.from(await input.arrayBuffer()), name: 'the picture in the Blob' }
  if (isUint8Array(input)) return { bytes: copyBytes(input.buffer, input.byteOffset, input.byteLength), name: 'the picture in memory' }
  if (isAnyArrayBuffer(input)) return { bytes: copyBytes(input, 0, input.byteLength), name: 'the picture in memory' }
  throw notAnImage(input)
}

async function bytesAt(location: string | URL): Promise<Encoded> {
  const text = String(location)
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(text)?.[1]?.toLowerCase()
  // fetch decodes data: URLs itself, without a network
  if (scheme === 'data') return read('the picture in the data: URL', async () => Buffer.from(await (await fetch(text)).arrayBuffer()))
  if (scheme === 'file') {
    const path = pathOf(text)
    return read(path, () => readFile(path))
  }
  if (location instanceof URL || scheme === 'http' || scheme === 'https') {
    throw invalidArgument('image', 'a path, or a file: or data: URL (fetch others first and pass the bytes)', text)
  }
  if (text === '' || text.includes('\0')) throw invalidArgument('image', 'a path', text)
  return read(text, () => readFile(text))
}

function pathOf(fileUrl: string): string {
  try {
    return fileURLToPath(fileUrl)
  } catch {
    throw invalidArgument('image', 'a file: URL of this machine', fileUrl)
  }
}

async function read(name: string, load: () => Promise<Buffer>): Promise<Encoded> {
  try {
    return { bytes: await load(), name }
  } catch (cause) {
    throw unreadable(name, cause)
  }
}

/** A copy of its own memory: works for shared and resizable buffers, refuses detached ones. */
function copyBytes(buffer: ArrayBufferLike, byteOffset: number, byteLength: number): Buffer {
  refuseDetached(buffer)
  return Buffer.from(new Uint8Array(buffer, byteOffset, byteLength))
}

function refuseDetached(buffer: ArrayBufferLike): void {
  try {
    new Uint8Array(buffer)
  } catch {
    throw invalidArgument('image', 'bytes that are still there', 'a detached buffer')
  }
}

async function decodeBytes({ bytes, name }: Encoded, autoOrient: boolean, maxPixels: number): Promise<RgbImage> {
  if (bytes.length === 0) throw new LlavaError('IMAGE_UNREADABLE', `cannot read ${name}: it holds no bytes`)
  const { default: sharp } = await import('sharp')
  const open = () => sharp(bytes, { ignoreIcc: true, autoOrient, limitInputPixels: false, failOn: 'error' })
  try {
    const { width, height, space } = await open().metadata()
    refuseTooLarge(name, width, height, maxPixels)
    return space === 'cmyk' ? await decodeCmyk(open()) : await decodeRgb(open())
  } catch (cause) {
    throw cause instanceof LlavaError ? cause : unreadable(name, cause)
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
  const { data, info } = await pipeline.toColourspace('srgb').removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}

/** Ink as it is stored, without the profile that sharp would otherwise apply; then as Pillow mixes it. */
async function decodeCmyk(pipeline: Sharp): Promise<RgbImage> {
  const { data, info } = await pipeline.pipelineColourspace('cmyk').toColourspace('cmyk').raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
  const rgb = new Uint8Array(info.width * info.height * 3)
  for (let source = 0, target = 0; target < rgb.length; source += info.channels, target += 3) {
    const light = 255 - data[source + 3]!
    for (let c = 0; c < 3; c++) rgb[target + c] = Math.round(((255 - data[source + c]!) * light) / 255)
  }
  return { width: info.width, height: info.height, data: rgb }
}

function copyRaw({ width, height, data }: RawRgb, maxPixels: number): RgbImage {
  if (!Number.isSafeInteger(width) || width < 1) throw invalidArgument('image.width', 'a positive integer', width)
  if (!Number.isSafeInteger(height) || height < 1) throw invalidArgument('image.height', 'a positive integer', height)
  if (!isUint8Array(data) && !isUint8ClampedArray(data)) throw invalidArgument('image.data', 'a Uint8Array or Uint8ClampedArray', data)
  refuseDetached(data.buffer)
  refuseTooLarge('the raw picture', width, height, maxPixels)
  const area = width * height
  if (data.length === 3 * area) return { width, height, data: Uint8Array.from(data) }
  if (data.length !== 4 * area) throw invalidArgument('image.data.length', `3 or 4 times ${width} × ${height}`, data.length)
  const rgb = new Uint8Array(3 * area)
  for (let source = 0, target = 0; target < rgb.length; source += 4, target += 3) {
    rgb[target] = data[source]!
    rgb[target + 1] = data[source + 1]!
    rgb[target + 2] = data[source + 2]!
  }
  return { width, height, data: rgb }
}

function isRawRgb(input: ImageInput): input is RawRgb {
  return typeof input === 'object' && 'width' in input && 'height' in input && 'data' in input
}

/** By what it can do: a caller's sharp may be another copy of the package than ours. */
function isSharp(input: ImageInput): input is Sharp {
  return typeof input === 'object' && 'toColourspace' in input && typeof input.toColourspace === 'function'
}

function refuseTooLarge(name: string, width: number, height: number, maxPixels: number): void {
  if (width * height > maxPixels) {
    throw new LlavaError('IMAGE_TOO_LARGE', `${name} has ${width} × ${height} pixels, more than the ${maxPixels} allowed; raise \`maxPixels\` or shrink it first`)
  }
}

function notAnImage(input: unknown): LlavaError {
  return invalidArgument('image', 'a path, a file: or data: URL, a Buffer, Uint8Array, ArrayBuffer or Blob, a sharp instance, or { width, height, data }', input)
}

function unreadable(name: string, cause: unknown): LlavaError {
  return new LlavaError('IMAGE_UNREADABLE', `cannot read ${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
}
