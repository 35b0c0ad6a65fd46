// llava serve: an HTTP server with a chat page, and with OpenAI's and Ollama's APIs.

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { LlavaError, type LLaVA } from '../index.js'
import type { LogEntry, ServerOptions } from '../server/index.js'
import {
  addImageFlags,
  addModelFlags,
  collect,
  imageOptions,
  integer,
  openModel,
  type ImageFlags,
  type ModelFlags,
} from './flags.js'
import { addHelp } from './help.js'
import type { Session } from './session.js'
import { exportSpans, wantsSpans } from './span-export.js'

const help = {
  about: [
    'A browser sees a chat page at /, which keeps its chats in the browser alone. --files puts other files in its place.',
    "Answers OpenAI's API at /v1 (chat/completions, responses, embeddings, models) and Ollama's at /api (chat, generate, " +
      'embed, tags, show, version), until SIGTERM or Ctrl-C, which let requests under way end; a second Ctrl-C does not. ' +
      '/openapi.json says what they take.',
    'Only this machine is served unless --host says otherwise, and only then are pictures fetched from http and https ' +
      'URLs unless --remote-pictures says otherwise. Whoever may reach the server may ask it, unless there are keys: in ' +
      '--api-key-file, a key a line, or in LLAVA_API_KEY. In place of a key its hash may stand: sha256: and what ' +
      'sha256sum says of it.',
    'The log goes to stdout, a JSON object a line, without anything of what was asked or answered.',
  ],
  lists: {
    'For those who watch it': [
      ['/healthz', 'answers as long as the process lives'],
      ['/readyz', 'answers 200 while requests are taken'],
      ['/metrics', 'numbers for Prometheus'],
      ['OTEL_EXPORTER_OTLP_ENDPOINT', 'where it is set, a span of each request goes to this collector'],
    ],
  },
  examples: [
    'llava serve',
    'llava serve --model llava-1.5-7b --port 11434     # where Ollama would listen',
    'llava serve --model llava-1.5-7b --also llava-1.5-13b     # two models, side by side on the page',
    'llava serve --host 0.0.0.0 --api-key-file keys.txt --allow-origin https://example.com',
    'curl localhost:8080/v1/models',
  ],
  json: ['The log is JSON with or without --json.'],
} as const

interface ServeFlags extends ModelFlags, ImageFlags {
  readonly host?: string
  readonly port?: number
  readonly name?: string
  readonly also?: readonly string[]
  readonly clip?: string
  readonly apiKeyFile?: string
  readonly allowOrigin?: readonly string[]
  readonly remotePictures?: boolean
  readonly files?: string | false
  readonly maxRequests?: number
  readonly maxTokens?: number
  readonly maxPictures?: number
  readonly maxBody?: number
  readonly deadlineMs?: number
  readonly drainMs?: number
}

export function addServe(program: Command, session: Session): void {
  const command = addImageFlags(addModelFlags(program.command('serve')))
    .description("serve models over HTTP: a chat page, and OpenAI's and Ollama's APIs")
    .option('--host <address>', 'address to listen at (default: 127.0.0.1, for this machine only)')
    .option('-p, --port <n>', 'port to listen at, 0: any that is free (default: 8080)', integer)
    .option('--name <name>', 'what requests call the model (default: its own name, or default)')
    .option('--also <model>', 'a further model, by its path or name; may be given several times', collect)
    .option('--clip <path>', 'a CLIP checkpoint for embeddings; the small model brings one')
    .option('--api-key-file <file>', 'keys, a line each, one of which every request must bring')
    .option('--allow-origin <origin>', 'web pages that may ask, * for all; may be given several times', collect)
    .option('--remote-pictures', 'fetch pictures from http and https URLs (default: only for this machine)')
    .option('--no-remote-pictures', 'do not')
    .option('--files <dir>', 'serve the files of a directory at / (default: a chat page)')
    .option('--no-files', 'serve the APIs alone')
    .option('--max-requests <n>', 'requests under way; one more gets 429 (default: 256)', integer)
    .option('--max-tokens <n>', 'most tokens of an answer (default: 4096)', integer)
    .option('--max-pictures <n>', 'most pictures of a request (default: 32)', integer)
    .option('--max-body <bytes>', 'most bytes of a request (default: 32 MiB)', integer)
    .option('--deadline-ms <n>', 'stop requests that take longer (default: 600,000)', integer)
    .option('--drain-ms <n>', 'at the end, stop requests that still run after so long (default: 30,000)', integer)
    .action((flags: ServeFlags) => serveUntilStopped(flags, session))
  addHelp(command, help)
}

