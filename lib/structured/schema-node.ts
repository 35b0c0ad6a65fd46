// A JSON Schema's parts, each known by its place: what references lead to, and what errors name.

import { LlavaError } from '../errors.js'
import type { JsonValue } from './json-literal.js'
import { malformed, placeOf, unsupported } from './unsupported.js'

type SchemaObject = Readonly<Record<string, unknown>>

/** A schema inside a schema. */
export interface SchemaNode {
  readonly id: number
  readonly schema: SchemaObject | boolean
  /** JSON pointer, as a fragment. */
  readonly where: string
}

/** The schemas `true` and `false`, wherever they stand. */
export const anything: SchemaNode = { id: 0, schema: true, where: '#' }
export const nothing: SchemaNode = { id: 1, schema: false, where: '#' }

/** Say nothing about which values are valid. */
const annotations: ReadonlySet<string> = new Set([
  '$schema',
  '$id',
  'id',
  '$comment',
  '$anchor',
  '$defs',
  'definitions',
  '$vocabulary',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'contentEncoding',
  'contentMediaType',
  'contentSchema',
  'discriminator',
  'externalDocs',
  'xml',
])

/** Keywords that json-schema.ts reads. */
const supported: ReadonlySet<string> = new Set([
  ...['$ref', 'allOf', 'anyOf', 'oneOf', 'type', 'nullable', 'enum', 'const'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  ...['minLength', 'maxLength', 'pattern', 'format'],
  ...['items', 'prefixItems', 'additionalItems', 'minItems', 'maxItems', 'unevaluatedItems', 'uniqueItems'],
  ...['properties', 'required', 'additionalProperties', 'patternProperties', 'propertyNames'],
  ...['minProperties', 'maxProperties', 'unevaluatedProperties'],
])

/** Keywords of which one value asks for nothing, or for what is done anyway; others are refused. */
const onlyValue: ReadonlyMap<string, readonly unknown[]> = new Map<string, readonly unknown[]>([
  ['uniqueItems', [false]],
  ['unevaluatedItems', [true, false]],
  ['unevaluatedProperties', [true, false]],
])

export class SchemaNodes {
  readonly root: SchemaNode
  readonly #nodes = new Map<object, SchemaNode>()

  constructor(schema: unknown) {
    this.root = this.node(schema, '#')
  }

  node(schema: unknown, where: string): SchemaNode {
    if (typeof schema === 'boolean') return schema ? anything : nothing
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema))
      throw new LlavaError('INVALID_ARGUMENT', `${placeOf(where)}: a schema is an object, true or false`)
    const known = this.#nodes.get(schema)
    if (known !== undefined) return known
    const made = { id: this.#nodes.size + 2, schema: schema as SchemaObject, where }
    this.#nodes.set(schema, made)
    return made
  }

  /** What a reference names: a JSON pointer, an anchor or an `$id` of this schema. */
  target(reference: unknown, where: string): SchemaNode {
    if (typeof reference !== 'string') throw malformed('$ref', 'a string', where)
    const found = reference.startsWith('#/') || reference === '#' ? this.#atPointer(reference) : this.#named(reference)
    if (found !== undefined) return found
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${placeOf(where)}: \`$ref\` ${JSON.stringify(reference)} is nowhere in this schema; others are not loaded`,
    )
  }

  #atPointer(pointer: string): SchemaNode | undefined {
    let at: unknown = this.root.schema
    for (const step of pointer.split('/').slice(1)) {
      const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
      if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined
      at = (at as Record<string, unknown>)[name]
    }
    return this.node(at, pointer)
  }

  #named(name: string): SchemaNode | undefined {
    const isNamed = (schema: Record<string, unknown>) =>
      schema['$id'] === name || (name.startsWith('#') && schema['$anchor'] === name.slice(1))
    const search = (at: unknown, where: string): SchemaNode | undefined => {
      if (typeof at !== 'object' || at === null) return undefined
      if (!Array.isArray(at) && isNamed(at as Record<string, unknown>)) return this.node(at, where)
      for (const [key, value] of Object.entries(at)) {
        const found = search(value, `${where}/${pointerStep(key)}`)
        if (found !== undefined) return found
      }
      return undefined
    }
    return search(this.root.schema, '#')
  }

  /** The schema that a keyword holds. */
  below(node: SchemaNode, keyword: string, ...path: readonly (string | number)[]): SchemaNode {
    let at = (node.schema as SchemaObject)[keyword]
    for (const step of path) at = (at as Record<string, unknown>)[step]
    return this.node(at, [node.where, pointerStep(keyword), ...path.map(pointerStep)].join('/'))
  }

  /** The schemas that a keyword lists, if it is there. */
  listed(node: SchemaNode, keyword: string): SchemaNode[] | undefined {
    const list = keywordOf(node, keyword)
    if (list === undefined) return undefined
    if (!Array.isArray(list)) throw malformed(keyword, 'a list of schemas', node.where)
    return list.map((_, n) => this.below(node, keyword, n))
  }

  /** The schemas that a keyword holds by name, if it is there. */
  byName(node: SchemaNode, keyword: string): Map<string, SchemaNode> | undefined {
    const object = keywordOf(node, keyword)
    if (object === undefined) return undefined
    if (typeof object !== 'object' || object === null || Array.isArray(object))
      throw malformed(keyword, 'an object of schemas', node.where)
    return new Map(Object.keys(object).map((name) => [name, this.below(node, keyword, name)]))
  }

  /** The schema that a keyword is, if it is there. */
  single(node: SchemaNode, keyword: string): SchemaNode | undefined {
    return keywordOf(node, keyword) === undefined ? undefined : this.below(node, keyword)
  }
}

/** Throws INVALID_ARGUMENT for a keyword that is not known, or not supported. */
export function checkKeywords({ schema, where }: SchemaNode): void {
  for (const [keyword, value] of Object.entries(schema)) {
    if (value === undefined || annotations.has(keyword) || keyword.startsWith('x-')) continue
    const values = onlyValue.get(keyword)
    if (supported.has(keyword) && (values === undefined || values.includes(value))) continue
    throw unsupported(values === undefined ? `\`${keyword}\`` : `\`${keyword}: ${JSON.stringify(value)}\``, where)
  }
}

/** A keyword's value; `undefined` where it is not there. */
export function keywordOf({ schema }: SchemaNode, keyword: string): unknown {
  return typeof schema === 'object' && Object.hasOwn(schema, keyword) ? schema[keyword] : undefined
}

/** A number that a keyword gives, if it is there. */
export function numberOf(node: SchemaNode, keyword: string): number | undefined {
  const value = keywordOf(node, keyword)
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value)) throw malformed(keyword, 'a number', node.where)
  return value
}

/** A count that a keyword gives, if it is there. */
export function countOf(node: SchemaNode, keyword: string): number | undefined {
  const value = numberOf(node, keyword)
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0))
    throw malformed(keyword, 'a whole number that is 0 or greater', node.where)
  return value
}

/** The values that `const` or `enum` allow, if either is there. */
export function valuesOf(node: SchemaNode): readonly JsonValue[] | undefined {
  const only = keywordOf(node, 'const')
  const list = keywordOf(node, 'enum')
  if (list !== undefined && !Array.isArray(list)) throw malformed('enum', 'a list of values', node.where)
  if (only === undefined) return list as readonly JsonValue[] | undefined
  return [only as JsonValue]
}

function pointerStep(step: string | number): string {
  return String(step).replaceAll('~', '~0').replaceAll('/', '~1')
}
