// Many questions at once to the model that comes with the package: none is lost, memory stays flat, and nobody else
// waits for the event loop.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { LLaVA } from '../lib/index.js'

export interface BurstLine {
  readonly device: string
  readonly threads: number
  readonly asked: number
  readonly answered: number
  readonly seconds: number
  /** Keys and values at their most, those kept of prompts among them, and what they may take. */
  readonly kvCacheBytes: number
  readonly kvCacheLimit: number
  /** Resident memory: before, and at its most. */
  readonly residentBefore: number
  readonly residentMost: number
  readonly eventLoopP99Ms: number
  readonly eventLoopMaxMs: number
}

const kvCacheLimit = 2 ** 26

export async function measureBurst(asked: number, threads?: number): Promise<BurstLine> {
  using model = await LLaVA.open(undefined, {
    kvCacheBytes: kvCacheLimit / 2,
    prefixCacheBytes: kvCacheLimit / 2,
    maxWaiting: asked,
    ...(threads !== undefined && { threads }),
  })
  await model.ask([], 'What is this?')
  const residentBefore = process.memoryUsage.rss()
  let [kvCacheBytes, residentMost] = [0, residentBefore]
  const watch = setInterval(() => {
    kvCacheBytes = Math.max(kvCacheBytes, model.info().memory.kvCache)
    residentMost = Math.max(residentMost, process.memoryUsage.rss())
  }, 20)
  const monitor = monitorEventLoopDelay({ resolution: 1 })
  monitor.enable()
  const start = performance.now()
  const answers = await Promise.allSettled(
    Array.from({ length: asked }, (_, n) => model.ask([], `What is thing ${n}?`, { maxTokens: 16 })),
  )
  const seconds = (performance.now() - start) / 1000
  monitor.disable()
  clearInterval(watch)
  const { device, threads: used } = model.info()
  return {
    device,
    threads: used,
    asked,
    answered: answers.filter(({ status }) => status === 'fulfilled').length,
    seconds,
    kvCacheBytes,
    kvCacheLimit,
    residentBefore,
    residentMost,
    eventLoopP99Ms: monitor.percentile(99) / 1e6,
    eventLoopMaxMs: monitor.max / 1e6,
  }
}
