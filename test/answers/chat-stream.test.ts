import { setImmediate } from 'node:timers/promises'
import test from 'ava'
import type { Answer } from '../../lib/answers/answer.js'
import { ChatStream } from '../../lib/answers/chat-stream.js'
import { LlavaError } from '../../lib/errors.js'
import type { FinishReason } from '../../lib/answers/generation.js'

function answerOf(text: string, finishReason: FinishReason = 'stop'): Answer {
  const usage = {
    promptTokens: 1,
    imageTokens: 0,
    cachedTokens: 0,
    completionTokens: 1,
    draftTokens: 0,
    acceptedTokens: 0,
  }
  return { text, tokenIds: [], finishReason, usage, timings: { loadMs: 0, imageMs: 0, promptMs: 0, generateMs: 0 } }
}

/** Work that writes `pieces`, one a turn of the event loop, until it is cancelled. */
function writing(pieces: readonly string[]) {
  const seen = { started: false, written: 0, cancelled: false }
  const stream = new ChatStream(async (emit, onCancel) => {
    seen.started = true
    onCancel(() => (seen.cancelled = true))
    for (const piece of pieces) {
      await setImmediate()
      if (seen.cancelled) return answerOf(pieces.slice(0, seen.written).join(''), 'cancelled')
      emit(piece)
      seen.written++
    }
    return answerOf(pieces.join(''))
  })
  return { stream, seen }
}

async function collect(stream: ChatStream): Promise<string[]> {
  const pieces: string[] = []
  for await (const piece of stream) pieces.push(piece)
  return pieces
}

test('iterating gives every piece in order, and the answer at the end', async (t) => {
  const { stream } = writing(['a', 'b', 'c'])
  t.deepEqual(await collect(stream), ['a', 'b', 'c'])
  t.is((await stream.answer).text, 'abc')
})

test('the answer can be had without iterating', async (t) => {
  const { stream } = writing(['a', 'b'])
  t.is((await stream.answer).text, 'ab')
})

test('a reader who comes late misses nothing', async (t) => {
  const { stream } = writing(['a', 'b'])
  await stream.answer
  t.deepEqual(await collect(stream), ['a', 'b'])
})

test('nothing runs before somebody looks', async (t) => {
  const { seen } = writing(['a'])
  await setImmediate()
  t.false(seen.started)
})

test('leaving the loop stops the work before the loop is left', async (t) => {
  const { stream, seen } = writing(['a', 'b', 'c', 'd'])
  for await (const piece of stream) if (piece === 'b') break
  t.true(seen.cancelled)
  const { written } = seen
  await setImmediate()
  await setImmediate()
  t.is(seen.written, written)
  t.is((await stream.answer).finishReason, 'cancelled')
})

test('cancel ends the iteration without an error', async (t) => {
  const { stream } = writing(['a', 'b', 'c', 'd'])
  const pieces: string[] = []
  for await (const piece of stream) {
    pieces.push(piece)
    stream.cancel()
  }
  t.deepEqual(pieces, ['a'])
  t.is((await stream.answer).finishReason, 'cancelled')
})

test('cancelled before it began, it gives an empty answer', async (t) => {
  const { stream } = writing(['a'])
  stream.cancel()
  t.is((await stream.answer).text, '')
})

test('a failure is thrown by the iteration after the text before it, and rejects the answer', async (t) => {
  const stream = new ChatStream((emit) => {
    emit('a')
    return Promise.reject(new Error('no'))
  })
  const pieces: string[] = []
  await t.throwsAsync(
    async () => {
      for await (const piece of stream) pieces.push(piece)
    },
    { message: 'no' },
  )
  t.deepEqual(pieces, ['a'])
  await t.throwsAsync(stream.answer, { message: 'no' })
})

