// Messages as clients write them, to those that the library takes: system texts first and as one, turns of the same
// role as one turn, and pictures from where the server lets them come.

import type { ImageSource, LLaVA, Message } from '../index.js'
import { ApiError, reasons } from './api-error.js'
import type { Call, Served } from './route.js'

export type Part =
  { readonly type: 'text'; readonly text: string } | { readonly type: 'image'; readonly image: ImageSource }

export interface Turn {
  readonly role: 'system' | 'user' | 'assistant'
  readonly parts: readonly Part[]
}

/** The model of a name, Ollama's `:latest` behind it or not. Fails with 404. */
export function modelOf({ models }: Served, name: string): LLaVA {
  const plain = name.replace(/:latest$/, '')
  const model = Object.hasOwn(models, plain) ? models[plain] : undefined
  if (model !== undefined) return model
  const known = Object.keys(models).join(', ')
  throw new ApiError(reasons.modelNotFound, `there is no model ${JSON.stringify(plain)}; there is ${known}`, {
    param: 'model',
  })
}

/** Fails with 400 where there are more pictures than are allowed. */
export function messagesOf(turns: readonly Turn[], { served }: Call<unknown>): readonly Message[] {
  const pictures = turns.flatMap(({ parts }) => parts.filter(({ type }) => type === 'image')).length
  if (pictures > served.limits.pictures)
    throw new ApiError(reasons.invalid, `expected at most ${served.limits.pictures} pictures, got ${pictures}`)
  const joined: { role: Turn['role']; content: Part[] }[] = []
  for (const { role, parts } of turns) {
    const last = joined.at(-1)
    if (last?.role === role) last.content.push(...parts)
    else joined.push({ role, content: [...parts] })
  }
  return joined
}

/**
 * A picture by its URL: `data:` always, http and https where the server reads pictures of others. Anything else, above
 * all paths and `file:`, would let clients read this machine's files. Fails with 400.
 */
export function pictureAt(url: string, { remotePictures }: Served, param: string): string {
  if (/^data:/i.test(url)) return url
  if (!/^https?:\/\//i.test(url))
    throw new ApiError(reasons.invalid, 'expected a picture as a data:, http: or https: URL', { param })
  if (remotePictures) return url
  throw new ApiError(
    reasons.unsupported,
    'this server does not fetch pictures from elsewhere: send the picture itself, as a data: URL',
    { param },
  )
}

/** A picture in base64, as Ollama has them. Fails with 400. */
export function pictureIn(base64: string, param: string): ImageSource {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.length > 0 && /^[\w+/\s-]+=*\s*$/.test(base64.slice(-100))) return bytes
  throw new ApiError(reasons.invalid, 'expected a picture in base64', { param })
}
