// Answers in a form that is asked for: the options, the grammar they stand for, and the value that comes of an answer.
//   schema   → JSON that fits it           → parsed, and validated by a Standard Schema
//   choices  → one of the texts            → that text
//   regex    → a text that matches whole   → that text
// In front of it one space may stand, with which models begin an answer; it is no part of the value.

import { LRUCache } from 'lru-cache'
import type { Job } from '../engine/job.js'
import { LlavaError, invalidArgument } from '../errors.js'
import type { Answer } from './answer.js'
import type { Generation } from './generation.js'
import { finishInSlices } from '../slices.js'
import { isStandardSchema, jsonSchemaOf, validated, type StandardSchema } from './standard-schema.js'
import type { Sampler } from '../sampling/sampler.js'
import { Automaton } from '../structured/automaton.js'
import { writeUtf8 } from '../structured/code-points.js'
import { Grammar, type Expression } from '../structured/grammar.js'
import type { JsonValue } from '../structured/json-literal.js'
import { jsonSchemaGrammar } from '../structured/json-schema.js'
import { Languages, type Language } from '../structured/language.js'
import { Matcher } from '../structured/matcher.js'
import { regexLanguage } from '../structured/regex.js'
import { TokenAutomaton } from '../structured/token-automaton.js'
import { Vocabulary, type Pieces } from '../structured/vocabulary.js'
import type { Tokenizer } from '../tokenizer/tokenizer.js'

/** What an answer is held to; at most one of them. Whatever else is set, an answer that comes to its own end has this form, and `value` then holds it. */
export interface FormatOptions<Schema = unknown, Choice extends string = string> {
  /**
   * A JSON Schema (draft 2020-12), `true` for any JSON, or a Standard Schema that tells its JSON Schema (Zod from 4.2 on, ArkType, Valibot with
   * `toStandardJsonSchema`). The answer is JSON that fits; the guide says which keywords are known, and any other is INVALID_ARGUMENT.
   */
  readonly schema?: Schema
  /** The answer is one of these texts. */
  readonly choices?: readonly Choice[]
  /** The answer matches as a whole: a RegExp, or its source. Not lookbehind, backreferences, word boundaries or the flags `i` and `m`. */
  readonly regex?: string | RegExp
}

/** What `answer.value` is, by the types of `schema` and `choices`. */
export type AnswerValue<Schema, Choice extends string> = unknown extends Schema
  ? unknown
  : [Choice] extends [never]
    ? SchemaValue<Schema>
    : Choice

/** A Standard Schema's output; the static type of TypeBox; of other JSON Schemas any JSON. Without a schema it is a text. */
type SchemaValue<Schema> = Schema extends undefined
  ? string
  : Schema extends { readonly '~standard': { readonly types?: { readonly output: infer Output } | undefined } }
    ? Output
    : Schema extends { readonly static: infer Static }
      ? Static
      : JsonValue

/** A format as the grammar of its texts; whole answers' automaton is made when the first one begins. */
interface Compiled {
  readonly grammar: Grammar
  readonly root: Expression
  /** Where the texts are a regular language. */
  readonly texts: Language | undefined
  tokens?: TokenAutomaton | undefined
}

/** Formats kept per model. */
const mostFormats = 16

/** States, languages and frames of a format that is kept; beyond, it is compiled anew: some tens of megabytes. */
const mostStates = 20_000

const everyByte: ReadonlySet<number> = new Set(Array.from({ length: 256 }, (_, byte) => byte))

/** What one model's formats share. */
class ModelFormats {
  readonly compiled = new LRUCache<string, Compiled>({ max: mostFormats })
  readonly pieces: Pieces
  #vocabulary: Promise<Vocabulary> | undefined

  /** @param banned ids that are never chosen */
  constructor(tokenizer: Tokenizer, banned: readonly number[]) {
    const noBytes = new Uint8Array(0)
    this.pieces = {
      count: tokenizer.vocabSize,
      bytes: (id) => (banned.includes(id) ? noBytes : tokenizer.pieceBytes(id)),
    }
  }

  get vocabulary(): Promise<Vocabulary> {
    return (this.#vocabulary ??= finishInSlices(Vocabulary.read(this.pieces)))
  }
}

const models = new WeakMap<Tokenizer, ModelFormats>()

/** The form of the answers of one call. */
export class AnswerFormat {
  readonly #model: ModelFormats
  readonly #compiled: Compiled
  readonly #schema: StandardSchema | undefined
  /** `undefined`: the value is the text itself. */
  readonly #parse: ((text: string) => unknown) | undefined
  #matchers: readonly Matcher[] = []

