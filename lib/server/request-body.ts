// A request's body as JSON, whatever its content type says, within the bytes that are allowed.

import type { IncomingMessage } from 'node:http'
import * as v from 'valibot'
import { ApiError, reasons } from './api-error.js'
import type { Place } from './in-flight.js'

/** Fails with 413, with 429 where other bodies take the room, or with 400 where it is no JSON. */
export async function readJson(incoming: IncomingMessage, mostBytes: number, place: Place): Promise<unknown> {
  const text = (await readBytes(incoming, mostBytes, place)).toString()
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    const what = text === '' ? 'an empty body' : 'one that is none'
    throw new ApiError(reasons.invalid, `expected the body to be JSON, got ${what}`, { cause })
  }
}

async function readBytes(incoming: IncomingMessage, mostBytes: number, place: Place): Promise<Buffer> {
  const announced = Number(incoming.headers['content-length'] ?? 0)
  if (announced > mostBytes) throw tooLarge(mostBytes)
  place.take(announced)
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > mostBytes) throw tooLarge(mostBytes)
      if (announced === 0) place.take(chunk.length)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof ApiError) throw cause
    throw new ApiError(reasons.clientLeft, 'the client left before all of the body had come', { cause })
  }
  return Buffer.concat(chunks)
}

function tooLarge(mostBytes: number): ApiError {
  return new ApiError(reasons.bodyTooLarge, `expected a body of at most ${mostBytes} bytes, got more`)
}

/** The body as the schema has it. Fails with 400, which names the field. */
export function parseBody<Schema extends v.GenericSchema>(schema: Schema, body: unknown): v.InferOutput<Schema> {
  const { success, output, issues } = v.safeParse(schema, body)
  if (success) return output
  const { path, issue } = deepest(issues)
  throw new ApiError(reasons.invalid, worded(path, issue), { param: path === '' ? null : path })
}

interface Mistake {
  /** `messages[0].content` */
  readonly path: string
  readonly issue: v.BaseIssue<unknown>
  /** Keys on the way to it. */
  readonly depth: number
}

/** As the library words its own. What was got may be long: somebody's picture where a number belongs. */
function worded(path: string, { expected, received, message }: v.BaseIssue<unknown>): string {
  const where = path === '' ? 'the body' : `\`${path}\``
  if (!message.startsWith('Invalid ')) return `${where}: ${message}`
  const got = received === 'undefined' ? 'nothing' : received.length > 80 ? `${received.slice(0, 80)}…` : received
  return `expected ${where} to be ${expected === null ? 'another value' : expected.replaceAll(' | ', ' or ')}, got ${got}`
}

/** Of a field that may have several forms the mistake in the one that fits best: whose first mistake lies deepest. */
function deepest(issues: readonly v.BaseIssue<unknown>[], above: readonly unknown[] = []): Mistake {
  const [issue] = issues as readonly [v.BaseIssue<unknown>]
  const keys = [...above, ...(issue.path ?? []).map(({ key }) => key)]
  const own = { path: fieldPath(keys), issue, depth: keys.length }
  const inner = (issue.issues ?? []).map((one) => deepest([one], keys)).toSorted((a, b) => b.depth - a.depth)
  return inner[0] !== undefined && inner[0].depth > own.depth ? inner[0] : own
}

function fieldPath(keys: readonly unknown[]): string {
  return keys.reduce<string>((path, key) => {
    if (typeof key === 'number') return `${path}[${key}]`
    return path === '' ? String(key) : `${path}.${String(key)}`
  }, '')
}
