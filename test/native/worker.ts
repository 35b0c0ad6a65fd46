// A worker thread of scenarios.ts: says when it is in the middle of the task named by its workerData, and goes on.

import { parentPort, workerData } from 'node:worker_threads'
import { LLaVA } from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { goldenCase } from '../tiny-model.js'
import { GoldenModel, openDescribed } from './golden-models.js'

const name = 'hf-f32'
const port = parentPort!
const golden = await GoldenModel.open(name, { threads: 2 })
const { model } = golden

function forward(): Promise<unknown> {
  const text = golden.tokens(1, golden.config.text.contextLength)
  const steps = Array.from({ length: 100 }, () => ({ sequence: model.createSequence(), segments: [text], logits: 'none' as const }))
  return model.forward(steps, null, null)
}

const tasks: Readonly<Record<string, () => Promise<unknown>>> = {
  forward,
  queue: () => Promise.all([forward(), forward(), golden.encode(golden.pixels(1, 100), 100), forward()]),
  encode: () => golden.encode(golden.pixels(1, 300), 300),
  open: () => Promise.all(Array.from({ length: 8 }, () => openDescribed(golden.description, { threads: 4 }))),
  async pictures() {
    const picture = new (native().Picture)(4000, 1000)
    picture.write(new Uint8Array(12e6))
    const whole = (canvas: number) => ({ canvas, start: 0, resized: 300, from: 0, count: 300, margin: 0 })
    const request = { across: whole(4000), down: whole(1000), side: 300, fill: [0, 0, 0], values: new Float32Array(768) } as const
    for (;;) await Promise.all(Array.from({ length: 8 }, () => picture.pixelValues(request, null)))
  },
  measure: () => model.measurePeak('int8'),
  async ask() {
    const answering = await LLaVA.open(goldenCase(name).model, { template: 'hf', threads: 2 })
    for (;;) await answering.ask([], 'What is it?', { maxTokens: 200 })
  },
  async finish() {
    const logits = await golden.run([golden.tokens(1, 70)])
    port.postMessage(logits.includes(NaN) ? 'NaN' : 'finished')
  },
}

const running = tasks[workerData as string]!()
port.postMessage('begun')
await running
