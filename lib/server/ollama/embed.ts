// POST /api/embed, as Ollama's API has it ("Generate embeddings"). Data: URLs of pictures are pictures.

import * as v from 'valibot'
import { object } from '../schema-object.js'
import { modelOf, pictureAt } from '../conversation-input.js'
import { wholeNumber } from '../openai/fields.js'
import { route } from '../route.js'
import { checkDimensions, tokensOf, vectorsOf, type VectorInput } from '../vectors.js'
import { nanoseconds } from './fields.js'

const body = object({
  model: v.string(),
  input: v.pipe(v.union([v.string(), v.array(v.string())]), v.description('texts, and data: URLs of pictures')),
  dimensions: v.nullish(wholeNumber(1)),
})

const answer = v.object({
  model: v.string(),
  embeddings: v.array(v.array(v.number())),
  total_duration: v.number(),
  load_duration: v.number(),
  prompt_eval_count: v.number(),
})

export const embed = route({
  method: 'post',
  path: '/api/embed',
  summary: "Texts and pictures as vectors of one space, CLIP's.",
  body,
  answer,
  async handle(call): Promise<v.InferInput<typeof answer>> {
    const { model: name, input, dimensions } = call.body
    const start = performance.now()
    const model = modelOf(call.served, name)
    const inputs = (typeof input === 'string' ? [input] : input).map((item, at): VectorInput =>
      /^data:image\//i.test(item) ? { image: pictureAt(item, call.served, `input[${at}]`) } : { text: item },
    )
    const vectors = await vectorsOf(model, inputs, 'f32', call)
    checkDimensions(dimensions, vectors[0]?.length)
    return {
      model: name,
      embeddings: vectors.map((vector) => Array.from(vector)),
      total_duration: nanoseconds(performance.now() - start),
      load_duration: 0,
      prompt_eval_count: tokensOf(model, inputs),
    }
  },
})