async function serveUntilStopped(flags: ServeFlags, session: Session): Promise<void> {
  const stop = stopped(session) // before anything is served
  const apiKeys = await keysOf(flags)
  await using spans = wantsSpans(process.env) ? await exportSpans(writeLog) : undefined
  const models: Record<string, LLaVA> = {}
  try {
    await openModels(models, flags, session)
    await serveModels({ models, apiKeys, spans: spans !== undefined }, stop, flags, session)
  } finally {
    await Promise.all(Object.values(models).map((model) => model[Symbol.asyncDispose]()))
  }
}

/** Adds the models by their names as they are opened, so that whatever fails they can be disposed of. */
async function openModels(models: Record<string, LLaVA>, flags: ServeFlags, session: Session): Promise<void> {
  const { device, threads, isa, kvCache, weights, also = [] } = flags
  const common = given({ device, threads, isa, kvCache, weights })
  for (const one of [flags, ...also.map((model): ServeFlags => ({ ...common, model }))]) {
    const name = nameOf(one)
    if (Object.hasOwn(models, name)) throw new LlavaError('INVALID_ARGUMENT', `two models would be called ${name}`)
    const { clip } = one
    models[name] = await openModel(one, session, { ...imageOptions(flags), ...(clip !== undefined && { clip }) })
  }
}

async function serveModels(
  served: Pick<ServerOptions, 'models' | 'apiKeys' | 'spans'>,
  stop: Promise<void>,
  flags: ServeFlags,
  session: Session,
): Promise<void> {
  const { serve } = await import('../server/index.js')
  const { host, port, remotePictures, files, allowOrigin: origins, deadlineMs, drainMs } = flags
  const server = await serve({
    ...served,
    ...given({ host, port, remotePictures, files, origins }),
    limits: given({
      requests: flags.maxRequests,
      tokens: flags.maxTokens,
      pictures: flags.maxPictures,
      bodyBytes: flags.maxBody,
      deadlineMs,
      drainMs,
    }),
    log: writeLog,
  })
  const page = files === undefined ? `${server.url} is the chat page, ` : ''
  session.remark(`${page}${server.url}/v1 speaks OpenAI's API, ${server.url} Ollama's; Ctrl-C ends it`)
  await stop
  await server.close(session.signal)
}

/** Resolves at SIGTERM or Ctrl-C, or when the session has to end; a second Ctrl-C then ends it at once. */
function stopped(session: Session): Promise<void> {
  let stop: () => void = () => undefined
  let asked = false
  const onTerminate = () => {
    asked = true
    stop()
  }
  process.on('SIGTERM', onTerminate)
  session.onInterrupt(() => {
    if (asked) return false
    onTerminate()
    return true
  })
  return new Promise<void>((resolve) => {
    stop = resolve
    if (session.signal.aborted) resolve()
    session.signal.addEventListener('abort', () => {
      resolve()
    })
  })
}

function nameOf({ name, model }: ServeFlags): string {
  if (name !== undefined) return name
  if (model === undefined) return 'default'
  return existsSync(model) ? path.basename(path.resolve(model), '.gguf') : model
}

async function keysOf({ apiKeyFile }: ServeFlags): Promise<readonly string[]> {
  const own = process.env['LLAVA_API_KEY']
  const keys = own === undefined || own === '' ? [] : [own]
  if (apiKeyFile === undefined) return keys
  const listed = linesOf(await readKeys(apiKeyFile))
  if (listed.length === 0) throw new LlavaError('INVALID_ARGUMENT', `${apiKeyFile} has no key in it`)
  return [...keys, ...listed]
}

async function readKeys(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new LlavaError('INVALID_ARGUMENT', `cannot read the keys in ${file}`, { cause })
  }
}

/** Without empty ones and those that begin with #. */
function linesOf(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

function writeLog(entry: LogEntry): void {
  process.stdout.write(`${JSON.stringify(entry)}\n`)
}

/** Drops what was not given. */
function given<Values extends object>(values: Values): { [Key in keyof Values]?: Exclude<Values[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as ReturnType<
    typeof given<Values>
  >
}
