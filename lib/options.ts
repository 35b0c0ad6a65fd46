// Checks for option objects: a table of one check per key, so that a misspelt key is an error and every mistake is worded the same way.

import { LlavaError, invalidArgument } from './errors.js'

/** Throws when `value`, given for the option `name`, is not what the option takes. */
export type OptionCheck = (name: string, value: unknown) => void

/** Throws unless options are an object, whatever is in it. */
export function requireOptions(call: string, options: unknown): asserts options is object {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw invalidArgument('options', `an object with the options of ${call}`, options)
}

/** Runs the table over an options object; `undefined` counts as not given, an unknown key is an error that lists the known ones. */
export function checkOptions(call: string, options: unknown, checks: Readonly<Record<string, OptionCheck>>): void {
  requireOptions(call, options)
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined
    if (check === undefined) {
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `${call} has no option \`${name}\`; it has ${Object.keys(checks).sort().join(', ')}`,
      )
    }
    if (value !== undefined) check(name, value)
  }
}

/** The options that were given: without the keys whose value is `undefined`. */
export function given<Options extends object>(
  options: Options,
): { [Key in keyof Options]?: Exclude<Options[Key], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as ReturnType<
    typeof given<Options>
  >
}

/** A whole number in [least, most]. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): OptionCheck {
  const range =
    most === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${least}` : `a whole number in [${least}, ${most}]`
  return (name, value) => {
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most)
      throw invalidArgument(name, range, value)
  }
}

/** One of a few strings. */
export function oneOf(...allowed: readonly string[]): OptionCheck {
  const list = allowed.map((one) => `'${one}'`).join(', ')
  return (name, value) => {
    if (typeof value !== 'string' || !allowed.includes(value)) throw invalidArgument(name, `one of ${list}`, value)
  }
}

/** Any number of inputs, which are not looked at yet. */
export const manyInputs: OptionCheck = (name, value) => {
  const isMany =
    typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)
  if (!isMany) throw invalidArgument(name, 'inputs one after another: a list, a generator, or an async iterable', value)
}

export const text: OptionCheck = (name, value) => {
  if (typeof value !== 'string') throw invalidArgument(name, 'a string', value)
}

export const flag: OptionCheck = (name, value) => {
  if (typeof value !== 'boolean') throw invalidArgument(name, 'true or false', value)
}

export const number: OptionCheck = (name, value) => {
  if (typeof value !== 'number' || Number.isNaN(value)) throw invalidArgument(name, 'a number', value)
}

export const callback: OptionCheck = (name, value) => {
  if (typeof value !== 'function') throw invalidArgument(name, 'a function', value)
}

export const abortSignal: OptionCheck = (name, value) => {
  if (!(value instanceof AbortSignal)) throw invalidArgument(name, 'an AbortSignal', value)
}

/** A non-empty string, or a list of them. */
export const stopStrings: OptionCheck = (name, value) => {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (!list.every((one) => typeof one === 'string' && one !== ''))
    throw invalidArgument(name, 'a non-empty string or a list of them', value)
}
