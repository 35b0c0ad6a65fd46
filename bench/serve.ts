// The server under load, on the model that comes with the package, in a process of its own: many clients for a while,
// then clients that chat about pictures, in turns with the same questions asked in process.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { LLaVA, type Message } from '../lib/index.js'
import { median } from '../lib/benchmark/statistics.js'

export interface ServeOptions {
  /** Default 200. */
  readonly clients?: number
  /** Of the load; default 60. */
  readonly seconds?: number
  /** Clients that chat about pictures; default 16. */
  readonly chats?: number
  /** Turns of these, of which the median counts; default 3. */
  readonly repeat?: number
}

export interface ServeLoad {
  readonly clients: number
  readonly seconds: number
  readonly answers: number
  /** Requests that were told to come again (429). */
  readonly refused: number
  /** Anything else that was no answer. */
  readonly errors: number
  readonly tokensPerSecond: number
  /** Milliseconds from a request to the first piece of its answer. */
  readonly firstTokenMs: { readonly p50: number; readonly p99: number }
  /** Of the server: before, after the first half, and after. */
  readonly memory: readonly [before: ServeMemory, half: ServeMemory, after: ServeMemory]
}

/** In bytes. */
export interface ServeMemory {
  readonly resident: number
  /** Of these, what is kept for later questions, up to a limit. */
  readonly kept: number
}

export interface ServeChats {
  readonly chats: number
  /** Tokens a second over HTTP and in process; medians of the turns. */
  readonly overHttp: number
  readonly inProcess: number
}

export async function measureServe({
  clients = 200,
  seconds = 60,
  chats = 16,
  repeat = 3,
}: ServeOptions = {}): Promise<{ readonly device: string; readonly load: ServeLoad; readonly chats: ServeChats }> {
  const server = await Server.start()
  try {
    using model = await LLaVA.open()
    return {
      device: model.info().device,
      load: await underLoad(server, clients, seconds),
      chats: await chatting(server, model, chats, repeat),
    }
  } finally {
    await server.stop()
  }
}

const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url))

/** `llava serve` in a process of its own. */
class Server {
  readonly #child: ChildProcess
  readonly url: string

  private constructor(child: ChildProcess, url: string) {
    this.#child = child
    this.url = url
  }

