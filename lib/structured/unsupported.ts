// What a schema or a pattern asks for and a mask cannot give: said by name, never passed over.

import { LlavaError } from '../errors.js'

/** @param where the option, or the JSON pointer of the schema */
export function unsupported(what: string, where: string, advice?: string): LlavaError {
  return new LlavaError(
    'INVALID_ARGUMENT',
    `${placeOf(where)}: ${what} is not supported${advice === undefined ? '' : `; ${advice}`}`,
  )
}

export function malformed(keyword: string, expectation: string, where: string): LlavaError {
  return new LlavaError('INVALID_ARGUMENT', `${placeOf(where)}: expected \`${keyword}\` to be ${expectation}`)
}

/** A JSON pointer, with what it leads into. */
export function placeOf(where: string): string {
  return where.startsWith('#') ? `schema ${where}` : where
}
