// POST /v1/embeddings, as OpenAI's API reference has it ("Create embeddings"). Beside texts it takes pictures: parts of
// messages in the list `input`, or, as most clients send nothing but strings, data: URLs of pictures.

import * as v from 'valibot'
import { object } from '../schema-object.js'
import { modelOf, pictureAt } from '../conversation-input.js'
import { route, type Call, type Served } from '../route.js'
import { checkDimensions, tokensOf, vectorsOf, type VectorInput } from '../vectors.js'
import { modelField, wholeNumber } from './fields.js'

const one = v.variant('type', [
  object({ type: v.literal('text'), text: v.string() }),
  object({ type: v.literal('image_url'), image_url: object({ url: v.string() }) }),
])

const body = object({
  model: modelField,
  input: v.pipe(
    v.union([v.string(), v.array(v.union([v.string(), one]))]),
    v.description('texts, and pictures as parts of messages or as data: URLs; no ids of tokens'),
  ),
  encoding_format: v.nullish(v.picklist(['float', 'base64'])),
  dimensions: v.nullish(v.pipe(wholeNumber(1), v.description("the vectors' own length; no other was trained"))),
})

const answer = v.object({
  object: v.literal('list'),
  data: v.array(
    v.object({
      object: v.literal('embedding'),
      index: v.number(),
      embedding: v.pipe(
        v.union([v.array(v.number()), v.string()]),
        v.description('with base64: of its values as little-endian float32'),
      ),
    }),
  ),
  model: v.string(),
  usage: v.object({ prompt_tokens: v.number(), total_tokens: v.number() }),
})

type Body = v.InferOutput<typeof body>

export const embeddings = route({
  method: 'post',
  path: '/v1/embeddings',
  summary: "Texts and pictures as vectors of one space, CLIP's.",
  body,
  answer,
  async handle(call): Promise<v.InferInput<typeof answer>> {
    const asked = call.body
    const model = modelOf(call.served, asked.model)
    const inputs = inputsOf(asked, call.served)
    const vectors = await (asked.encoding_format === 'base64'
      ? inBase64(call, inputs)
      : vectorsOf(model, inputs, 'f32', call).then((all) => all.map((vector) => Array.from(vector))))
    checkDimensions(asked.dimensions, lengthOf(vectors[0]))
    const tokens = tokensOf(model, inputs)
    return {
      object: 'list',
      data: vectors.map((embedding, index) => ({ object: 'embedding', index, embedding })),
      model: asked.model,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    }
  },
})

function inBase64(call: Call<Body>, inputs: readonly VectorInput[]): Promise<readonly string[]> {
  return vectorsOf(modelOf(call.served, call.body.model), inputs, 'base64', call)
}

/** Values of a vector: four bytes each in base64. */
function lengthOf(vector: readonly number[] | string | undefined): number | undefined {
  return typeof vector === 'string' ? Buffer.from(vector, 'base64').length / 4 : vector?.length
}

function inputsOf({ input }: Body, served: Served): readonly VectorInput[] {
  return (typeof input === 'string' ? [input] : input).map((item, at) => {
    if (typeof item === 'string')
      return /^data:image\//i.test(item) ? { image: pictureAt(item, served, `input[${at}]`) } : { text: item }
    if (item.type === 'text') return { text: item.text }
    return { image: pictureAt(item.image_url.url, served, `input[${at}].image_url.url`) }
  })
}
