// A stream of bytes, whoever made it, to one Buffer: within a size and a time, and given up at once when its reader has left.

import { addAbortSignal, Readable } from 'node:stream'
import { isUint8Array } from 'node:util/types'
import { invalidArgument, LlavaError } from '../errors.js'

/** What reading from a network or a stream may cost. */
export interface ReadLimits {
  readonly maxBytes: number
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** Runs `work` with a signal that aborts with the caller's own, or when the time is over; what it throws then is the reason. */
export async function withinTime<T>(
  { timeoutMs, signal }: Omit<ReadLimits, 'maxBytes'>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const timer = setTimeout(() => {
    stop.abort(new Error(`it took longer than the ${timeoutMs} ms that \`timeoutMs\` allows`))
  }, timeoutMs)
  const leave = () => {
    stop.abort(signal?.reason)
  }
  if (signal?.aborted === true) leave()
  else signal?.addEventListener('abort', leave, { once: true })
  try {
    return await work(stop.signal)
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', leave)
  }
}

/** The stream's bytes. It is destroyed (a web stream: cancelled) when it is too long, when `signal` aborts, and when it gives anything but bytes. */
export async function collectBytes(
  stream: AsyncIterable<unknown>,
  maxBytes: number,
  name: string,
  signal: AbortSignal,
): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of untilAborted(stream, signal)) {
    if (!isUint8Array(chunk)) throw invalidArgument('image', 'a stream of bytes', chunk)
    length += chunk.length
    if (length > maxBytes) throw tooManyBytes(name, maxBytes)
    chunks.push(new Uint8Array(chunk)) // a stream may fill the same buffer again
  }
  return Buffer.concat(chunks)
}

export function tooManyBytes(name: string, maxBytes: number): LlavaError {
  return new LlavaError('IMAGE_TOO_LARGE', `${name} is longer than the ${maxBytes} bytes that \`maxBytes\` allows`)
}

function untilAborted(stream: AsyncIterable<unknown>, signal: AbortSignal): AsyncIterable<unknown> {
  if (stream instanceof Readable) return addAbortSignal(signal, stream)
  if (!(stream instanceof ReadableStream)) return iterateUntilAborted(stream, signal)
  if (stream.locked) throw invalidArgument('image', 'a stream that nobody else reads', stream)
  return addAbortSignal(signal, Readable.fromWeb(stream))
}

/** Does not wait for an iterator that is not done with its last step: it may never be. */
async function* iterateUntilAborted(stream: AsyncIterable<unknown>, signal: AbortSignal): AsyncGenerator {
  const iterator = stream[Symbol.asyncIterator]()
  let stop: () => void = () => undefined
  const stopped = new Promise<never>((_, reject) => {
    stop = () => {
      reject(signal.reason as Error)
    }
  })
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    for (;;) {
      const { done, value } = (await Promise.race([iterator.next(), stopped])) as IteratorResult<unknown, unknown>
      if (done === true) return
      yield value
    }
  } finally {
    signal.removeEventListener('abort', stop)
    iterator.return?.().catch(() => undefined)
  }
}
