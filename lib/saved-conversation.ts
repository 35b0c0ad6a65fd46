// A conversation as data: its turns in some KB of JSON, with pictures named by where they are and by what the tower saw
// of them. On request its keys and values too, as bytes: b"llavakv1", the model's fingerprint (32 characters),
// positions (u32), a key for each (i32), pages as the back end lays them out.

import type { EncodedImage, ImageSource } from './engine/encoded-image.js'
import { LlavaError, invalidArgument } from './errors.js'
import { contentParts, type ChatMessage, type TemplateName } from './prompt/templates.js'

/** A picture of a saved conversation. */
export interface SavedPicture {
  readonly type: 'image'
  /** SHA-256 of its pixel_values, in hexadecimal digits: the picture as the tower saw it. */
  readonly digest: string
  /** Its path or URL, where it was given so. */
  readonly source?: string
}

export type SavedPart = { readonly type: 'text'; readonly text: string } | SavedPicture

export interface SavedMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string | readonly SavedPart[]
}

/**
 * What `Conversation.save` gives and `LLaVA.restoreConversation` takes. All but `keysAndValues` may go through JSON.
 */
export interface SavedConversation {
  readonly format: 'llava-conversation'
  readonly template?: TemplateName
  readonly system?: string
  readonly messages: readonly SavedMessage[]
  /** How the model made pixel_values; digests of models that do it otherwise are not compared. */
  readonly preprocessing: string
  /** With the option `keysAndValues`: for a model of the same weights and options alone. */
  readonly keysAndValues?: Uint8Array
}

/** Gives a picture that is neither remembered nor where it was. */
export type PictureSource = (picture: SavedPicture) => ImageSource | undefined | Promise<ImageSource | undefined>

/** A picture by where it is and what it is. */
export function savedPicture(image: ImageSource, encoded: EncodedImage): SavedPicture {
  const source = sourceOf(image)
  return { type: 'image', digest: encoded.digest, ...(source !== undefined && { source }) }
}

/** Of a file or on the web; data: URLs are the picture itself, which is not saved. */
function sourceOf(image: ImageSource): string | undefined {
  const place = image instanceof URL ? image.href : image
  return typeof place === 'string' && !place.startsWith('data:') ? place : undefined
}

/** Throws INVALID_ARGUMENT for what is none. */
export function checkSaved(saved: unknown): asserts saved is SavedConversation {
  const { format, messages, preprocessing, keysAndValues } = (saved ?? {}) as Partial<SavedConversation>
  const isSaved =
    format === 'llava-conversation' &&
    Array.isArray(messages) &&
    messages.every((message) => typeof message === 'object' && message !== null) &&
    typeof preprocessing === 'string'
  if (!isSaved) throw invalidArgument('saved', 'what Conversation.save() gave', saved)
  if (keysAndValues !== undefined && !(keysAndValues instanceof Uint8Array))
    throw invalidArgument('saved.keysAndValues', 'bytes, or nothing', keysAndValues)
}

/** A message's content as a checked list of parts. */
export function savedParts(content: SavedMessage['content'], position: number): readonly SavedPart[] {
  const parts = contentParts(content as ChatMessage['content'], position) as readonly SavedPart[]
  for (const part of parts) {
    if (part.type === 'text') continue
    const { digest, source } = part as Partial<SavedPicture>
    if (typeof digest !== 'string' || (source !== undefined && typeof source !== 'string'))
      throw invalidArgument(`messages[${position}].content`, "pictures { type: 'image', digest, source }", part)
  }
  return parts
}

/** Positions of a text, what they hold, and their keys and values. */
export interface KeysAndValues {
  readonly keys: Int32Array
  readonly pages: Uint8Array
}

const magic = 'llavakv1'
const fingerprintLength = 32
const headLength = magic.length + fingerprintLength + 4

export function writeKeysAndValues(fingerprint: string, { keys, pages }: KeysAndValues): Uint8Array {
  const head = Buffer.alloc(headLength)
  head.write(magic + fingerprint, 'latin1')
  head.writeUInt32LE(keys.length, headLength - 4)
  return Buffer.concat([head, new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength), pages])
}

/** Throws INVALID_ARGUMENT where they are not this model's. */
export function readKeysAndValues(fingerprint: string, bytes: Uint8Array): KeysAndValues {
  const saved = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (saved.toString('latin1', 0, magic.length) !== magic || saved.length < headLength)
    throw new LlavaError('INVALID_ARGUMENT', '`saved.keysAndValues` are no keys and values of a conversation')
  if (saved.toString('latin1', magic.length, magic.length + fingerprint.length) !== fingerprint)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      '`saved.keysAndValues` are those of another model, or of other options of LLaVA.open(); leave them out, and they are computed anew',
    )
  const pagesFrom = headLength + 4 * saved.readUInt32LE(headLength - 4)
  if (saved.length < pagesFrom) throw new LlavaError('INVALID_ARGUMENT', '`saved.keysAndValues` are not whole')
  return {
    keys: new Int32Array(Uint8Array.from(saved.subarray(headLength, pagesFrom)).buffer),
    pages: saved.subarray(pagesFrom),
  }
}
