// A context-free grammar whose terminals are regular languages. Values inside values make it one; everything else is in the terminals.

import type { Language, Languages } from './language.js'

export type Expression =
  | { readonly kind: 'terminal'; readonly id: number; readonly language: Language }
  | { readonly kind: 'sequence'; readonly id: number; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly id: number; readonly of: readonly Expression[] }
  | { readonly kind: 'rule'; readonly id: number; body: Expression | undefined }

export type Rule = Extract<Expression, { kind: 'rule' }>
export type Sequence = Extract<Expression, { kind: 'sequence' }>

export class Grammar {
  readonly languages: Languages
  readonly #expressions: Expression[] = []

  constructor(languages: Languages) {
    this.languages = languages
  }

  get expressions(): readonly Expression[] {
    return this.#expressions
  }

  terminal(language: Language): Expression {
    return this.#add({ kind: 'terminal', id: this.#expressions.length, language })
  }

  sequence(...parts: readonly Expression[]): Expression {
    return parts.length === 1 ? parts[0]! : this.#add({ kind: 'sequence', id: this.#expressions.length, parts })
  }

  choice(...of: readonly Expression[]): Expression {
    return of.length === 1 ? of[0]! : this.#add({ kind: 'choice', id: this.#expressions.length, of })
  }

  /** A name for what `define` says later, or in terms of itself. */
  rule(): Rule {
    const rule: Rule = { kind: 'rule', id: this.#expressions.length, body: undefined }
    this.#add(rule)
    return rule
  }

  define(rule: Rule, body: Expression): Rule {
    rule.body = body
    return rule
  }

  #add(expression: Expression): Expression {
    this.#expressions.push(expression)
    return expression
  }
}
