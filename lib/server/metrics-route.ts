// GET /metrics: what the server does, for Prometheus.

import * as v from 'valibot'
import type { ModelInfo } from '../index.js'
import type { InFlight } from './in-flight.js'
import type { Gauge, Metrics } from './metrics.js'
import { route, TextReply, type Route, type Served } from './route.js'

/** What is counted and timed. */
export const metricHelp = {
  llava_requests_total: 'Requests, by route and status.',
  llava_request_seconds: 'Seconds from the first byte of a request to the last one of its answer.',
  llava_time_to_first_token_seconds: 'Seconds from the first byte of a request to the first token of its answer.',
  llava_prompt_tokens_total: 'Tokens of prompts, rows of pictures among them.',
  llava_cached_prompt_tokens_total: 'Of these, those that were remembered.',
  llava_completion_tokens_total: 'Tokens of answers.',
} as const

export function metricsRoute(metrics: Metrics, inFlight: InFlight): Route {
  return route({
    method: 'get',
    path: '/metrics',
    summary: "Metrics in Prometheus' text format.",
    answer: v.string(),
    handle: ({ served }) =>
      new TextReply('text/plain; version=0.0.4; charset=utf-8', metrics.text(gauges(served, inFlight))),
  })
}

function gauges({ models, since }: Served, inFlight: InFlight): readonly Gauge[] {
  const infos = Object.entries(models).map(([name, model]) => [name, model.info()] as const)
  const ofModels = (value: (info: (typeof infos)[number][1]) => number) =>
    infos.map(([model, info]) => [{ model }, value(info)] as const)
  const ofParts =
    <Part>(label: string, parts: (info: ModelInfo) => Readonly<Record<string, Part>>) =>
    (value: (part: Part) => number) =>
      infos.flatMap(([model, info]) =>
        Object.entries(parts(info)).map(([name, part]) => [{ model, [label]: name }, value(part)] as const),
      )
  const ofCaches = ofParts('cache', ({ caches: { prefixes, pictures } }) => ({ prefixes, pictures }))
  const ofPasses = ofParts('of', ({ load: { passes } }) => ({ tokens: passes.tokens, prompts: passes.prompts }))
  const one = (value: number) => () => [[{}, value]] as const
  return [
    { name: 'llava_requests_in_flight', help: 'Requests under way.', values: one(inFlight.requests) },
    { name: 'llava_body_bytes', help: 'Bytes of the bodies of these.', values: one(inFlight.bodyBytes) },
    {
      name: 'llava_running_texts',
      help: 'Texts that the model computes together.',
      values: () => ofModels(({ load }) => load.running),
    },
    {
      name: 'llava_waiting_texts',
      help: 'Texts that wait for memory.',
      values: () => ofModels(({ load }) => load.waiting),
    },
    {
      name: 'llava_passes_total',
      help: 'Passes through the decoder, of tokens of answers and of prompts.',
      type: 'counter',
      values: () => ofPasses(({ passes }) => passes),
    },
    {
      name: 'llava_pass_texts_total',
      help: 'Texts in these, each counted once a pass: over llava_passes_total, the mean size of a batch.',
      type: 'counter',
      values: () => ofPasses(({ texts }) => texts),
    },
    {
      name: 'llava_pass_rows_total',
      help: 'Rows in these: tokens, and rows of pictures.',
      type: 'counter',
      values: () => ofPasses(({ rows }) => rows),
    },
    {
      name: 'llava_kv_cache_bytes',
      help: 'Bytes of keys and values.',
      values: () => ofModels(({ memory }) => memory.kvCache),
    },
    { name: 'llava_cache_bytes', help: 'Bytes that a cache holds.', values: () => ofCaches(({ bytes }) => bytes) },
    {
      name: 'llava_cache_hits_total',
      help: 'How often a cache had what was looked for.',
      type: 'counter',
      values: () => ofCaches(({ hits }) => hits),
    },
    {
      name: 'llava_cache_misses_total',
      help: 'How often it had not.',
      type: 'counter',
      values: () => ofCaches(({ misses }) => misses),
    },
    {
      name: 'process_resident_memory_bytes',
      help: 'Resident memory.',
      values: one(process.memoryUsage.rss()),
    },
    {
      name: 'process_start_time_seconds',
      help: 'When the server began, in seconds since 1970.',
      values: one(since.getTime() / 1000),
    },
  ]
}
