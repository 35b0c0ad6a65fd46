// Reading files that nobody vouches for: every field is looked at before it is believed.

import { LlavaError } from '../errors.js'

/** A JSON object whose members have not been looked at yet. */
export type Json = Readonly<Record<string, unknown>>

/** A component of tokenizer.json, the members of a Sequence of them, or none. */
export function steps(component: unknown, members: string): Json[] {
  if (component === null || component === undefined) return []
  const step = object(component, 'a component of tokenizer.json')
  if (step['type'] !== 'Sequence') return [step]
  return list(step[members] ?? [], `\`${members}\``).flatMap((member) => steps(member, members))
}

export function idWithin(id: unknown, count: number, what: string): number {
  const value = typeof id === 'bigint' ? Number(id) : id
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= count)
    throw corrupt(`${what} has the id ${String(id)}`)
  return value
}

export function flag(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** An optional object: anything else counts as empty. */
export function settings(value: unknown): Json {
  return isObject(value) ? value : {}
}

export function object(value: unknown, what: string): Json {
  if (!isObject(value)) throw corrupt(`${what} is not an object`)
  return value
}

export function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw corrupt(`${what} is not a list`)
  return value as readonly unknown[]
}

export function strings(value: unknown, what: string): readonly string[] {
  const items = list(value, what)
  if (!items.every((item) => typeof item === 'string')) throw corrupt(`${what} is not a list of strings`)
  return items
}

export function numbers(value: unknown, what: string, count: number): ArrayLike<number> {
  const items =
    ArrayBuffer.isView(value) && !(value instanceof DataView)
      ? (value as unknown as ArrayLike<unknown>)
      : list(value, what)
  if (items.length !== count) throw corrupt(`${what} has ${items.length} entries for ${count} pieces`)
  for (let i = 0; i < count; i++) if (typeof items[i] !== 'number') throw corrupt(`${what} is not a list of numbers`)
  return items as ArrayLike<number>
}

export function corrupt(reason: string): LlavaError {
  return new LlavaError('MODEL_CORRUPT', `the vocabulary is damaged: ${reason}`)
}

export function unsupported(what: string): LlavaError {
  return new LlavaError(
    'MODEL_UNSUPPORTED',
    `the tokenizer uses ${what}; supported are BPE vocabularies: SentencePiece's (tokenizer.model, GGUF "llama"), byte-level ones (GGUF "gpt2"), and tokenizer.json with either`,
  )
}
