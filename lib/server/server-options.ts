// What a server may be told, checked by one schema.

import * as v from 'valibot'
import { LLaVA, LlavaError } from '../index.js'

const count = (least: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(least))
const milliseconds = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(2 ** 31 - 1)) // of a timer

const limitsSchema = v.strictObject({
  bodyBytes: v.optional(count(1), 32 * 2 ** 20),
  allBodiesBytes: v.optional(count(1), 512 * 2 ** 20),
  requests: v.optional(count(1), 256),
  pictures: v.optional(count(0), 32),
  answers: v.optional(v.pipe(count(1), v.maxValue(128)), 8),
  tokens: v.optional(count(1), 4096),
  inputs: v.optional(count(1), 2048),
  deadlineMs: v.optional(milliseconds, 600_000),
  waitMs: v.optional(milliseconds, 60_000),
  headersMs: v.optional(milliseconds, 10_000),
  receiveMs: v.optional(milliseconds, 60_000),
  drainMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(2 ** 31 - 1)), 30_000),
})

const schema = v.strictObject({
  models: v.pipe(
    v.record(
      v.pipe(v.string(), v.nonEmpty()),
      v.custom<LLaVA>((value) => value instanceof LLaVA, 'expected a model that LLaVA.open has opened'),
    ),
    v.check((models) => Object.keys(models).length > 0, 'expected one model at least'),
  ),
  host: v.optional(v.pipe(v.string(), v.nonEmpty()), '127.0.0.1'),
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535)), 8080),
  apiKeys: v.optional(v.array(v.pipe(v.string(), v.nonEmpty())), []),
  origins: v.optional(v.array(v.pipe(v.string(), v.nonEmpty())), []),
  remotePictures: v.optional(v.boolean()),
  files: v.optional(v.union([v.string(), v.literal(false)])),
  spans: v.optional(v.boolean(), false),
  limits: v.optional(limitsSchema, {}),
  log: v.optional(v.custom<(entry: LogEntry) => void>((value) => typeof value === 'function', 'expected a function')),
})

/** A line of the log, without anything of what was asked or answered. */
export interface LogEntry {
  readonly time: string
  readonly level: 'info' | 'warn' | 'error'
  readonly event: string
  readonly [fact: string]: unknown
}

/** Bounds of what requests may cost. */
export interface ServerLimits {
  /** Bytes of a request's body; default 32 MiB. */
  readonly bodyBytes?: number
  /** Bytes of all bodies under way, beyond which requests get 429; default 512 MiB. */
  readonly allBodiesBytes?: number
  /** Requests under way, those that wait for memory among them; one more gets 429. Default 256. */
  readonly requests?: number
  /** Pictures of a request; default 32. What each of them may cost is said when the model is opened. */
  readonly pictures?: number
  /** Answers to one request (`n`), in [1, 128]; default 8. */
  readonly answers?: number
  /** Tokens of an answer: a request that asks for more gets so many. Default 4096. */
  readonly tokens?: number
  /** Texts and pictures of a request for embeddings; default 2048. */
  readonly inputs?: number
  /** Milliseconds from a request's first byte to its answer's last one, after which it is stopped; default 600,000. */
  readonly deadlineMs?: number
  /** Milliseconds that an answer waits for memory before it gets 429; default 60,000. */
  readonly waitMs?: number
  /** Milliseconds in which a request's headers must have come; default 10,000. */
  readonly headersMs?: number
  /** Milliseconds in which all of a request must have come; default 60,000. */
  readonly receiveMs?: number
  /** Milliseconds that `close` lets requests go on for; default 30,000. */
  readonly drainMs?: number
}

export interface ServerOptions {
  /** Opened models by the names that requests give; the caller keeps them, and disposes of them after `close`. */
  readonly models: Readonly<Record<string, LLaVA>>
  /** Default 127.0.0.1: nobody else can reach it. */
  readonly host?: string
  /** 0: any that is free. Default 8080. */
  readonly port?: number
  /**
   * Keys, one of which each request must bring as a bearer token; `sha256:` and 64 hexadecimal digits stand for the key
   * that has this hash. Default none: everyone may ask.
   */
  readonly apiKeys?: readonly string[]
  /** Origins of web pages that may ask, such as `https://example.com`; `*` is all. Default: the server's own. */
  readonly origins?: readonly string[]
  /** Whether requests may name pictures by http and https URLs; default only where `host` is a loopback address. */
  readonly remotePictures?: boolean
  /** What is served at /: the files of a directory, or nothing. Default: the chat page that comes with the package. */
  readonly files?: string | false
  /**
   * Whether each request becomes a span of OpenTelemetry, by the tracer that the process has registered; needs the
   * package @opentelemetry/api. Default false.
   */
  readonly spans?: boolean
  readonly limits?: ServerLimits
  /** Takes each line of the log. */
  readonly log?: (entry: LogEntry) => void
}

type Checked = v.InferOutput<typeof schema>
export type CheckedLimits = Readonly<Checked['limits']>

/** All that was said, and the defaults of what was not. */
export interface CheckedOptions extends Readonly<Omit<Checked, 'limits' | 'remotePictures'>> {
  readonly limits: CheckedLimits
  readonly remotePictures: boolean
  /** Whether `host` is an address that only this machine has. */
  readonly loopback: boolean
}

/** @throws LlavaError INVALID_ARGUMENT */
export function checkServerOptions(options: ServerOptions): CheckedOptions {
  const { success, output, issues } = v.safeParse(schema, options)
  if (!success) {
    const [issue] = issues
    const name = v.getDotPath(issue) ?? 'options'
    throw new LlavaError('INVALID_ARGUMENT', `\`${name}\` of serve(): ${issue.message}`)
  }
  const loopback = isLoopback(output.host)
  return { ...output, loopback, remotePictures: output.remotePictures ?? loopback }
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}