test.serial('a failure that nobody asks about is no unhandled rejection', async (t) => {
  let unhandled = 0
  const count = () => unhandled++
  process.on('unhandledRejection', count)
  const stream = new ChatStream(() => Promise.reject(new Error('no')))
  await t.throwsAsync(collect(stream))
  const left = new ChatStream(() => Promise.reject(new Error('no')))
  void left[Symbol.asyncIterator]()
    .next()
    .catch(() => undefined)
  for (let turn = 0; turn < 5; turn++) await setImmediate()
  process.off('unhandledRejection', count)
  t.is(unhandled, 0)
})

test('a stream is iterated once', async (t) => {
  const { stream } = writing(['a'])
  await collect(stream)
  await t.throwsAsync(collect(stream), { code: 'INVALID_ARGUMENT' })
})

test('`await using` stops the work', async (t) => {
  const { stream, seen } = writing(['a', 'b', 'c'])
  {
    await using scope = stream
    for await (const piece of scope) if (piece === 'a') break
  }
  t.true(seen.cancelled)
})

/** Work that chooses a token for each piece, and then fails if it is told to. */
function speaking(pieces: readonly string[], failure?: Error) {
  return new ChatStream(async (emit, _, emitToken) => {
    for (const [id, piece] of pieces.entries()) {
      await setImmediate()
      emitToken({ id })
      emit(piece)
    }
    if (failure !== undefined) throw failure
    return answerOf(pieces.join(''))
  })
}

test('events tell tokens, text and the answer, in order', async (t) => {
  const heard: unknown[] = []
  const stream = speaking(['a', 'b'])
  const answer = await new Promise<Answer>((resolve) => {
    stream
      .on('token', ({ id }) => heard.push(id))
      .on('text', (text) => heard.push(text))
      .on('done', resolve)
  })
  t.deepEqual(heard, [0, 'a', 1, 'b'])
  t.is(answer.text, 'ab')
})

test('events and iteration go together', async (t) => {
  const stream = speaking(['a', 'b'])
  let heard = ''
  stream.on('text', (text) => (heard += text))
  t.deepEqual(await collect(stream), ['a', 'b'])
  t.is(heard, 'ab')
})

test('a failure is an event for those who listen, and no unhandled one for others', async (t) => {
  const failure = new Error('no')
  t.is(await new Promise((resolve) => speaking(['a'], failure).on('error', resolve)), failure)
  const other = speaking(['a'], failure).on('text', () => undefined)
  t.is(await t.throwsAsync(other.answer), failure)
})

test('a listener taken away hears no more', async (t) => {
  const heard: string[] = []
  const listener = (text: string) => heard.push(text)
  const stream = speaking(['a', 'b']).on('text', listener)
  stream.on('text', () => stream.off('text', listener))
  await stream.answer
  t.deepEqual(heard, ['a'])
})

test('what a listener throws fails the answer', async (t) => {
  const failure = new Error('mine')
  const stream = speaking(['a', 'b']).on('text', () => {
    throw failure
  })
  t.is(await t.throwsAsync(stream.answer), failure)
})

test('an event there is not, or a listener that is none, is INVALID_ARGUMENT', (t) => {
  const { stream } = writing(['a'])
  t.throws(() => stream.on('end' as 'done', () => undefined), { code: 'INVALID_ARGUMENT' })
  t.throws(() => stream.on('done', 7 as unknown as () => void), { code: 'INVALID_ARGUMENT' })
})

test('as a web stream it gives the same pieces, and nothing runs before it is read', async (t) => {
  const { stream, seen } = writing(['a', 'b', 'c'])
  const reader = stream.toReadableStream().getReader()
  await setImmediate()
  t.false(seen.started)
  const pieces: string[] = []
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) pieces.push(piece.value)
  t.deepEqual(pieces, ['a', 'b', 'c'])
})

test('cancelling the web stream stops the work', async (t) => {
  const { stream, seen } = writing(['a', 'b', 'c', 'd'])
  const reader = stream.toReadableStream().getReader()
  await reader.read()
  await reader.cancel()
  t.true(seen.cancelled)
  t.is((await stream.answer).finishReason, 'cancelled')
})

