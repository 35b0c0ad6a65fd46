// GET /healthz and /readyz, for those who start, stop and balance servers.

import * as v from 'valibot'
import { ApiError, reasons } from './api-error.js'
import { route, type Route } from './route.js'

const answer = v.object({ status: v.literal('ok') })
type Ok = v.InferInput<typeof answer>

/** @param ready whether requests are taken */
export function healthRoutes(ready: () => boolean): readonly Route[] {
  return [
    route({
      method: 'get',
      path: '/healthz',
      summary: 'Answers as long as the process lives.',
      answer,
      handle: (): Ok => ({ status: 'ok' }),
    }),
    route({
      method: 'get',
      path: '/readyz',
      summary: 'Answers 200 while requests are taken, 503 once the server ends.',
      answer,
      handle(): Ok {
        if (!ready()) throw new ApiError(reasons.shuttingDown, 'this server ends')
        return { status: 'ok' }
      },
    }),
  ]
}
