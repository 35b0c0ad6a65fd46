// The routes behind what they share: who may ask, from where, how much at once, and how errors are told.

import type { HttpBindings } from '@hono/node-server'
import { Hono, type Context, type MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { ApiError, apiError, ollamaError, openaiError, reasons } from './api-error.js'
import type { ApiKeys } from './api-keys.js'
import { checkOrigin } from './origins.js'
import type { OpenRequest } from './open-request.js'
import { page } from './page.js'
import { parseBody, readJson } from './request-body.js'
import { StreamedReply, TextReply, type Route, type Served } from './route.js'
import type { CheckedOptions } from './server-options.js'

interface Environment {
  Bindings: HttpBindings
  Variables: { request: OpenRequest }
}

export interface AppParts {
  readonly served: Served
  readonly options: CheckedOptions
  readonly keys: ApiKeys
  /** Those that need a key where there are keys. */
  readonly routes: readonly Route[]
  /** Those that never need one. */
  readonly openRoutes: readonly Route[]
  /** Begins a request; fails where none are taken any more. */
  readonly begin: (bindings: HttpBindings) => OpenRequest
}

export function createApp({ served, options, keys, routes, openRoutes, begin }: AppParts): Hono<Environment> {
  const app = new Hono<Environment>()
  app.use(async (context, next) => {
    context.set('request', begin(context.env))
    checkOrigin(context.req.header('host'), context.req.header('origin'), options)
    await next()
  })
  if (options.origins.length > 0) {
    const origin = options.origins.includes('*') ? '*' : options.origins
    app.use(
      cors({ origin, allowMethods: ['GET', 'POST'], exposeHeaders: ['x-request-id', 'retry-after'], maxAge: 600 }),
    )
  }
  for (const route of openRoutes) app.on(route.method, route.path, answer(route, served))
  for (const route of routes) app.on(route.method, route.path, authorise(keys), answer(route, served))
  for (const { path, method } of [...openRoutes, ...routes]) app.all(path, refuseMethod(method))
  for (const handler of page(options.files)) app.get('*', handler)
  app.notFound((context) => {
    const { method, path } = context.req
    return failed(context, new ApiError(reasons.notFound, `${method} ${path} is no route of this server`))
  })
  app.onError((error, context) => failed(context, apiError(error)))
  return app
}

function authorise(keys: ApiKeys): MiddlewareHandler<Environment> {
  return async (context, next) => {
    const client = keys.clientOf(context.req.header('authorization'))
    if (client === undefined) {
      context.header('www-authenticate', 'Bearer')
      throw new ApiError(reasons.noKey, 'expected `Authorization: Bearer KEY` with a key that this server knows')
    }
    context.get('request').client = client
    await next()
  }
}

function refuseMethod(method: string): (context: Context<Environment>) => never {
  return (context) => {
    context.header('allow', method.toUpperCase())
    throw new ApiError(reasons.wrongMethod, `${context.req.path} takes ${method.toUpperCase()} only`)
  }
}

function answer(route: Route, served: Served): (context: Context<Environment>) => Promise<Response> {
  return async (context) => {
    const request = context.get('request')
    request.route = route.path
    let body: unknown
    if (route.body !== undefined) {
      const place = request.enter(served.limits.deadlineMs)
      body = parseBody(route.body, await readJson(request.incoming, served.limits.bodyBytes, place))
    }
    const { id, signal, firstToken, spend } = request
    const client = request.client === '' ? (request.incoming.socket.remoteAddress ?? '') : request.client
    const call = { id, served, body, params: context.req.param(), client, signal, firstToken, spend }
    const reply = await route.handle(call)
    if (reply instanceof StreamedReply) return streamed(reply, request)
    if (reply instanceof TextReply) return context.body(reply.text, 200, { 'content-type': reply.contentType })
    return context.json(reply as object)
  }
}

/** Waits for the first piece, so that what fails before it has a status of its own. */
async function streamed({ contentType, pieces, failure }: StreamedReply, request: OpenRequest): Promise<Response> {
  const first = await pieces.next()
  let waiting: IteratorResult<string, void> | undefined = first
  const body = new ReadableStream<string>(
    {
      async pull(controller) {
        try {
          const { done, value } = waiting ?? (await pieces.next())
          waiting = undefined
          if (done === true) controller.close()
          else controller.enqueue(value)
        } catch (error) {
          const known = apiError(error)
          request.fail(known)
          controller.enqueue(failure(known))
          controller.close()
        }
      },
      async cancel() {
        await pieces.return()
      },
    },
    { highWaterMark: 0 },
  )
  const headers = {
    'content-type': contentType,
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no', // nginx would keep the pieces back
  }
  return new Response(body.pipeThrough(new TextEncoderStream()), { headers })
}

function failed(context: Context<Environment>, error: ApiError): Response {
  context.get('request')?.fail(error)
  if (error.retryAfter !== undefined) context.header('retry-after', String(error.retryAfter))
  // what is left of a body that is not read would be taken for the next request
  if (error.status === 413) context.header('connection', 'close')
  const body = context.req.path.startsWith('/api/') ? ollamaError(error) : openaiError(error)
  return context.json(body, error.status as 400)
}