test('a failure errors the web stream', async (t) => {
  const failure = new Error('no')
  const reader = speaking(['a'], failure).toReadableStream().getReader()
  t.is((await reader.read()).value, 'a')
  t.is(await t.throwsAsync(reader.read()), failure)
})

test('a web stream is a response when it is encoded', async (t) => {
  const { stream } = writing(['á', 'b'])
  t.is(await new Response(stream.toReadableStream().pipeThrough(new TextEncoderStream())).text(), 'áb')
})

test('as a text response it is the text, and the caller has the last word on headers', async (t) => {
  const response = writing(['á', 'b']).stream.toTextStreamResponse()
  t.is(response.headers.get('content-type'), 'text/plain; charset=utf-8')
  t.is(await response.text(), 'áb')
  const own = writing(['a']).stream.toTextStreamResponse({ status: 201, headers: { 'content-type': 'text/x', a: 'b' } })
  t.deepEqual([own.status, own.headers.get('content-type'), own.headers.get('a')], [201, 'text/x', 'b'])
})

const events = async (response: Response): Promise<unknown[]> => {
  const blocks = (await response.text()).split('\n\n')
  if (blocks.pop() !== '') throw new Error('an event that does not end')
  return blocks.map((block) => {
    const data = /^data: (.*)$/.exec(block)?.[1] ?? ''
    return data === '[DONE]' ? data : (JSON.parse(data) as unknown)
  })
}

test('as a UI message response it is one message of server-sent events', async (t) => {
  const response = writing(['a\n', 'b']).stream.toUIMessageStreamResponse()
  t.is(response.headers.get('content-type'), 'text/event-stream')
  t.is(response.headers.get('x-vercel-ai-ui-message-stream'), 'v1')
  t.deepEqual(await events(response), [
    { type: 'start' },
    { type: 'start-step' },
    { type: 'text-start', id: '0' },
    { type: 'text-delta', id: '0', delta: 'a\n' },
    { type: 'text-delta', id: '0', delta: 'b' },
    { type: 'text-end', id: '0' },
    { type: 'finish-step' },
    { type: 'finish' },
    '[DONE]',
  ])
})

test('there a failure is an event with its code and nothing of its message', async (t) => {
  for (const [failure, errorText] of [
    [new LlavaError('IMAGE_UNREADABLE', '/secret/path'), 'IMAGE_UNREADABLE'],
    [new Error('/secret/path'), 'INTERNAL'],
  ] as const) {
    const all = await events(speaking(['a'], failure).toUIMessageStreamResponse())
    t.deepEqual(all.slice(-2), [{ type: 'error', errorText }, '[DONE]'])
  }
})

test('a client that leaves a response stops the work', async (t) => {
  for (const method of ['toTextStreamResponse', 'toUIMessageStreamResponse'] as const) {
    const { stream, seen } = writing(new Array<string>(1000).fill('a'))
    const reader = stream[method]().body!.getReader()
    for (let n = 0; n < (method === 'toTextStreamResponse' ? 1 : 4); n++) await reader.read()
    await reader.cancel()
    for (let turn = 0; turn < 20 && !seen.cancelled; turn++) await setImmediate() // pipes tell their source a little later
    t.true(seen.cancelled, method)
  }
})

test('what a listener of done throws goes to those of error, and ends nothing', async (t) => {
  const failure = new Error('mine')
  const heard: unknown[] = []
  const { stream } = writing(['a'])
  stream.on('done', () => {
    throw failure
  })
  stream.on('error', (error) => {
    heard.push(error)
    throw new Error('another')
  })
  t.is((await stream.answer).text, 'a')
  await setImmediate()
  t.deepEqual(heard, [failure])

  const { stream: alone } = writing(['a'])
  alone.on('done', () => {
    throw failure
  })
  t.is((await alone.answer).text, 'a')
  await setImmediate()
})
