// What Ollama's routes share: options, timings, and the form of streams.

import * as v from 'valibot'
import { dictionary, object } from '../schema-object.js'
import type { Answer, AnswerOptions, ModelInfo } from '../../index.js'
import { ollamaError, type ApiError } from '../api-error.js'
import { given, numberIn, wholeNumber } from '../openai/fields.js'

export const lines = 'application/x-ndjson'

/** A line of a stream. */
export function line(value: object): string {
  return `${JSON.stringify(value)}\n`
}

export function failure(error: ApiError): string {
  return line(ollamaError(error))
}

const options = object({
  temperature: v.nullish(v.pipe(numberIn(0, 100), v.description('0, which is the default: the likeliest token'))),
  top_k: v.nullish(wholeNumber(0)),
  top_p: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
  min_p: v.nullish(numberIn(0, 1)),
  typical_p: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
  repeat_penalty: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(100))),
  presence_penalty: v.nullish(numberIn(-2, 2)),
  frequency_penalty: v.nullish(numberIn(-2, 2)),
  seed: v.nullish(wholeNumber(Number.MIN_SAFE_INTEGER)),
  num_predict: v.nullish(v.pipe(wholeNumber(-2), v.description('below 1: as many as the server allows'))),
  stop: v.nullish(v.union([v.string(), v.array(v.string())])),
})

/** The same in chat and generate. */
export const answerFields = {
  model: v.pipe(v.string(), v.description('a name that /api/tags lists')),
  stream: v.nullish(v.pipe(v.boolean(), v.description('default: true'))),
  format: v.nullish(
    v.pipe(v.union([v.picklist(['', 'json']), dictionary(v.unknown())]), v.description('json, or a JSON Schema')),
  ),
  options: v.nullish(options),
}

export function answerOptions(
  asked: {
    readonly options?: v.InferOutput<typeof options> | null | undefined
    readonly format?: string | Readonly<Record<string, unknown>> | null | undefined
  },
  mostTokens: number,
): AnswerOptions {
  const { format } = asked
  const { num_predict, repeat_penalty, ...sampling } = asked.options ?? {}
  const limit = num_predict ?? undefined
  return given({
    maxTokens: limit !== undefined && limit < 1 ? mostTokens : limit,
    temperature: sampling.temperature,
    topK: sampling.top_k,
    topP: sampling.top_p,
    minP: sampling.min_p,
    typicalP: sampling.typical_p,
    repetitionPenalty: repeat_penalty,
    presencePenalty: sampling.presence_penalty,
    frequencyPenalty: sampling.frequency_penalty,
    seed: sampling.seed,
    stop: sampling.stop,
    schema: format === 'json' ? { type: 'object' } : format === '' ? undefined : format,
  })
}

/** Nanoseconds, and counts of tokens. */
export const endFields = {
  done_reason: v.optional(v.picklist(['stop', 'length', 'load'])),
  total_duration: v.optional(v.number()),
  load_duration: v.optional(v.number()),
  prompt_eval_count: v.optional(v.number()),
  prompt_eval_duration: v.optional(v.number()),
  eval_count: v.optional(v.number()),
  eval_duration: v.optional(v.number()),
}

export function endOf({ finishReason, usage, timings }: Answer): {
  done_reason: 'stop' | 'length'
  total_duration: number
  load_duration: number
  prompt_eval_count: number
  prompt_eval_duration: number
  eval_count: number
  eval_duration: number
} {
  const { imageMs, promptMs, generateMs } = timings
  return {
    done_reason: finishReason === 'length' ? 'length' : 'stop',
    total_duration: nanoseconds(imageMs + promptMs + generateMs),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: nanoseconds(imageMs + promptMs),
    eval_count: usage.completionTokens,
    eval_duration: nanoseconds(generateMs),
  }
}

export function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6)
}

export const details = v.object({
  parent_model: v.string(),
  format: v.string(),
  family: v.string(),
  families: v.array(v.string()),
  parameter_size: v.string(),
  quantization_level: v.string(),
})

export function detailsOf({ format, vision, card }: ModelInfo): v.InferInput<typeof details> {
  const families = vision === undefined ? ['llama'] : ['llama', 'clip']
  const { parameters, languageDtype } = card
  return {
    parent_model: '',
    format: format === 'hf-directory' ? 'safetensors' : 'gguf',
    family: 'llama',
    families,
    parameter_size: parameters < 1e9 ? `${(parameters / 1e6).toFixed(1)}M` : `${(parameters / 1e9).toFixed(1)}B`,
    quantization_level: languageDtype,
  }
}
