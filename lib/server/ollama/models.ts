// GET /api/tags, POST /api/show, GET /api/version, as Ollama's API has them.

import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { object } from '../schema-object.js'
import type { LLaVA } from '../../index.js'
import { modelOf } from '../conversation-input.js'
import { route, type Served } from '../route.js'
import { details, detailsOf } from './fields.js'

const listed = v.object({
  name: v.string(),
  model: v.string(),
  modified_at: v.string(),
  size: v.number(),
  digest: v.pipe(v.string(), v.description('SHA-256 of what is known of the model, not of its file')),
  details,
})

const tagsAnswer = v.object({ models: v.array(listed) })

export const tags = route({
  method: 'get',
  path: '/api/tags',
  summary: 'Lists the models that this server has.',
  answer: tagsAnswer,
  handle: ({ served }): v.InferInput<typeof tagsAnswer> => ({
    models: Object.entries(served.models).map(([name, model]) => listing(name, model, served)),
  }),
})

function listing(name: string, model: LLaVA, { since }: Served): v.InferInput<typeof listed> {
  const { card } = model.info()
  return {
    name,
    model: name,
    modified_at: since.toISOString(),
    size: Object.values(card.weightDtypes).reduce((sum, nbytes) => sum + nbytes, 0),
    digest: createHash('sha256')
      .update(JSON.stringify([name, card]))
      .digest('hex'),
    details: detailsOf(model.info()),
  }
}

const showBody = object({
  model: v.optional(v.string()),
  name: v.optional(v.pipe(v.string(), v.description('the older name of model'))),
})

const showAnswer = v.object({
  modelfile: v.string(),
  parameters: v.string(),
  template: v.pipe(v.string(), v.description('the name of the prompt format')),
  license: v.optional(v.string()),
  details,
  model_info: v.record(v.string(), v.union([v.string(), v.number()])),
  capabilities: v.array(v.picklist(['completion', 'vision'])),
  modified_at: v.string(),
})

export const show = route({
  method: 'post',
  path: '/api/show',
  summary: 'Says what a model is.',
  body: showBody,
  answer: showAnswer,
  handle({ body, served }): v.InferInput<typeof showAnswer> {
    const info = modelOf(served, body.model ?? body.name ?? '').info()
    const { card, text, vision, contextLength } = info
    return {
      modelfile: '',
      parameters: '',
      template: info.template,
      ...(card.license !== undefined && { license: card.license }),
      details: detailsOf(info),
      model_info: {
        'general.architecture': 'llama',
        'general.parameter_count': card.parameters,
        'llama.block_count': text.layers,
        'llama.context_length': contextLength,
        'llama.embedding_length': text.hiddenSize,
        'llama.attention.head_count': text.heads,
        'llama.attention.head_count_kv': text.kvHeads,
        ...(vision && {
          'clip.vision.block_count': vision.layers,
          'clip.vision.embedding_length': vision.hiddenSize,
          'clip.vision.image_size': vision.imageSize,
          'clip.vision.patch_size': vision.patchSize,
        }),
      },
      capabilities: vision === undefined ? ['completion'] : ['completion', 'vision'],
      modified_at: served.since.toISOString(),
    }
  },
})

const versionAnswer = v.object({ version: v.string() })

export const version = route({
  method: 'get',
  path: '/api/version',
  summary: "Says this package's version.",
  answer: versionAnswer,
  handle: ({ served }): v.InferInput<typeof versionAnswer> => ({ version: served.version }),
})
