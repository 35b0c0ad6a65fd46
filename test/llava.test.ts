import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import {
  LLaVA,
  type Answer,
  type AnswerOptions,
  type BenchmarkLine,
  type Message,
  type OpenOptions,
  type Progress,
} from '../lib/index.js'
import { goldenCase, goldenStages, type StoredTensor } from './tiny-model.js'

const { model: modelPath, picture, prompt, maxTokens } = goldenCase('hf-f32')
const contextLength = 256

/** Runs `work` with the tiny model, which is disposed of afterwards. The short template leaves room in its context of 256. */
async function withModel<T>(
  work: (model: LLaVA) => Promise<T>,
  options: OpenOptions = {},
  file = modelPath,
): Promise<T> {
  await using model = await LLaVA.open(file, { template: 'hf', threads: 2, ...options })
  return await work(model)
}

const greedy: AnswerOptions = { maxTokens: 24 }
const question = 'What is it?'

/** What does not depend on the clock. */
function lasting({ text, tokenIds, finishReason, usage }: Answer): Omit<Answer, 'timings'> {
  return { text, tokenIds, finishReason, usage }
}

test('aborting while a model opens rejects', async (t) => {
  const controller = new AbortController()
  const opening = LLaVA.open(modelPath, { signal: controller.signal })
  controller.abort()
  await t.throwsAsync(opening, { code: 'ABORTED' })
})

test('an answer counts its tokens, and its text is theirs', async (t) => {
  await withModel(async (model) => {
    const answer = await model.ask(picture, question, greedy)
    t.is(answer.usage.imageTokens, 16)
    t.is(answer.usage.completionTokens, answer.tokenIds.length)
    t.true(answer.usage.promptTokens > 16)
    t.is(answer.text, model.detokenize(answer.tokenIds).trim())
    for (const time of Object.values(answer.timings) as number[]) t.true(time >= 0)
  })
})

test('greedy answers are the same every time, also beside others', async (t) => {
  await withModel(async (model) => {
    const alone = lasting(await model.ask(picture, question, greedy))
    const asked = [
      model.ask(picture, question, greedy),
      model.ask([], 'Name a color.', greedy),
      model.ask(picture, question, greedy),
    ] as const
    const together = await Promise.all(asked)
    t.deepEqual(lasting(together[0]), alone)
    t.deepEqual(lasting(together[2]), alone)
    t.notDeepEqual(together[1].tokenIds, alone.tokenIds)
  })
})

test('the same seed gives the same text, another one another', async (t) => {
  await withModel(async (model) => {
    const sample = (seed: number) => model.ask(picture, question, { temperature: 2, seed, maxTokens: 24 })
    const first = await sample(1)
    t.deepEqual((await sample(1)).tokenIds, first.tokenIds)
    t.notDeepEqual((await sample(2)).tokenIds, first.tokenIds)
  })
})

test('sampling never chooses the image token or a row without a piece', async (t) => {
  await withModel(
    async (model) => {
      const pieces = 341 // of the tokenizer; the checkpoint has 352 rows, and <image> is one of the pieces
      const [imageToken] = model.tokenize('<image>', { addBos: false, parseSpecial: true })
      for (let seed = 0; seed < 4; seed++) {
        const { tokenIds } = await model.ask([], question, { temperature: 100, seed, maxTokens: 200 })
        t.true(tokenIds.every((id) => id !== imageToken && id <= pieces))
      }
    },
    {},
    goldenCase('hf-f16').model,
  )
})

test('a picture can be a path, a URL, bytes or a Blob, with one answer', async (t) => {
  const bytes = await readFile(picture)
  await withModel(async (model) => {
    const expected = (await model.ask(picture, question, greedy)).tokenIds
    const data = `data:image/png;base64,${bytes.toString('base64')}`
    for (const image of [new URL(`file://${picture}`), data, bytes, new Uint8Array(bytes), new Blob([bytes])]) {
      t.deepEqual((await model.ask(image, question, greedy)).tokenIds, expected)
    }
  })
})

test('bytes handed over and then taken away by their owner are still what was asked about', async (t) => {
  const bytes = new Uint8Array(await readFile(picture))
  await withModel(async (model) => {
    const expected = (await model.ask(bytes, question, greedy)).tokenIds
    const asked = model.ask(bytes, question, greedy)
    structuredClone(bytes, { transfer: [bytes.buffer] })
    t.is(bytes.length, 0)
    t.deepEqual((await asked).tokenIds, expected)
  })
})

