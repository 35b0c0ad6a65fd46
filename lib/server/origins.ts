// Web pages of others must not reach a server through the browser of somebody who can: neither by asking it straight
// (their Origin tells), nor by a name of their own that they let lead to it (DNS rebinding; the Host header tells).

import { ApiError, reasons } from './api-error.js'
import { isLoopback, type CheckedOptions } from './server-options.js'

/** Fails with 403. */
export function checkOrigin(
  host: string | undefined,
  origin: string | undefined,
  { loopback, origins }: Pick<CheckedOptions, 'loopback' | 'origins'>,
): void {
  if (loopback && !isLoopback(hostname(`http://${host ?? ''}`)))
    throw new ApiError(reasons.forbidden, 'expected the Host header to name this machine, as nobody else is served')
  if (origin === undefined || origins.includes('*') || origins.includes(origin)) return
  if (URL.canParse(origin) && new URL(origin).host === host) return
  throw new ApiError(reasons.forbidden, `pages of ${origin} may not ask this server; its operator can allow them`)
}

function hostname(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1') : ''
}
