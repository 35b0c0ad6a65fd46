// Messages as OpenAI's chat completions have them: texts, and pictures by their URLs.

import * as v from 'valibot'
import { pictureAt, type Part, type Turn } from '../conversation-input.js'
import type { Served } from '../route.js'
import { object } from '../schema-object.js'

const textPart = object({ type: v.literal('text'), text: v.string() })

const picturePart = object({
  type: v.literal('image_url'),
  image_url: object({
    url: v.pipe(v.string(), v.description('data:, http: or https:')),
    detail: v.nullish(
      v.pipe(v.picklist(['auto', 'low', 'high']), v.description('a model sees every picture in one size')),
    ),
  }),
})

const texts = v.union([v.string(), v.array(textPart)])
const name = v.nullish(v.string())

const message = v.variant('role', [
  object({ role: v.picklist(['system', 'developer']), content: texts, name }),
  object({
    role: v.literal('user'),
    content: v.union([v.string(), v.array(v.variant('type', [textPart, picturePart]))]),
    name,
  }),
  object({ role: v.literal('assistant'), content: v.nullish(texts), name }),
])

export const chatMessages = v.pipe(v.array(message), v.minLength(1))

type ChatMessages = v.InferOutput<typeof chatMessages>

/** Fails with 400 where a picture may not come from where it is. */
export function turnsOf(messages: ChatMessages, served: Served): readonly Turn[] {
  return messages.map(({ role, content }, at) => ({
    role: role === 'developer' ? 'system' : role,
    parts: partsOf(content ?? '', served, `messages[${at}].content`),
  }))
}

function partsOf(
  content: string | readonly (v.InferOutput<typeof textPart> | v.InferOutput<typeof picturePart>)[],
  served: Served,
  param: string,
): readonly Part[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }]
  return content.map((part, at) =>
    part.type === 'text'
      ? part
      : { type: 'image', image: pictureAt(part.image_url.url, served, `${param}[${at}].image_url.url`) },
  )
}
