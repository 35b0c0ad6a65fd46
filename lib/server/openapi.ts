// GET /openapi.json: the routes as OpenAPI 3.1, written from the schemas that validate them.

import { toJsonSchema } from '@valibot/to-json-schema'
import * as v from 'valibot'
import { errorAnswer } from './openai/fields.js'
import { route, type Route } from './route.js'

export function openapiRoute(routes: () => readonly Route[], version: string): Route {
  let document: Record<string, unknown> | undefined
  return route({
    method: 'get',
    path: '/openapi.json',
    summary: 'This description.',
    answer: v.record(v.string(), v.unknown()),
    handle: () => (document ??= openapi(routes(), version)),
  })
}

function openapi(routes: readonly Route[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const one of routes) {
    const path = one.path.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [one.method]: operation(one) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'llava-native', version, description: "OpenAI's and Ollama's APIs to LLaVA and CLIP." },
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    security: [{}, { key: [] }],
    paths,
  }
}

function operation({ method, path, summary, body, answer, streams }: Route): Record<string, unknown> {
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name]) => name)
  const text = answer.type === 'string'
  const whole = { [text ? 'text/plain' : 'application/json']: { schema: schemaOf(answer) } }
  const pieces = streams === undefined ? {} : { [streams.contentType]: { schema: schemaOf(streams.piece) } }
  return {
    operationId: `${method} ${path}`.replaceAll(/\W+/g, '_'),
    summary,
    ...(names.length > 0 && {
      parameters: names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    }),
    ...(body !== undefined && {
      requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body) } } },
    }),
    responses: {
      200: { description: 'an answer', content: { ...whole, ...pieces } },
      default: { description: 'an error', content: { 'application/json': { schema: errorOf(path) } } },
    },
  }
}

function errorOf(path: string): unknown {
  return schemaOf(path.startsWith('/api/') ? v.object({ error: v.string() }) : errorAnswer)
}

/** `$schema` is the document's to say. */
function schemaOf(schema: v.GenericSchema): Record<string, unknown> {
  const json = { ...toJsonSchema(schema, { target: 'draft-2020-12', typeMode: 'input', errorMode: 'ignore' }) }
  delete json.$schema
  return json
}