test('several pictures each take their rows, in order', async (t) => {
  const black = { width: 8, height: 8, data: new Uint8Array(192) }
  await withModel(async (model) => {
    const one = await model.ask([picture, black], question, greedy)
    const other = await model.ask([black, picture], question, greedy)
    t.is(one.usage.imageTokens, 32)
    t.notDeepEqual(one.tokenIds, other.tokenIds)
  })
})

test('a question without a picture is answered', async (t) => {
  await withModel(async (model) => {
    t.is((await model.ask([], question, greedy)).usage.imageTokens, 0)
  })
})

test('an encoded picture answers as the picture does, as often as asked', async (t) => {
  await withModel(async (model) => {
    const expected = lasting(await model.ask(picture, question, greedy))
    using image = await model.encodeImage(picture)
    t.is(image.rows, 16)
    t.deepEqual(lasting(await model.ask(image, question, greedy)), expected)
    t.deepEqual(lasting(await model.ask([image], question, greedy)), expected)
  })
})

test('an encoded picture gives its features and projected rows, each time afresh', async (t) => {
  await withModel(async (model) => {
    using image = await model.encodeImage(picture)
    const features = image.features()
    t.is(features.length, 16 * 32)
    t.is(image.projected().length, 16 * 32)
    features.fill(0)
    t.true(image.features().some((value) => value !== 0))
  })
})

test('an encoded picture is of no use once disposed of', async (t) => {
  await withModel(async (model) => {
    const image = await model.encodeImage(picture)
    image.dispose()
    image.dispose()
    t.throws(() => image.projected(), { code: 'DISPOSED' })
    await t.throwsAsync(model.ask(image, question), { code: 'DISPOSED' })
  })
})

test('an encoded picture disposed of while an answer is written with it lasts as long as that', async (t) => {
  await withModel(async (model) => {
    const image = await model.encodeImage(picture)
    const expected = lasting(await model.ask(image, question, greedy))
    const asked = model.ask(image, question, greedy)
    const forwarded = model.forward([[1], image])
    image.dispose()
    t.deepEqual(lasting(await asked), expected)
    await t.notThrowsAsync(forwarded)
  })
})

