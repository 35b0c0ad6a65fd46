// Schemas of validation libraries by what they have in common: Standard Schema and Standard JSON Schema (standardschema.dev), as far as they are used here.

import { LlavaError } from '../errors.js'

/** A schema that validates: Zod's, Valibot's, ArkType's. */
export interface StandardSchema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    /** At compile time alone. */
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined
  }
}

export type StandardResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly StandardIssue[] }

export interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** Which libraries tell it, in the schema itself. */
interface JsonSchemaSource {
  readonly input: (options: { readonly target: 'draft-2020-12' }) => Readonly<Record<string, unknown>>
}

export function isStandardSchema(schema: unknown): schema is StandardSchema {
  const isHolder = (typeof schema === 'object' && schema !== null) || typeof schema === 'function'
  if (!isHolder || !('~standard' in schema)) return false
  const standard = schema['~standard'] as Partial<StandardSchema['~standard']> | null
  return typeof standard === 'object' && typeof standard?.validate === 'function'
}

/** The JSON Schema of what a schema takes. Throws INVALID_ARGUMENT where it does not tell it. */
export function jsonSchemaOf({ '~standard': standard }: StandardSchema): unknown {
  const { jsonSchema } = standard as { readonly jsonSchema?: Partial<JsonSchemaSource> }
  if (typeof jsonSchema?.input !== 'function') {
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `this schema of ${standard.vendor} does not tell its JSON Schema (Standard JSON Schema): give what the library makes of it, such as ` +
        '`z.toJSONSchema(schema)` of Zod or `toStandardJsonSchema(schema)` of @valibot/to-json-schema',
    )
  }
  try {
    return jsonSchema.input({ target: 'draft-2020-12' })
  } catch (cause) {
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `this schema of ${standard.vendor} cannot be written as JSON Schema: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    )
  }
}

/** The value as the schema takes it, perhaps transformed. Fails with VALUE_INVALID where it refuses it. */
export async function validated(schema: StandardSchema, value: unknown, text: string): Promise<unknown> {
  const result = await schema['~standard'].validate(value)
  if (result.issues === undefined) return result.value
  const issues = result.issues.map(({ message, path = [] }) => {
    const keys = path.map((step) => String(typeof step === 'object' ? step.key : step))
    return keys.length === 0 ? message : `${keys.join('.')}: ${message}`
  })
  throw new LlavaError('VALUE_INVALID', `the schema refuses the answer ${text}: ${issues.join('; ')}`, {
    cause: result.issues,
  })
}
