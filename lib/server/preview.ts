// POST /v1/preview: what a model sees of a picture. It is no route of OpenAI's.

import sharp from 'sharp'
import * as v from 'valibot'
import { ApiError, reasons } from './api-error.js'
import { modelOf, pictureAt } from './conversation-input.js'
import { modelField } from './openai/fields.js'
import { route } from './route.js'
import { object } from './schema-object.js'

const answer = v.object({
  size: v.pipe(v.number(), v.description('pixels of a side')),
  aspect_ratio: v.pipe(
    v.picklist(['pad', 'crop', 'stretch']),
    v.description('how the picture was made square: with a margin, by cutting off its ends, or out of proportion'),
  ),
  image_url: object({ url: v.pipe(v.string(), v.description('a data: URL of a PNG')) }),
})

export const preview = route({
  method: 'post',
  path: '/v1/preview',
  summary: 'The square that a model sees of a picture.',
  body: object({ model: modelField, image_url: object({ url: v.string() }) }),
  answer,
  async handle({ body, served, signal }): Promise<v.InferInput<typeof answer>> {
    const model = modelOf(served, body.model)
    const { vision } = model.info()
    if (vision === undefined) throw new ApiError(reasons.unsupported, `${body.model} takes no pictures`)
    const picture = pictureAt(body.image_url.url, served, 'image_url.url')
    const { width, height, data } = await model.preprocessed(picture, { signal })
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer()
    const url = `data:image/png;base64,${png.toString('base64')}`
    return { size: width, aspect_ratio: vision.aspectRatio, image_url: { url } }
  },
})