test('a language model without a vision tower answers, and says what a picture needs', async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    const alone = path.join(folder, 'model.gguf')
    await copyFile(goldenCase('gguf-pair-f32').model, alone)
    await withModel(
      async (model) => {
        t.is(model.info().vision, undefined)
        t.true((await model.ask([], question, greedy)).tokenIds.length > 0)
        const error = await t.throwsAsync(model.ask(picture, question), { code: 'INVALID_ARGUMENT' })
        t.regex(error.message, /mmproj/)
      },
      {},
      alone,
    )
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a picture that cannot be had stops the downloads beside it', async (t) => {
  let closed: () => void = () => undefined
  const left = new Promise<void>((resolve) => (closed = resolve))
  const server = http.createServer((request, response) => {
    if (request.url === '/missing') setTimeout(() => response.writeHead(404).end(), 50)
    else response.on('close', closed).writeHead(200).write('never more than this')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const images = ['slow', 'missing'].map((name) => `http://127.0.0.1:${port}/${name}`)
  await withModel(
    async (model) => {
      await t.throwsAsync(model.ask(images, question), { code: 'IMAGE_UNREADABLE', message: /404/ })
      await left
    },
    { allowPrivateNetwork: true },
  )
  server.close()
})

test('a prompt that cannot fit is refused before it is encoded', async (t) => {
  await withModel(async (model) => {
    const error = await t.throwsAsync(model.ask([], 'red '.repeat(1_000_000)), { code: 'CONTEXT_OVERFLOW' })
    t.regex(error.message, /^the prompt takes at least \d+ positions: \d+ more than the model's context of \d+$/)
  })
})

test('a prompt over the context says by how many positions', async (t) => {
  await withModel(async (model) => {
    const words = 'red '.repeat(200)
    const { usage } = await model.ask(picture, question, { maxTokens: 1 })
    const longer =
      usage.promptTokens +
      model.tokenize(words + question, { addBos: false }).length -
      model.tokenize(question, { addBos: false }).length
    const error = await t.throwsAsync(model.ask(picture, words + question), { code: 'CONTEXT_OVERFLOW' })
    t.true(longer > contextLength)
    const excess = longer - contextLength
    t.is(
      error.message,
      `the prompt takes ${longer} positions, 16 of them for pictures: ${excess} more than the model's context of ${contextLength}`,
    )
  })
})

test('the end of the context ends an answer as `length`', async (t) => {
  await withModel(async (model) => {
    const { usage, finishReason } = await model.ask([], question, { maxTokens: 10_000, temperature: 100, seed: 3 })
    if (finishReason === 'stop') t.fail('the seed happens to choose EOS: take another')
    t.is(finishReason, 'length')
    t.is(usage.promptTokens + usage.completionTokens, contextLength)
  })
})

test('a stop string ends the answer before it', async (t) => {
  await withModel(async (model) => {
    const { text } = await model.ask(picture, question, greedy)
    const stop = /\p{L}/u.exec(text.slice(1))?.[0] ?? ''
    const answer = await model.ask(picture, question, { ...greedy, stop })
    t.is(answer.finishReason, 'stop_string')
    t.is(answer.text, text.slice(0, text.indexOf(stop)).trim())
  })
})

test('aborting an ask rejects it with the reason as the cause, and the model answers on', async (t) => {
  await withModel(async (model) => {
    const expected = lasting(await model.ask(picture, question, greedy))
    const controller = new AbortController()
    const reason = new Error('enough')
    const asked = model.ask(picture, question, { maxTokens: 200, signal: controller.signal })
    setTimeout(() => {
      controller.abort(reason)
    }, 1)
    const error = await t.throwsAsync(asked, { code: 'ABORTED', name: 'AbortError' })
    t.is(error.cause, reason)
    t.deepEqual(lasting(await model.ask(picture, question, greedy)), expected)
  })
})

test('an abort that comes too late changes nothing', async (t) => {
  await withModel(async (model) => {
    const controller = new AbortController()
    await model.ask([], question, { maxTokens: 1, signal: controller.signal })
    controller.abort()
    t.pass()
  })
})

for (const [what, image, options] of [
  ['an aborted call', picture, { signal: AbortSignal.abort() }],
  ['an unreadable picture', 'no/such/picture.png', {}],
  ['a prompt over the context', picture, { system: 'red '.repeat(400) }],
] as const) {
  test(`${what}: the error names the caller in its stack`, async (t) => {
    await withModel(async (model) => {
      async function theCaller(): Promise<void> {
        await model.ask(image, question, options)
      }
      async function theReader(): Promise<void> {
        for await (const piece of model.chat([{ role: 'user', content: [{ type: 'image', image }] }], options))
          t.is(piece, '')
      }
      t.regex((await t.throwsAsync(theCaller())).stack ?? '', /theCaller/)
      t.regex((await t.throwsAsync(theReader())).stack ?? '', /theReader/)
    })
  })
}

test('a model that does not open: the error names the caller in its stack', async (t) => {
  async function theCaller(): Promise<void> {
    await LLaVA.open('no/such/model')
  }
  t.regex((await t.throwsAsync(theCaller())).stack ?? '', /theCaller/)
})

const conversation: readonly Message[] = [
  {
    role: 'user',
    content: [
      { type: 'image', image: picture },
      { type: 'text', text: question },
    ],
  },
]

test('a chat streams what ask answers', async (t) => {
  await withModel(async (model) => {
    const stream = model.chat(conversation, greedy)
    let text = ''
    for await (const piece of stream) text += piece
    t.is(text, (await stream.answer).text)
    t.deepEqual(lasting(await stream.answer), lasting(await model.ask(picture, question, greedy)))
  })
})

test('a chat with a past answers from all of it', async (t) => {
  await withModel(async (model) => {
    const turns: readonly Message[] = [
      ...conversation,
      { role: 'assistant', content: 'red' },
      { role: 'user', content: 'And now?' },
    ]
    const { usage } = await model.chat(turns, { maxTokens: 1 }).answer
    t.true(usage.promptTokens > (await model.chat(conversation, { maxTokens: 1 }).answer).usage.promptTokens)
    t.is(usage.imageTokens, 16)
  })
})

test('leaving the loop over a chat stops it, and its answer is the part there was', async (t) => {
  await withModel(async (model) => {
    const stream = model.chat(conversation, { maxTokens: 200, temperature: 100, seed: 3 })
    let text = ''
    for await (const piece of stream) {
      text += piece
      break
    }
    const answer = await stream.answer
    t.is(answer.finishReason, 'cancelled')
    t.true(answer.text.startsWith(text))
    t.true(answer.usage.completionTokens < 200)
  })
})

test('cancelling a chat twice is cancelling it once', async (t) => {
  await withModel(async (model) => {
    const stream = model.chat(conversation, { maxTokens: 200, temperature: 100, seed: 3 })
    for await (const piece of stream) {
      t.not(piece, '')
      stream.cancel()
      stream.cancel()
    }
    t.is((await stream.answer).finishReason, 'cancelled')
    stream.cancel()
    t.is((await stream.answer).finishReason, 'cancelled')
  })
})

test('aborting a chat is thrown by the iteration and rejects its answer', async (t) => {
  await withModel(async (model) => {
    const controller = new AbortController()
    const stream = model.chat(conversation, { maxTokens: 200, temperature: 100, seed: 3, signal: controller.signal })
    await t.throwsAsync(
      async () => {
        for await (const piece of stream) {
          t.is(typeof piece, 'string')
          controller.abort()
        }
      },
      { code: 'ABORTED' },
    )
    await t.throwsAsync(stream.answer, { code: 'ABORTED' })
  })
})

test("the checkpoint's own chat template writes what the built-in one of its kind does", async (t) => {
  await withModel(async (model) => {
    const own = await model.ask(picture, question, { ...greedy, template: 'checkpoint' })
    t.deepEqual(lasting(own), lasting(await model.ask(picture, question, greedy)))
  })
})

test('the system text is part of the prompt', async (t) => {
  await withModel(async (model) => {
    const without = await model.ask([], question, { maxTokens: 1 })
    const given = await model.ask([], question, { maxTokens: 1, system: 'Be kind.' })
    t.true(given.usage.promptTokens > without.usage.promptTokens)
  })
})

test('what runs when the model is disposed of fails as DISPOSED', async (t) => {
  const model = await LLaVA.open(modelPath, { template: 'hf' })
  const stream = model.chat(conversation, { maxTokens: 200, temperature: 100, seed: 3 })
  await t.throwsAsync(
    async () => {
      for await (const piece of stream) {
        t.is(typeof piece, 'string')
        model.dispose()
      }
    },
    { code: 'DISPOSED' },
  )
})

test('asynchronous dispose waits for what runs', async (t) => {
  const model = await LLaVA.open(modelPath, { template: 'hf' })
  let over = false
  const asked = model.ask(picture, question, { maxTokens: 200 }).finally(() => (over = true))
  const rejected = t.throwsAsync(asked, { code: 'DISPOSED' })
  await model[Symbol.asyncDispose]()
  await Promise.resolve()
  await rejected
  t.true(over)
})

test('text becomes tokens and tokens text', async (t) => {
  await withModel((model) => {
    const ids = model.tokenize('What is it?')
    t.is(ids[0], 1)
    t.is(model.detokenize(ids), 'What is it?')
    t.false(model.tokenize('</s>').includes(2))
    t.true(model.tokenize('</s>', { parseSpecial: true }).includes(2))
    t.throws(() => model.detokenize([342]), { code: 'INVALID_ARGUMENT' })
    t.throws(() => model.detokenize([-1]), { code: 'INVALID_ARGUMENT' })
    t.throws(() => model.tokenize(7 as unknown as string), { code: 'INVALID_ARGUMENT' })
    return Promise.resolve()
  })
})

/** max|a − b| / max|b|; NaN anywhere makes it NaN. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0
  let scale = 0
  for (let i = 0; i < b.length; i++) {
    difference = Math.max(difference, Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN)))
    scale = Math.max(scale, Math.abs(b[i] ?? Number.NaN))
  }
  return difference / scale
}

/** Two orders of summing in float32 are each within 1e-4 of the exact result (the bound for a whole tower), so twice that apart. */
const roundingApart = 2e-4

test('the last of all logits are the last logits', async (t) => {
  await withModel(async (model) => {
    using image = await model.encodeImage(picture)
    const pieces = ['USER: ', image, '\nWhat? ASSISTANT:']
    const all = await model.forward(pieces, { logits: 'all' })
    const last = await model.forward(pieces)
    t.is(last.length, 342)
    t.is(all.length % 342, 0)
    t.true(distance(all.subarray(-342), last) <= roundingApart)
  })
})

test('a context fed in pieces gives the logits of one piece', async (t) => {
  await withModel(async (model) => {
    using image = await model.encodeImage(picture)
    const whole = await model.forward([[1, 5, 6], image, [7, 8, 9]])
    using context = model.createContext()
    await context.forward([[1]])
    await context.forward([[5, 6], image])
    await context.forward([[7, 8]])
    t.true(distance(await context.forward([[9]]), whole) <= roundingApart)
    t.is(context.length, 22)
  })
})

test('a fork goes its own way, and a truncated context forgets', async (t) => {
  await withModel(async (model) => {
    using context = model.createContext()
    await context.forward([[1, 5, 6]])
    using fork = context.fork()
    const one = await context.forward([[7]])
    const other = await fork.forward([[8]])
    t.notDeepEqual(one, other)
    context.truncate(3)
    t.deepEqual(await context.forward([[8]]), other)
    t.throws(
      () => {
        context.truncate(99)
      },
      { code: 'INVALID_ARGUMENT' },
    )
  })
})

test('a context runs one call at a time', async (t) => {
  await withModel(async (model) => {
    using context = model.createContext()
    const running = context.forward([[1, 5]])
    await t.throwsAsync(context.forward([[6]]), { code: 'BUSY' })
    t.throws(() => context.fork(), { code: 'BUSY' })
    await running
    t.is(context.length, 2)
  })
})

test('a context disposed of while it runs finishes its call', async (t) => {
  await withModel(async (model) => {
    const context = model.createContext()
    const running = context.forward([[1, 5]])
    context.dispose()
    t.is((await running).length, 342)
    t.throws(() => context.length, { code: 'DISPOSED' })
  })
})

test('an aborted forward leaves the context as it was', async (t) => {
  await withModel(async (model) => {
    using context = model.createContext()
    await context.forward([[1, 5]])
    await t.throwsAsync(context.forward([[6]], { signal: AbortSignal.abort() }), { code: 'ABORTED' })
    t.is(context.length, 2)
  })
})

/** The package's own model, slowed down, has work for a while. */
async function withLongPrompt(work: (model: LLaVA, prompt: Int32Array) => Promise<void>): Promise<void> {
  await using model = await LLaVA.open(undefined, { isa: 'scalar', threads: 1 })
  await work(model, new Int32Array(1000).fill(5))
}

test('an abort reaches the native call that runs', async (t) => {
  await withLongPrompt(async (model, prompt) => {
    const controller = new AbortController()
    const running = model.forward([prompt.subarray(0, 500)], { signal: controller.signal })
    setTimeout(() => {
      controller.abort()
    }, 2)
    await t.throwsAsync(running, { code: 'ABORTED' })
  })
})

test('forward over the context is CONTEXT_OVERFLOW', async (t) => {
  await withModel(async (model) => {
    using context = model.createContext()
    await context.forward([new Int32Array(contextLength).fill(5)])
    t.is(context.length, contextLength)
    await t.throwsAsync(context.forward([[5]]), { code: 'CONTEXT_OVERFLOW' })
  })
})

async function traceAgainstGolden(t: ExecutionContext, options: OpenOptions): Promise<void> {
  const stages = goldenStages('hf-f32')
  const stage = (name: string) => stages.get(name) as StoredTensor
  const trace = await withModel((model) => model.trace(picture, prompt, { maxTokens }), options)
  t.deepEqual(trace.pixelValues.data, stage('pixel_values').data)
  t.deepEqual(trace.inputIds.data, stage('input_ids').data)
  // The project's promise against transformers in float32: 1e-4 for rows of pictures, 1e-3 for logits.
  t.true(distance(trace.imageFeatures.data, stage('image_features').data) <= 1e-4)
  t.true(distance(trace.projected.data, stage('projected').data) <= 1e-4)
  t.true(distance(trace.logits.data, stage('logits').data) <= 1e-3)
  t.deepEqual(trace.generated.data, stage('generated').data)
  const { pixelValues, imageFeatures, projected, logits } = trace
  for (const [name, { shape }] of Object.entries({
    pixel_values: pixelValues,
    image_features: imageFeatures,
    projected,
    logits,
  })) {
    t.deepEqual(shape, stage(name).shape)
  }
}

test('a trace holds what transformers computes', async (t) => {
  await traceAgainstGolden(t, { kvCache: 'f32', arithmetic: 'exact' })
})

test('a trace is exact whatever the model was opened with', async (t) => {
  await traceAgainstGolden(t, { kvCache: 'f16', arithmetic: 'fast' })
})

test('info names the model, the machine and the memory', async (t) => {
  await withModel((model) => {
    const info = model.info()
    t.is(info.format, 'hf-directory')
    t.is(info.contextLength, contextLength)
    t.is(info.vision?.rowsPerImage, 16)
    t.is(info.kvCacheDtype, 'f32')
    t.is(info.threads, 2)
    t.true(info.memory.weightsMapped > 0)
    return Promise.resolve()
  })
})

for (const kvCache of ['f32', 'f16', 'q8_0'] as const) {
  test(`info foretells what ${kvCache} keys and values take in a full context`, async (t) => {
    await withModel(
      async (model) => {
        const { memory: before, machine } = model.info()
        using context = model.createContext()
        await context.forward([new Int32Array(contextLength).fill(5)])
        t.is(before.kvCache, 0)
        t.is(model.info().memory.kvCache, before.kvCacheFull)
        t.true(machine.available > 0 && machine.available <= machine.memory)
      },
      { kvCache },
    )
  })
}

test('keys and values are f16 for checkpoints that are not f32, unless asked otherwise', async (t) => {
  const half = goldenCase('hf-f16').model
  t.is(await withModel((model) => Promise.resolve(model.info().kvCacheDtype), {}, half), 'f16')
  t.is(await withModel((model) => Promise.resolve(model.info().kvCacheDtype), { kvCache: 'f32' }, half), 'f32')
  t.is(await withModel((model) => Promise.resolve(model.info().kvCacheDtype), { kvCache: 'q8_0' }, half), 'q8_0')
})

test('weights that are copied give the same answer, take memory instead of a mapping, and say how far they are', async (t) => {
  const ask = async (model: LLaVA) => ({
    memory: model.info().memory,
    logits: await model.createContext().forward([[1, 5, 6]]),
  })
  const mapped = await withModel(ask)
  const heard: Progress[] = []
  const copied = await withModel(ask, { weights: 'copied', onProgress: (progress) => heard.push(progress) })
  t.deepEqual(copied.logits, mapped.logits)
  t.is(copied.memory.weightsMapped, 0)
  t.true(copied.memory.weightsHeap >= mapped.memory.weightsHeap + mapped.memory.weightsMapped)
  t.true(heard.every(({ stage, total }) => stage === 'weights' && total === heard[0]?.total))
  t.true(heard.every(({ done }, n) => done >= (heard[n - 1]?.done ?? 0)))
  t.is(heard.at(-1)?.done, heard[0]?.total)
  const failure = new Error('enough')
  const throwing = () => {
    throw failure
  }
  t.is(await t.throwsAsync(LLaVA.open(modelPath, { weights: 'copied', onProgress: throwing })), failure)
})

test('a benchmark has a line each for picture, prefill and decode', async (t) => {
  await withModel(async (model) => {
    const lines: BenchmarkLine[] = []
    for await (const line of model.benchmark({ prompt: 8, generate: 2, images: 1, repeat: 2 })) lines.push(line)
    t.deepEqual(
      lines.map(({ what }) => what),
      ['image', 'prefill', 'decode'],
    )
    t.deepEqual(
      lines.map(({ tokens }) => tokens),
      [16, 8, 2],
    )
    for (const { achieved, peak, ratio, tokensPerSecond } of lines) {
      t.true(achieved > 0 && peak > 0 && tokensPerSecond > 0)
      t.is(ratio, achieved / peak)
    }
  })
})

test('a worker ended in the middle of an answer takes nothing with it', async (t) => {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.library).then(async ({ LLaVA }) => {
      const model = await LLaVA.open(workerData.model, { template: 'hf' })
      const stream = model.chat([{ role: 'user', content: 'What is it?' }], { maxTokens: 200, temperature: 100, seed: 3 })
      for await (const piece of stream) parentPort.postMessage(piece)
    })`
  const worker = new Worker(code, {
    eval: true,
    workerData: { library: new URL('../lib/index.js', import.meta.url).href, model: modelPath },
  })
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  await worker.terminate()
  await withModel(async (model) => {
    t.true((await model.ask([], question, greedy)).tokenIds.length > 0)
  })
})

test('with no path, the model that comes with the package opens and says what its demo picture shows', async (t) => {
  await using model = await LLaVA.open()
  const { text } = await model.ask(
    fileURLToPath(new URL('../../models/demo.png', import.meta.url)),
    'What is in this picture?',
  )
  t.is(text, 'The picture shows a rocket, a dog and a cactus.')
})