  /**
   * The format that options ask for, if any; mistakes in it are thrown here.
   * @param banned ids that are never chosen
   */
  static of(options: FormatOptions, tokenizer: Tokenizer, banned: readonly number[]): AnswerFormat | undefined {
    const { schema, choices, regex } = options
    const given = Object.entries({ schema, choices, regex }).filter(([, value]) => value !== undefined)
    if (given.length === 0) return undefined
    if (given.length > 1)
      throw new LlavaError('INVALID_ARGUMENT', `give one of ${given.map(([name]) => `\`${name}\``).join(' and ')}`)
    let model = models.get(tokenizer)
    if (model === undefined) models.set(tokenizer, (model = new ModelFormats(tokenizer, banned)))
    return new AnswerFormat(options, model)
  }

  private constructor({ schema, choices, regex }: FormatOptions, model: ModelFormats) {
    this.#model = model
    this.#schema = isStandardSchema(schema) ? schema : undefined
    this.#parse = schema === undefined ? undefined : (text) => JSON.parse(text) as unknown
    if (choices !== undefined) this.#compiled = choicesFormat(choices, model)
    else if (regex !== undefined) this.#compiled = regexFormat(regex, model)
    else this.#compiled = schemaFormat(this.#schema === undefined ? schema : jsonSchemaOf(this.#schema), model)
  }

  /** Holds each sampler to the format. To be called once, before they choose. */
  async begin(samplers: readonly Sampler[], eosIds: readonly number[], job: Job): Promise<void> {
    const vocabulary = await job.race(this.#model.vocabulary)
    const { grammar, root } = this.#compiled
    const tokens = (this.#compiled.tokens ??= TokenAutomaton.of(grammar, root, vocabulary, this.#model.pieces))
    if (tokens === undefined)
      throw new LlavaError('INVALID_ARGUMENT', "the model's vocabulary has no tokens for any text of this format")
    this.#matchers = samplers.map((sampler) => {
      const matcher = new Matcher(tokens, eosIds)
      sampler.constrain(matcher)
      return matcher
    })
  }

  /**
   * What each answer's value is, by the sampler's place, or why it has none: nothing for one that was cut. A single one
   * fails with VALUE_INVALID.
   */
  async values(generations: readonly Generation[]): Promise<readonly Pick<Answer, 'value' | 'valueError'>[]> {
    return Promise.all(
      generations.map(async ({ finishReason }, place): Promise<Pick<Answer, 'value' | 'valueError'>> => {
        const matcher = this.#matchers[place]
        if (finishReason !== 'stop' || matcher?.complete !== true) return {}
        const text = this.#withoutSpace(matcher.text)
        if (this.#parse === undefined) return { value: text }
        const value = this.#parse(text)
        if (this.#schema === undefined) return { value }
        try {
          return { value: await validated(this.#schema, value, text) }
        } catch (error) {
          // the others have theirs
          if (generations.length > 1 && error instanceof LlavaError) return { valueError: error }
          throw error
        }
      }),
    )
  }

  /** The space is the value's where a text may begin with one. */
  #withoutSpace(text: string): string {
    const { grammar, texts } = this.#compiled
    if (!text.startsWith(' ')) return text
    let left = texts ?? grammar.languages.none
    for (const byte of Buffer.from(text)) left = grammar.languages.derive(left, byte)
    return left.nullable ? text : text.slice(1)
  }
}

function choicesFormat(choices: unknown, model: ModelFormats): Compiled {
  const isList = Array.isArray(choices) && choices.length > 0
  if (!isList || !choices.every((one): one is string => typeof one === 'string' && one !== ''))
    throw invalidArgument('choices', 'a list of one or more texts, none of them empty', choices)
  return remembered(`choices ${JSON.stringify(choices)}`, model, 'choices', (grammar) =>
    grammar.languages.literals(choices),
  )
}

function regexFormat(regex: unknown, model: ModelFormats): Compiled {
  if (typeof regex !== 'string' && !(regex instanceof RegExp))
    throw invalidArgument('regex', 'a RegExp or its source', regex)
  const { source, flags } = typeof regex === 'string' ? { source: regex, flags: '' } : regex
  return remembered(`regex ${flags} ${source}`, model, 'regex', ({ languages }) =>
    regexLanguage(source, flags, { languages, write: writeUtf8, where: '`regex`', around: 'nothing' }),
  )
}

function schemaFormat(schema: unknown, model: ModelFormats): Compiled {
  if (schema !== true && (typeof schema !== 'object' || schema === null || Array.isArray(schema)))
    throw invalidArgument('schema', 'a JSON Schema or a Standard Schema', schema)
  let text: string
  try {
    text = JSON.stringify(schema)
  } catch (cause) {
    throw new LlavaError('INVALID_ARGUMENT', 'expected `schema` to be a JSON Schema: it is not JSON', { cause })
  }
  return remembered(`schema ${text}`, model, 'schema', (grammar) => jsonSchemaGrammar(JSON.parse(text), grammar))
}

/** Compiles a format, or finds it where it was compiled for an earlier call. */
function remembered(
  key: string,
  { compiled }: ModelFormats,
  option: keyof FormatOptions,
  compile: (grammar: Grammar) => Expression | Language,
): Compiled {
  const known = compiled.get(key)
  if (known !== undefined && (known.tokens?.size ?? 0) < mostStates) return known
  const grammar = new Grammar(new Languages())
  const made = compile(grammar)
  const isLanguage = !('kind' in made)
  const space = grammar.terminal(grammar.languages.optional(grammar.languages.literal(' ')))
  const root = grammar.sequence(space, isLanguage ? grammar.terminal(made) : made)
  if (new Automaton(grammar, root, everyByte).start === undefined)
    throw new LlavaError('INVALID_ARGUMENT', `no text fits \`${option}\`: what it asks for contradicts itself`)
  const format = { grammar, root, texts: isLanguage ? made : undefined }
  compiled.set(key, format)
  return format
}
