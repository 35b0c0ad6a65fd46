// Fields that several of OpenAI's routes have.

import * as v from 'valibot'
import { dictionary, object } from '../schema-object.js'
import type { AnswerOptions, TokenLogprob, TokenLogprobs } from '../../index.js'
import { ApiError, reasons } from '../api-error.js'

export const wholeNumber = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most))
export const numberIn = (least: number, most: number) => v.pipe(v.number(), v.minValue(least), v.maxValue(most))

export const modelField = v.pipe(v.string(), v.description('a name that /v1/models lists'))

/** The same in every route that samples. */
export const samplingFields = {
  temperature: v.nullish(v.pipe(numberIn(0, 100), v.description('0, which is the default: the likeliest token'))),
  top_p: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
}

export const penaltyFields = {
  presence_penalty: v.nullish(numberIn(-2, 2)),
  frequency_penalty: v.nullish(numberIn(-2, 2)),
}

/** Fields that OpenAI does not have, with the names of vLLM and llama.cpp. */
export const furtherSamplingFields = {
  top_k: v.nullish(wholeNumber(0)),
  min_p: v.nullish(numberIn(0, 1)),
  repetition_penalty: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(100))),
}

const jsonSchema = v.pipe(dictionary(v.unknown()), v.description('a JSON Schema'))

export const textFormat = object({ type: v.literal('text') })
export const jsonObjectFormat = object({ type: v.literal('json_object') })
export const jsonSchemaFields = {
  name: v.nullish(v.string()),
  description: v.nullish(v.string()),
  schema: v.nullish(jsonSchema),
  strict: v.nullish(v.boolean()),
}

/** Tools are refused, but clients name them where there are none. */
export const noToolsFields = {
  tools: v.nullish(v.pipe(v.array(v.unknown()), v.maxLength(0, 'tools are not supported'))),
}

/** How an answer is to be held to a form. */
export function formatOptions(
  format: { readonly type: string; readonly schema?: Readonly<Record<string, unknown>> | null | undefined } | undefined,
): Pick<AnswerOptions, 'schema'> {
  if (format === undefined || format.type === 'text') return {}
  if (format.type === 'json_object') return { schema: { type: 'object' } }
  if (format.schema === null || format.schema === undefined)
    throw new ApiError(reasons.invalid, 'expected a json_schema with its `schema`')
  return { schema: format.schema }
}

const scored = { token: v.string(), logprob: v.number(), bytes: v.nullable(v.array(v.number())) }

export const tokenLogprob = v.object({ ...scored, top_logprobs: v.array(v.object(scored)) })

export function logprobEntry(token: TokenLogprobs): v.InferOutput<typeof tokenLogprob> {
  return { ...scoredToken(token), top_logprobs: token.top.map(scoredToken) }
}

/** JSON has no infinity; OpenAI's API too gives -9999 for what can hardly be. */
function scoredToken({ text, logprob, bytes }: TokenLogprob): {
  token: string
  logprob: number
  bytes: number[]
} {
  return { token: text, logprob: Math.max(logprob, -9999), bytes: [...bytes] }
}

export const errorAnswer = v.object({
  error: v.object({
    message: v.string(),
    type: v.string(),
    param: v.nullable(v.string()),
    code: v.nullable(v.string()),
  }),
})

/** A server-sent event. */
export function event(data: object, name?: string): string {
  return `${name === undefined ? '' : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`
}

export const eventStream = 'text/event-stream'

/** Drops what was not given. */
export function given<Values extends object>(
  values: Values,
): { [Key in keyof Values]?: Exclude<Values[Key], undefined | null> } {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== null),
  ) as ReturnType<typeof given<Values>>
}

export function seconds(date: Date): number {
  return Math.floor(date.getTime() / 1000)
}
