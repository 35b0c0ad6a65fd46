// What child.ts runs in a process of its own: `node scenarios.js NAME`. Each prints what its test expects, and throws on anything else.
// A rejection that nobody handles ends the process with code 1, so every scenario also proves that there is none.

import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { LLaVA } from '../../lib/index.js'
import type { NativeModel, NativeStep } from '../../lib/native.js'
import { goldenCase } from '../tiny-model.js'
import { GoldenModel, openDescribed } from './golden-models.js'

const name = 'hf-f32'
const say = (text: string) => process.stdout.write(`${text}\n`)

/** A picture that needs no decoder. */
const raw = { width: 8, height: 8, data: new Uint8Array(192).fill(90) }

/** A batch that keeps the runner busy for some hundred milliseconds. */
function largeBatch(golden: GoldenModel): NativeStep[] {
  const text = golden.tokens(1, golden.config.text.contextLength)
  return Array.from({ length: 100 }, () => ({ sequence: golden.model.createSequence(), segments: [text], logits: 'none' as const }))
}

/** `code` of what `work` throws. */
async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work()
    return 'nothing thrown'
  } catch (error) {
    return String((error as { readonly code?: unknown }).code)
  }
}

function collectGarbage(): void {
  const { gc } = globalThis as { readonly gc?: () => void }
  if (gc === undefined) throw new Error('run with --expose-gc')
  gc()
}

/** Finalizers of native handles run in a task after the collection that found them. */
async function collected(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await sleep(1)
  }
}

/** Linux: threads of this process. */
const threadCount = () => readdirSync('/proc/self/task').length

/** Linux: parts of the model's files that are mapped. */
const mappingCount = () => readFileSync('/proc/self/maps', 'utf8').split('\n').filter((line) => /\.(?:gguf|safetensors)$/.test(line)).length

const forwardWith = (model: NativeModel, step: object) => () => model.forward([step as NativeStep], null, null)

