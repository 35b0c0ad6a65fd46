// A span of OpenTelemetry for each request, through @opentelemetry/api; what becomes of spans is the process's choice.
// Attributes are those of OpenTelemetry's semantic conventions, of HTTP and of generative AI.

import type { IncomingMessage } from 'node:http'
import { LlavaError } from '../index.js'
import type { Spent } from './route.js'

/** How a request ended. */
export interface Outcome {
  /** The route's path, as it stands in the table of routes. */
  readonly route: string
  readonly status: number
  /** Code of the error that the client was told, or that it left. */
  readonly error: string | undefined
  readonly spent: Spent | undefined
}

export interface RequestSpan {
  firstToken(): void
  end(outcome: Outcome): void
}

export type BeginSpan = (incoming: IncomingMessage, id: string) => RequestSpan

/**
 * Spans by the tracer that is registered in this process, each below the one that its client names (`traceparent`).
 * Fails with INVALID_ARGUMENT where @opentelemetry/api is not installed.
 */
export async function openRequestSpans(version: string): Promise<BeginSpan> {
  const { context, propagation, SpanKind, SpanStatusCode, trace } = await importApi()
  const tracer = trace.getTracer('llava-native', version)
  return (incoming, id) => {
    const { method = 'GET', headers } = incoming
    const parent = propagation.extract(context.active(), headers)
    const attributes = { 'http.request.method': method, 'http.request.header.x-request-id': [id] }
    const span = tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent)
    return {
      firstToken() {
        span.addEvent('first token')
      },
      end({ route, status, error, spent }) {
        span.updateName(`${method} ${route}`)
        span.setAttributes({
          'http.route': route,
          'http.response.status_code': status,
          ...(error !== undefined && { 'error.type': error }),
          ...(spent !== undefined && {
            'gen_ai.usage.input_tokens': spent.promptTokens,
            'gen_ai.usage.cache_read.input_tokens': spent.cachedTokens,
            'gen_ai.usage.output_tokens': spent.completionTokens,
          }),
        })
        if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
        span.end()
      },
    }
  }
}

async function importApi() {
  try {
    return await import('@opentelemetry/api')
  } catch (cause) {
    throw new LlavaError('INVALID_ARGUMENT', 'spans need the package @opentelemetry/api: npm install it', { cause })
  }
}
