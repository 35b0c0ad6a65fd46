// Named values out of a file nobody vouches for (a JSON object, GGUF metadata), read with their type checked.
// `null` counts as absent, as it does for transformers.

import { finishInSlices } from '../slices.js'
import { readSideFile } from './file-head.js'
import { parseJsonInSlices } from './json-slices.js'
import { corrupt } from './model-error.js'

// Sizes travel to native code as 32-bit integers.
const maxInteger = 2 ** 31 - 1

export class Fields {
  /** What to call the source in an error: the file's path, and inside it the object's name. */
  readonly where: string
  readonly #entries: ReadonlyMap<string, unknown>

  constructor(where: string, entries: ReadonlyMap<string, unknown>) {
    this.where = where
    this.#entries = entries
  }

  static fromJson(where: string, value: unknown): Fields {
    if (!isObject(value)) throw corrupt(where, `expected a JSON object, got ${short(value)}`)
    return new Fields(where, new Map(Object.entries(value)))
  }

  keys(): Iterable<string> {
    return this.#entries.keys()
  }

  /** As it stands in the file; `null` is `undefined`. */
  raw(key: string): unknown {
    return this.#entries.get(key) ?? undefined
  }

  /** Stands there, as `null`: where a class's default is not "none", that says none. */
  isNull(key: string): boolean {
    return this.#entries.get(key) === null
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined
  }

  /** A whole number from `minimum` (default 1) to 2^31 - 1. */
  integer(key: string, minimum = 1): number | undefined {
    const value = this.raw(key)
    if (
      value === undefined ||
      (Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maxInteger)
    )
      return value as number | undefined
    throw this.mistake(key, `a whole number from ${minimum} to ${maxInteger}`)
  }

  /** A finite number above `above` (default: any). */
  number(key: string, above = -Infinity): number | undefined {
    const value = this.raw(key)
    if (value === undefined || (Number.isFinite(value) && (value as number) > above)) return value as number | undefined
    throw this.mistake(key, above === -Infinity ? 'a finite number' : `a finite number above ${above}`)
  }

  boolean(key: string): boolean | undefined {
    const value = this.raw(key)
    if (value === undefined || typeof value === 'boolean') return value
    throw this.mistake(key, 'true or false')
  }

  string(key: string): string | undefined {
    const value = this.raw(key)
    if (value === undefined || typeof value === 'string') return value
    throw this.mistake(key, 'a string')
  }

  object(key: string): Fields | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    if (!isObject(value)) throw this.mistake(key, 'an object')
    return Fields.fromJson(`${this.where}, ${key}`, value)
  }

  /** Numbers of a JSON array or of a GGUF numeric array. */
  numbers(key: string): readonly number[] | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    const list = Array.isArray(value)
      ? (value as readonly unknown[])
      : ArrayBuffer.isView(value)
        ? Array.from(value as unknown as ArrayLike<unknown>)
        : undefined
    if (list === undefined || !list.every(Number.isFinite)) throw this.mistake(key, 'a list of numbers')
    return list as readonly number[]
  }

  /** These entries with those of `over` in their place, where it has them. */
  merged(over: Fields | undefined): Fields {
    return over === undefined ? this : new Fields(this.where, new Map([...this.#entries, ...over.#entries]))
  }

  required<T>(key: string, value: T | undefined): T {
    if (value === undefined) throw corrupt(this.where, `\`${key}\` is missing`)
    return value
  }

  mistake(key: string, expectation: string): Error {
    return corrupt(this.where, `expected \`${key}\` to be ${expectation}, got ${short(this.raw(key))}`)
  }
}

/** A JSON file's value, or `undefined` when there is no such file. */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readSideFile(path)
  return bytes === undefined ? undefined : await parseJson(path, bytes.toString('utf8'))
}

/** `where` is what to call the text in an error. */
export async function parseJson(where: string, text: string): Promise<unknown> {
  try {
    return await finishInSlices(parseJsonInSlices(text))
  } catch (cause) {
    throw cause instanceof RangeError ? corrupt(where, cause.message) : corrupt(where, 'is not valid JSON', cause)
  }
}

/** Index of the quote that closes the string opened at `start`; the text's length where none does. */
export function endOfString(text: string, start: number): number {
  let i = start + 1
  while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1
  return i
}

/** A JSON file that holds an object, or `undefined` when there is no such file. */
export async function readJsonFields(path: string): Promise<Fields | undefined> {
  const value = await readJson(path)
  return value === undefined ? undefined : Fields.fromJson(path, value)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function short(value: unknown): string {
  if (typeof value === 'bigint') return String(value)
  if (ArrayBuffer.isView(value)) return 'an array'
  const text = JSON.stringify(value) as string | undefined
  return text === undefined ? String(value) : text.length > 60 ? `${text.slice(0, 60)}…` : text
}