const scenarios: Readonly<Record<string, () => Promise<void>>> = {
  // boundary: arguments whose getters dispose of what is being used
  async 'the model is disposed of while a step is read'() {
    for (const key of ['sequence', 'segments', 'logits']) {
      const golden = await GoldenModel.open(name)
      const step = { sequence: golden.model.createSequence(), segments: [golden.tokens(1, 3)], logits: 'none' }
      const value = step[key as keyof typeof step]
      const get = () => {
        golden.model.dispose()
        return value
      }
      say(await codeOf(forwardWith(golden.model, Object.defineProperty(step, key, { get }))))
    }
  },
  async 'the sequence is disposed of while its step is read'() {
    const golden = await GoldenModel.open(name)
    for (const key of ['segments', 'logits']) {
      const sequence = golden.model.createSequence()
      const step = { sequence, segments: [golden.tokens(1, 3)], logits: 'none' }
      const value = step[key as keyof typeof step]
      const get = () => {
        sequence.dispose()
        collectGarbage()
        return value
      }
      say(await codeOf(forwardWith(golden.model, Object.defineProperty(step, key, { get }))))
    }
  },
  async 'properties are read from foreign handles'() {
    const golden = await GoldenModel.open(name)
    const sequence = golden.model.createSequence()
    const [image] = await golden.encode(golden.pixels(1))
    for (const [of, key, receivers] of [
      [sequence, 'length', [golden.model, image, {}, Object.create(sequence)]],
      [image, 'rows', [golden.model, sequence, {}, Object.create(image!)]],
    ] as const) {
      for (const receiver of receivers) {
        try {
          say(`a value: ${String(Reflect.get(Object.getPrototypeOf(of) as object, key, receiver))}`)
        } catch {
          say('refused')
        }
      }
    }
  },

  // lifetime
  async 'the end comes by itself after work, without dispose'() {
    const model = await LLaVA.open(goldenCase(name).model, { template: 'hf' })
    await model.ask(raw, 'What is it?', { maxTokens: 3 })
    await model.encodeImage(raw)
    say('done')
  },
  async 'work that nobody awaits is finished before the end'() {
    const golden = await GoldenModel.open(name, { threads: 2 })
    void golden.model.forward(largeBatch(golden), null, null).then(() => {
      say('done')
    })
  },
  async 'exit in the middle of a forward'() {
    const golden = await GoldenModel.open(name, { threads: 2 })
    void golden.model.forward(largeBatch(golden), null, null)
    void golden.model.forward(largeBatch(golden), null, null)
    await sleep(5)
    say('exit')
    process.exit(0)
  },
  async 'exit in the middle of an encode'() {
    const golden = await GoldenModel.open(name, { threads: 2 })
    void golden.encode(golden.pixels(1, 200), 200)
    await sleep(5)
    say('exit')
    process.exit(0)
  },
  async 'exit in the middle of a measurement'() {
    const golden = await GoldenModel.open(name, { threads: 2 })
    void golden.model.measurePeak('fma')
    await sleep(5)
    say('exit')
    process.exit(0)
  },
  async 'exit in the middle of opening'() {
    const golden = await GoldenModel.open(name)
    for (let i = 0; i < 20; i++) void openDescribed(golden.description, { threads: 8 })
    say('exit')
    process.exit(0)
  },
  async 'exit in the middle of an answer'() {
    const model = await LLaVA.open(goldenCase(name).model, { template: 'hf', threads: 2 })
    const stream = model.chat([{ role: 'user', content: 'What is it?' }], { maxTokens: 200, temperature: 1, seed: 1 })
    for await (const piece of stream) {
      say(piece === '' ? 'nothing' : 'exit')
      process.exit(0)
    }
  },
  async 'failures and departures of every kind leave no rejection unhandled'() {
    const path = goldenCase(name).model
    const ask = async (model: LLaVA, signal?: AbortSignal) => {
      await model.ask(raw, 'What is it?', { maxTokens: 200, ...(signal === undefined ? {} : { signal }) })
    }
    const codes: string[] = []
    const disposed = await LLaVA.open(path, { template: 'hf' })
    const running = [ask(disposed), ask(disposed), disposed.encodeImage(raw)].map((work) => codeOf(() => work))
    disposed.dispose()
    codes.push(...(await Promise.all(running)))
    await using model = await LLaVA.open(path, { template: 'hf' })
    const controller = new AbortController()
    const aborted = codeOf(() => ask(model, controller.signal))
    controller.abort()
    codes.push(await aborted)
    codes.push(await codeOf(() => model.ask(Buffer.from('no picture'), 'What is it?')))
    codes.push(await codeOf(() => model.ask(raw, 'x '.repeat(300))))
    // a stream that nobody reads, one left after the first piece, one cancelled, one whose failure nobody asks for
    void model.chat([{ role: 'user', content: 'What?' }]).answer
    for await (const piece of model.chat([{ role: 'user', content: 'What?' }])) if (piece !== '') break
    model.chat([{ role: 'user', content: 'What?' }]).cancel()
    void model.chat([{ role: 'user', content: 'x '.repeat(300) }]).answer
    await sleep(20)
    say(codes.join(' '))
  },
  async 'two hundred models are opened, asked and disposed of'() {
    const path = goldenCase(name).model
    const round = async () => {
      const model = await LLaVA.open(path, { template: 'hf', threads: 2 })
      await model.ask(raw, 'What is it?', { maxTokens: 2 })
      const { weightsMapped, weightsHeap, scratch } = model.info().memory
      await model[Symbol.asyncDispose]()
      return weightsMapped + weightsHeap + scratch
    }
    let bytes = 0
    for (let i = 0; i < 50; i++) bytes = await round() // allocators and the JIT settle
    await collected()
    const before = process.memoryUsage.rss()
    for (let i = 0; i < 150; i++) await round()
    await collected()
    const growth = process.memoryUsage.rss() - before
    say(JSON.stringify({ growth, bytes, rounds: 150 }))
  },
  async 'threads and mappings after models were disposed of or forgotten'() {
    const { description } = await GoldenModel.open(name).then((golden) => (golden.model.dispose(), golden))
    const before = { threads: threadCount(), mappings: mappingCount() }
    for (let i = 0; i < 10; i++) (await openDescribed(description, { threads: 3 })).dispose()
    const disposed = { threads: threadCount(), mappings: mappingCount() }
    await (async () => {
      for (let i = 0; i < 10; i++) {
        const model = await openDescribed(description, { threads: 3 })
        model.createSequence()
      }
    })()
    await collected()
    const forgotten = { threads: threadCount(), mappings: mappingCount() }
    say(JSON.stringify({ disposed: disposed.threads - before.threads, disposedMappings: disposed.mappings - before.mappings }))
    say(JSON.stringify({ forgotten: forgotten.threads - before.threads, forgottenMappings: forgotten.mappings - before.mappings }))
  },
  async 'the collector runs while everything is in use'() {
    const golden = await GoldenModel.open(name, { threads: 2 })
    const { vocabSize } = golden.config.text
    const text = golden.tokens(1, 70)
    const expected = await golden.run([text])
    const results: Promise<boolean>[] = []
    const round = async (i: number) => {
      // everything but the promise is forgotten at once; sequences, forks, pictures come and go
      const logits = new Float32Array(70 * vocabSize)
      const sequence = golden.model.createSequence()
      results.push(golden.model.forward([{ sequence, segments: [text], logits: 'all' }], logits, null).then(() => logits.every((value, at) => value === expected[at])))
      const parent = golden.model.createSequence()
      await golden.append(parent, [golden.tokens(i, 66)])
      parent.fork()
      void golden.encode(golden.pixels(i, 2), 2)
    }
    for (let i = 0; i < 60; i++) {
      await round(i)
      if (i % 4 === 0) collectGarbage()
    }
    const right = (await Promise.all(results)).every(Boolean)
    results.length = 0
    await collected()
    say(`${right ? 'right' : 'wrong'}, ${golden.model.info().memory.kvCache} bytes of keys and values left`)
    // a model that is only reachable through its running work
    const { late } = await (async () => ({ late: (await openDescribed(golden.description, { threads: 2 })).encodeImages(golden.pixels(1, 300), 300, ['projected'], null) }))()
    await collected()
    say(`${(await late).images.length} pictures`)
    const orphan = (await openDescribed(golden.description)).createSequence()
    await collected()
    say(`${orphan.length}`)
  },
  async 'workers are ended in the middle of their work'() {
    let baseline = 0
    for (let i = 0; i < 24; i++) {
      const { worker, ended } = await started(['forward', 'encode', 'open', 'measure', 'queue', 'ask'][i % 6]!)
      if (i >= 6) await sleep(i % 4)
      await worker.terminate()
      const error = await ended
      if (error !== '') throw new Error(error)
      if (i === 5 && process.platform === 'linux') baseline = threadCount()
    }
    if (process.platform === 'linux' && threadCount() > baseline) throw new Error(`${threadCount()} threads where there were ${baseline}`)
    const { worker, ended } = await started('finish')
    const [answer] = (await Promise.all([new Promise((resolve) => worker.once('message', resolve)), ended])) as [string, string]
    say(answer)
  },
  async 'workers are ended while they read pictures'() {
    for (let i = 0; i < 12; i++) {
      const { worker, ended } = await started('pictures')
      await sleep(i % 6)
      await worker.terminate()
      const error = await ended
      if (error !== '') throw new Error(error)
    }
    say('finished')
  },
}

/** A worker in the middle of its task. */
async function started(task: string): Promise<{ readonly worker: Worker; readonly ended: Promise<string> }> {
  const worker = new Worker(fileURLToPath(new URL('worker.js', import.meta.url)), { workerData: task })
  const ended = new Promise<string>((resolve) => {
    worker.on('error', (error) => {
      resolve(`${error.name}: ${error.message}`)
    })
    worker.on('exit', () => {
      resolve('')
    })
  })
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    void ended.then(reject)
  })
  return { worker, ended }
}

const work = scenarios[process.argv[2] ?? '']
if (work === undefined) throw new Error(`no scenario ${process.argv[2]}`)
await work()