  static async start(): Promise<Server> {
    const child = spawn(process.execPath, [main, 'serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [first] = (await once(child.stdout, 'data')) as [Buffer]
    child.stdout.resume() // its log
    const { url } = JSON.parse(first.toString().split('\n')[0] ?? '') as { readonly url: string }
    return new Server(child, url)
  }

  async memory(): Promise<ServeMemory> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    const kept = [...text.matchAll(/^llava_cache_bytes\{.*\} (\d+)$/gm)].map(([, nbytes]) => Number(nbytes))
    return {
      resident: Number(/^process_resident_memory_bytes (\d+)$/m.exec(text)?.[1]),
      kept: kept.reduce((sum, nbytes) => sum + nbytes, 0),
    }
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await once(this.#child, 'exit')
  }
}

/** What became of a request. */
interface Asked {
  readonly status: number
  readonly firstTokenMs: number
  readonly text: string
  readonly tokens: number
}

/** Asks and reads the whole stream. */
async function ask(url: string, messages: readonly object[], maxTokens: number): Promise<Asked> {
  const start = performance.now()
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({
      model: 'default',
      messages,
      max_completion_tokens: maxTokens,
      stream: true,
      stream_options: { include_usage: true },
    }),
  })
  let firstTokenMs = NaN
  let read = ''
  const decoder = new TextDecoder()
  for await (const piece of response.body as ReadableStream<Uint8Array>) {
    if (Number.isNaN(firstTokenMs)) firstTokenMs = performance.now() - start
    read += decoder.decode(piece, { stream: true })
  }
  if (response.status !== 200) return { status: response.status, firstTokenMs, text: '', tokens: 0 }
  if (!read.endsWith('data: [DONE]\n\n')) throw new Error('a stream ended before its end')
  const chunks = [...read.matchAll(/^data: (\{.*)$/gm)].map(([, json = '']) => JSON.parse(json) as Chunk)
  const text = chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')
  return { status: 200, firstTokenMs, text, tokens: chunks.at(-1)?.usage?.completion_tokens ?? 0 }
}

interface Chunk {
  readonly choices: readonly { readonly delta: { readonly content?: string } }[]
  readonly usage?: { readonly completion_tokens: number } | null
}

async function underLoad(server: Server, clients: number, seconds: number): Promise<ServeLoad> {
  await ask(server.url, [{ role: 'user', content: 'What color is a dog?' }], 8)
  const before = await server.memory()
  const end = performance.now() + seconds * 1000
  const firsts: number[] = []
  let [answers, refused, errors, tokens] = [0, 0, 0, 0]
  const client = async (n: number) => {
    for (let turn = 0; performance.now() < end; turn++) {
      try {
        const content = `Client ${n} asks for the ${turn}th time: what color is a dog?`
        const asked = await ask(server.url, [{ role: 'user', content }], 16)
        if (asked.status === 200) {
          answers++
          tokens += asked.tokens
          firsts.push(asked.firstTokenMs)
        } else if (asked.status === 429) {
          refused++
          await new Promise((resolve) => setTimeout(resolve, 1000))
        } else errors++
      } catch {
        errors++
      }
    }
  }
  const start = performance.now()
  const running = Array.from({ length: clients }, (_, n) => client(n))
  await new Promise((resolve) => setTimeout(resolve, seconds * 500))
  const half = await server.memory()
  await Promise.all(running)
  const took = (performance.now() - start) / 1000
  const sorted = firsts.toSorted((a, b) => a - b)
  const quantile = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN
  return {
    clients,
    seconds: took,
    answers,
    refused,
    errors,
    tokensPerSecond: tokens / took,
    firstTokenMs: { p50: quantile(0.5), p99: quantile(0.99) },
    memory: [before, half, await server.memory()],
  }
}

const questions = [
  'What is in this picture?',
  'Is there a cat in the picture?',
  'What color is the background?',
] as const
const demo = fileURLToPath(new URL('../../models/demo.png', import.meta.url))

async function chatting(server: Server, model: LLaVA, chats: number, repeat: number): Promise<ServeChats> {
  const [overHttp, inProcess]: [number[], number[]] = [[], []]
  for (let turn = 0; turn < repeat; turn++) {
    const pictures = await Promise.all(
      // pictures that neither has seen
      Array.from({ length: chats }, (_, n) =>
        sharp(demo)
          .rotate(1 + n + turn * chats, { background: '#fff' })
          .png()
          .toBuffer(),
      ),
    )
    overHttp.push(await rate(pictures, (picture) => chatOverHttp(server.url, picture)))
    inProcess.push(await rate(pictures, (picture) => chatInProcess(model, picture)))
  }
  return { chats, overHttp: median(overHttp), inProcess: median(inProcess) }
}

/** Tokens a second of chats about so many pictures at once. */
async function rate(pictures: readonly Buffer[], chat: (picture: Buffer) => Promise<number>): Promise<number> {
  const start = performance.now()
  const tokens = await Promise.all(pictures.map(chat))
  return (tokens.reduce((sum, one) => sum + one, 0) * 1000) / (performance.now() - start)
}

async function chatOverHttp(url: string, picture: Buffer): Promise<number> {
  const image_url = { url: `data:image/png;base64,${picture.toString('base64')}` }
  const messages: object[] = []
  let tokens = 0
  for (const text of questions) {
    const content =
      messages.length === 0
        ? [
            { type: 'image_url', image_url },
            { type: 'text', text },
          ]
        : text
    messages.push({ role: 'user', content })
    const asked = await ask(url, messages, 40)
    messages.push({ role: 'assistant', content: asked.text })
    tokens += asked.tokens
  }
  return tokens
}

async function chatInProcess(model: LLaVA, image: Buffer): Promise<number> {
  const messages: Message[] = []
  let tokens = 0
  for (const text of questions) {
    const content =
      messages.length === 0
        ? [
            { type: 'image' as const, image },
            { type: 'text' as const, text },
          ]
        : text
    messages.push({ role: 'user', content })
    const answer = await model.chat(messages, { maxTokens: 40 }).answer
    messages.push({ role: 'assistant', content: answer.text })
    tokens += answer.usage.completionTokens
  }
  return tokens
}
