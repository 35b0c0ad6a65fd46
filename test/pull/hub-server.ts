// A hub of models on this machine: the listing, downloads that redirect to another origin, and every fault that a test asks for.
// Large files (by their extension) are in the store, under their SHA-256; the others are git's own: the hub sends them
// itself, and lists git's SHA-1.

import { createHash } from 'node:crypto'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** A repository's files, by their paths. */
export type Files = Readonly<Record<string, Buffer>>

export interface ServedRequest {
  /** `hub`, or `store` where the bytes are. */
  readonly server: 'hub' | 'store'
  readonly path: string
  readonly headers: IncomingMessage['headers']
}

/** Answers a request in its own way and returns true, or returns false to have it answered as usual. */
export type Fault = (request: IncomingMessage, response: ServerResponse, bytes: Buffer) => boolean

export const repository = 'owner/tiny-GGUF'
export const commit = 'c0ffee'.padEnd(40, '0')

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** What git calls a file of these bytes. */
export function gitSha1(bytes: Buffer): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

/** What the hub lists for a file of this path, and caches name it by. */
export function etagOf(path: string, bytes: Buffer): string {
  return isStored(path) ? sha256(bytes) : gitSha1(bytes)
}

function isStored(path: string): boolean {
  return /\.(?:gguf|safetensors|bin|model)$/.test(path)
}

export class HubServer {
  readonly requests: ServedRequest[] = []
  /** What the card states. */
  card: object = { license: 'llama2' }
  /** Asked in turn before the store answers; one that returned true is not asked again. */
  storeFaults: Fault[] = []
  /** The same for the hub. */
  hubFaults: Fault[] = []
  /** Stated instead of the truth. */
  stated: { readonly path?: string; readonly nbytes?: number; readonly sha256?: string; readonly sha1?: string } = {}
  readonly #files: Files
  readonly #hub = http.createServer((request, response) => {
    this.#answer('hub', request, response)
  })
  readonly #store = http.createServer((request, response) => {
    this.#answer('store', request, response)
  })

  private constructor(files: Files) {
    this.#files = files
  }

  static async start(files: Files): Promise<HubServer> {
    const server = new HubServer(files)
    await Promise.all([listen(server.#hub), listen(server.#store)])
    return server
  }

  get endpoint(): string {
    return origin(this.#hub)
  }

  get store(): string {
    return origin(this.#store)
  }

  /** Ranges that the store was asked for. */
  get ranges(): readonly (string | undefined)[] {
    return this.requests.filter(({ server }) => server === 'store').map(({ headers }) => headers.range)
  }

  [Symbol.dispose](): void {
    for (const server of [this.#hub, this.#store]) {
      server.closeAllConnections()
      server.close()
    }
  }

  #answer(server: 'hub' | 'store', request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? '', 'http://server')
    this.requests.push({ server, path: pathname, headers: request.headers })
    const bytes = Object.values(this.#files).find((one) => pathname.endsWith(sha256(one))) ?? Buffer.alloc(0)
    const faults = server === 'hub' ? this.hubFaults : this.storeFaults
    const [fault] = faults
    if (fault?.(request, response, bytes) === true) faults.shift()
    else if (server === 'store') sendRange(request, response, bytes)
    else this.#answerAsHub(pathname, request, response)
  }

  #answerAsHub(path: string, request: IncomingMessage, response: ServerResponse): void {
    const [, download] = /^\/owner\/tiny-GGUF\/resolve\/[0-9a-f]{40}\/(.+)$/.exec(path) ?? []
    const file = decodeURIComponent(download ?? '')
    const bytes = this.#files[file]
    if (bytes !== undefined && !isStored(file)) sendRange(request, response, bytes)
    else if (bytes !== undefined) response.writeHead(302, { location: `${this.store}/bytes/${sha256(bytes)}` }).end()
    else if (path === `/api/models/${repository}/revision/main`)
      sendJson(response, { _id: '1', id: repository, sha: commit, cardData: this.card, lastModified: '2024-01-01' })
    else if (path === `/api/models/${repository}/tree/${commit}`) sendJson(response, this.#tree())
    else response.writeHead(404, { 'x-error-code': 'RepoNotFound', 'x-error-message': 'Repository not found' }).end()
  }

  #tree(): readonly object[] {
    const { path: statedPath, nbytes, sha256: statedSum, sha1 } = this.stated
    const files = Object.entries(this.#files).map(([path, bytes]) => {
      const size = nbytes ?? bytes.length
      if (!isStored(path)) return { type: 'file', path: statedPath ?? path, size, oid: sha1 ?? gitSha1(bytes) }
      return {
        type: 'file',
        path: statedPath ?? path,
        size,
        oid: '0',
        lfs: { oid: statedSum ?? sha256(bytes), size, pointerSize: 130 },
      }
    })
    return [
      { type: 'directory', path: 'folder', size: 0 },
      { type: 'file', path: 'README.md', size: 10, oid: '0' },
      ...files,
    ]
  }
}

function sendJson(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** The range that a request asks for, or all. */
export function rangeOf(request: IncomingMessage, bytes: Buffer): { readonly first: number; readonly end: number } {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
  return first === undefined
    ? { first: 0, end: bytes.length }
    : { first: Number(first), end: Math.min(Number(last) + 1, bytes.length) }
}

export function sendRange(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  length = bytes.length,
): void {
  const { first, end } = rangeOf(request, bytes)
  const partial = request.headers.range !== undefined
  response.writeHead(partial ? 206 : 200, {
    'content-length': end - first,
    ...(partial && { 'content-range': `bytes ${first}-${end - 1}/${length}` }),
  })
  response.end(bytes.subarray(first, end))
}

/** Sends some bytes of what was asked for, then breaks the connection. */
export function dropAfter(nbytes: number): Fault {
  return (request, response, bytes) => {
    const { first, end } = rangeOf(request, bytes)
    response.writeHead(206, {
      'content-length': end - first,
      'content-range': `bytes ${first}-${end - 1}/${bytes.length}`,
    })
    response.write(bytes.subarray(first, first + nbytes), () => response.destroy())
    return true
  }
}

/** An answer without what was asked for. */
export function status(code: number, headers: Readonly<Record<string, string>> = {}): Fault {
  return (_request, response) => {
    response.writeHead(code, headers).end('no')
    return true
  }
}

/** A fault that stays. */
export function always(fault: Fault): Fault[] {
  return new Array<Fault>(1000).fill(fault)
}

async function listen(server: http.Server): Promise<void> {
  server.keepAliveTimeout = 0 // a machine that is busy elsewhere is no server that hangs up
  server.on('connection', (socket: Socket) => socket.on('error', () => undefined))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
}

function origin(server: http.Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
