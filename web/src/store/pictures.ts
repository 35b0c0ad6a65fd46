// Pictures on their way into the page: read, made smaller where they are large, hashed, kept.

import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import type { Database, Picture } from './database'

/** Formats that servers read; others that this browser can show are written anew. */
const readable = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif'])

/** Bytes beyond which a picture is made smaller: models see some hundred pixels of a side, and every turn sends it. */
const largeBytes = 2 * 2 ** 20
const largestSide = 2048

/** Nothing that this browser can show. */
export class NoPicture extends Error {}

export class Pictures {
  readonly #database: Database
  readonly #urls = new Map<string, Promise<string | undefined>>()

  constructor(database: Database) {
    this.#database = database
  }

  /** Keeps a picture. Fails with NoPicture. */
  async add(file: Blob, name: string): Promise<Picture> {
    const picture = await read(file, name)
    await this.#database.put('pictures', picture)
    this.#urls.delete(picture.hash)
    return picture
  }

  get(hash: string): Promise<Picture | undefined> {
    return this.#database.get('pictures', hash)
  }

  /** A blob: URL, for the page. */
  url(hash: string): Promise<string | undefined> {
    const known = this.#urls.get(hash)
    if (known !== undefined) return known
    const made = this.get(hash).then((picture) => picture && URL.createObjectURL(picture.blob))
    this.#urls.set(hash, made)
    return made
  }

  /** A data: URL, for the server. Fails where the picture is not kept any more. */
  async dataUrl(hash: string): Promise<string> {
    const picture = await this.get(hash)
    if (picture === undefined) throw new NoPicture(hash)
    return dataUrlOf(picture.blob)
  }
}

async function read(file: Blob, name: string): Promise<Picture> {
  const url = URL.createObjectURL(file)
  const image = new Image()
  image.src = url
  try {
    await image.decode()
    const { naturalWidth: width, naturalHeight: height } = image
    const asItIs = readable.has(file.type) && file.size <= largeBytes
    const kept = asItIs ? { blob: file, width, height } : await redrawn(image, file.type)
    // browsers have a SHA-256 of their own at https and at localhost only
    return { ...kept, hash: bytesToHex(sha256(new Uint8Array(await kept.blob.arrayBuffer()))), name, added: Date.now() }
  } catch (cause) {
    throw new NoPicture(name, { cause })
  } finally {
    URL.revokeObjectURL(url)
  }
}

async function redrawn(image: HTMLImageElement, type: string) {
  const scale = Math.min(1, largestSide / Math.max(image.naturalWidth, image.naturalHeight))
  const width = Math.max(1, Math.round(image.naturalWidth * scale))
  const height = Math.max(1, Math.round(image.naturalHeight * scale))
  const canvas = new OffscreenCanvas(width, height)
  const context = canvas.getContext('2d') as OffscreenCanvasRenderingContext2D
  context.imageSmoothingQuality = 'high'
  context.drawImage(image, 0, 0, width, height)
  const format = type === 'image/jpeg' ? { type, quality: 0.92 } : { type: 'image/webp', quality: 0.95 }
  return { blob: await canvas.convertToBlob(format), width, height }
}

export function dataUrlOf(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => {
      resolve(reader.result as string)
    }
    reader.onerror = () => {
      reject(reader.error ?? new Error('unreadable'))
    }
    reader.readAsDataURL(blob)
  })
}
