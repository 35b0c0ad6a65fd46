// Whether texts are in a format, byte by byte, without tokens.

import { Automaton, type State } from '../../lib/structured/automaton.js'
import { writeUtf8 } from '../../lib/structured/code-points.js'
import { Grammar, type Expression } from '../../lib/structured/grammar.js'
import { jsonSchemaGrammar } from '../../lib/structured/json-schema.js'
import { Languages, type Language } from '../../lib/structured/language.js'
import { regexLanguage } from '../../lib/structured/regex.js'

export const everyByte: ReadonlySet<number> = new Set(Array.from({ length: 256 }, (_, byte) => byte))

export interface Compiled {
  readonly grammar: Grammar
  readonly root: Expression
}

export function compiledSchema(schema: unknown): Compiled {
  const grammar = new Grammar(new Languages())
  return { grammar, root: jsonSchemaGrammar(schema, grammar) }
}

export function compiledRegex(regex: RegExp): Compiled {
  const grammar = new Grammar(new Languages())
  const options = { languages: grammar.languages, write: writeUtf8, where: 'regex', around: 'nothing' } as const
  return { grammar, root: grammar.terminal(regexLanguage(regex.source, regex.flags, options)) }
}

export function compiledLanguage(languages: Languages, language: Language): Compiled {
  const grammar = new Grammar(languages)
  return { grammar, root: grammar.terminal(language) }
}

export function automatonOf({ grammar, root }: Compiled): Automaton {
  return new Automaton(grammar, root, everyByte)
}

/** The state after a text; `null`: no text of the format begins so. */
export function stateAfter(automaton: Automaton, text: string | Uint8Array): State | null {
  let state: State | null = automaton.start ?? null
  for (const byte of Buffer.from(text)) state = state === null ? null : automaton.step(state, byte)
  return state
}

export function takes(automaton: Automaton, text: string): boolean {
  return stateAfter(automaton, text)?.accepting ?? false
}
