// GET /: the chat page that comes with the package, or the files of a directory that stands in its place.

import { existsSync } from 'node:fs'
import { serveStatic } from '@hono/node-server/serve-static'
import type { MiddlewareHandler } from 'hono'
import { etag } from 'hono/etag'
import { secureHeaders } from 'hono/secure-headers'
import { packageFile } from '../package-files.js'

/** Vite's output; a checkout that was not built has none. */
const builtPage = packageFile('dist/web')

/** What answers GET for files; nothing where there are none to serve. */
export function page(files: string | false | undefined): readonly MiddlewareHandler[] {
  if (files === false) return []
  if (files !== undefined) return [etag(), serveStatic({ root: files })]
  if (!existsSync(builtPage)) return []
  return [
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'self'"],
        imgSrc: ["'self'", 'blob:', 'data:'],
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
      permissionsPolicy: { camera: ['self'], microphone: [], geolocation: [] },
      referrerPolicy: 'no-referrer',
      strictTransportSecurity: false, // whoever puts TLS in front of it says so
    }),
    etag(),
    async (context, next) => {
      await next()
      // names of assets hold a hash of what is in them
      const lasts = context.res.ok && context.req.path.includes('/assets/')
      context.header('cache-control', lasts ? 'public, max-age=31536000, immutable' : 'no-cache')
    },
    serveStatic({ root: builtPage, precompressed: true }),
  ]
}
