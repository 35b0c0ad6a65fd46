// JSON texts as languages: a value that is known, and the white space between parts: one space after ':' and ',' or none, as models write and parsers read.

import type { Language, Languages } from './language.js'

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [name: string]: JsonValue }

/** ':' or ',' and the space after it. */
export function separator(languages: Languages, mark: ':' | ','): Language {
  return languages.sequence(languages.literal(mark), languages.optional(languages.literal(' ')))
}

/** A value's text. */
export function literalLanguage(languages: Languages, value: JsonValue): Language {
  const joined = (parts: readonly Language[]): Language[] =>
    parts.flatMap((part, n) => (n === 0 ? [part] : [separator(languages, ','), part]))
  if (Array.isArray(value)) {
    const items = (value as readonly JsonValue[]).map((item) => literalLanguage(languages, item))
    return languages.sequence(languages.literal('['), ...joined(items), languages.literal(']'))
  }
  if (typeof value !== 'object' || value === null) return languages.literal(JSON.stringify(value))
  const members = Object.entries(value).map(([name, member]) =>
    languages.sequence(
      languages.literal(JSON.stringify(name)),
      separator(languages, ':'),
      literalLanguage(languages, member),
    ),
  )
  return languages.sequence(languages.literal('{'), ...joined(members), languages.literal('}'))
}

/** Equal as JSON has it: members in any order. */
export function sameValue(a: JsonValue, b: JsonValue): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && sameValue((a as never)[name], (b as never)[name]))
  )
}
