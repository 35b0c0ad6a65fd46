// A server in this process, on a port that is free, with the model that comes with the package.

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { LLaVA } from '../../lib/index.js'
import { serve, type LlavaServer, type LogEntry, type ServerOptions } from '../../lib/server/index.js'

export const demo = fileURLToPath(new URL('../../../models/demo.png', import.meta.url))

/** The picture of the README in base64, and as a URL. */
export const demoBase64 = (await readFile(demo)).toString('base64')
export const demoUrl = `data:image/png;base64,${demoBase64}`

export const question = 'What is in this picture?'
export const answer = 'The picture shows a rocket, a dog and a cactus.'

export interface Running extends AsyncDisposable {
  readonly server: LlavaServer
  readonly model: LLaVA
  readonly url: string
  /** All that was logged. */
  readonly log: readonly LogEntry[]
}

export async function running(
  options: Omit<ServerOptions, 'models'> = {},
  open: Parameters<typeof LLaVA.open>[1] = {},
): Promise<Running> {
  const model = await LLaVA.open(undefined, { threads: 2, ...open })
  const log: LogEntry[] = []
  const server = await serve({ port: 0, models: { default: model }, log: (entry) => log.push(entry), ...options })
  return {
    server,
    model,
    url: server.url,
    log,
    async [Symbol.asyncDispose]() {
      await server.close(AbortSignal.abort())
      await model[Symbol.asyncDispose]()
    },
  }
}

export function post(url: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const headers = { 'content-type': 'application/json', ...(init.headers as Record<string, string> | undefined) }
  return fetch(url, { method: 'POST', body: text, ...init, headers })
}

/** A question about the picture, as OpenAI's chat completions have it. */
export const aboutDemo = {
  model: 'default',
  messages: [
    {
      role: 'user' as const,
      content: [
        { type: 'image_url' as const, image_url: { url: demoUrl, detail: 'low' as const } },
        { type: 'text' as const, text: question },
      ],
    },
  ],
}

/** An answer of as many tokens as there is room for: it goes on until somebody stops it. */
export const endless = {
  model: 'default',
  messages: [{ role: 'user' as const, content: 'Go on.' }],
  max_completion_tokens: 1900,
  // only letters, and no end: `.*` that is 100,000 characters long at least
  response_format: {
    type: 'json_schema' as const,
    json_schema: { name: 'long', schema: { type: 'string', minLength: 100_000 } },
  },
}

/** Waits for something that is bound to happen, as long as it takes. */
export async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}
