// GET /v1/models, and of one of them.

import * as v from 'valibot'
import { modelOf } from '../conversation-input.js'
import { route, type Served } from '../route.js'
import { seconds } from './fields.js'

const model = v.object({
  id: v.string(),
  object: v.literal('model'),
  created: v.number(),
  owned_by: v.string(),
  context_length: v.pipe(v.number(), v.description('tokens that a prompt and its answer may have together')),
  capabilities: v.pipe(
    v.array(v.picklist(['completion', 'vision', 'embedding'])),
    v.description('vision: it takes pictures; embedding: it has a CLIP'),
  ),
})

function described(id: string, served: Served): v.InferOutput<typeof model> {
  const { contextLength, vision, clip } = modelOf(served, id).info()
  return {
    id,
    object: 'model',
    created: seconds(served.since),
    owned_by: 'llava-native',
    context_length: contextLength,
    capabilities: ['completion', ...(vision ? (['vision'] as const) : []), ...(clip ? (['embedding'] as const) : [])],
  }
}

const list = v.object({ object: v.literal('list'), data: v.array(model) })

export const listModels = route({
  method: 'get',
  path: '/v1/models',
  summary: 'Lists the models that this server has.',
  answer: list,
  handle: ({ served }): v.InferInput<typeof list> => ({
    object: 'list',
    data: Object.keys(served.models).map((id) => described(id, served)),
  }),
})

export const oneModel = route({
  method: 'get',
  path: '/v1/models/:model',
  summary: 'Says whether this server has a model.',
  answer: model,
  handle({ served, params }) {
    const { model: id = '' } = params
    modelOf(served, id)
    return described(id, served)
  },
})
