// Tokens per second with drafts looked up in the prompt and without, in alternation, the same answer both times (lib/speculation.ts):
//   `repeats` copies a passage of its question, `departs` does so with every eighth token changed, `fresh` says every word once;
// these on a random model of LLaVA 1.5's 7B shape, few of its layers, whose answer is dictated; and `demo`, the model that comes with the package on questions
// about its picture, decided by itself. A model of all layers gains the same: layers and drafts cost in proportion.

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Answer, AnswerOptions, LLaVA } from '../lib/index.js'
import { median } from '../lib/benchmark/statistics.js'

export interface SpeculationLine {
  readonly what: string
  readonly tokens: number
  /** Tokens per second of generation without drafts, and with them: medians. */
  readonly plain: number
  readonly drafted: number
  /** drafted / plain */
  readonly gain: number
  readonly draftTokens: number
  readonly acceptedTokens: number
  /** acceptedTokens / draftTokens; 0 where nothing was drafted. */
  readonly acceptance: number
}

type Ask = (options: AnswerOptions) => Promise<Answer>

/** Asks with and without drafts in turn; the first round warms up. */
export async function timeSpeculation(what: string, ask: Ask, repeat: number): Promise<SpeculationLine> {
  const plain: number[] = []
  const drafted: number[] = []
  let last: Answer | undefined
  for (let n = -1; n < repeat; n++) {
    const without = await ask({ promptLookupTokens: 0 })
    last = await ask({})
    if (last.tokenIds.join() !== without.tokenIds.join()) throw new Error(`${what}: drafts changed the answer`)
    if (n < 0) continue
    plain.push(rate(without))
    drafted.push(rate(last))
  }
  const { completionTokens = 0, draftTokens = 0, acceptedTokens = 0 } = last?.usage ?? {}
  const [slow, fast] = [median(plain), median(drafted)]
  const acceptance = draftTokens === 0 ? 0 : acceptedTokens / draftTokens
  return {
    what,
    tokens: completionTokens,
    plain: slow,
    drafted: fast,
    gain: fast / slow,
    draftTokens,
    acceptedTokens,
    acceptance,
  }
}

function rate({ usage, timings }: Answer): number {
  return (usage.completionTokens / timings.generateMs) * 1000
}

/** Makes an answer say `ids`. */
function dictated(ids: readonly number[]): AnswerOptions {
  return {
    maxTokens: ids.length,
    logitsProcessor: {
      process(logits, tokenIds) {
        logits[ids[tokenIds.length] as number] = 1e6
      },
    },
  }
}

/** Answers of `tokens` tokens to a question that holds each word once. */
function dictations(
  model: LLaVA,
  tokens: number,
): { readonly question: string; readonly answers: Readonly<Record<string, readonly number[]>> } {
  const words = Array.from({ length: tokens }, (_, n) => (n + 1000).toString(36)).join(' ')
  const passage = [...model.tokenize(words, { addBos: false })].slice(0, tokens)
  const unsaid = (n: number) => 20_000 + n
  const answers = {
    repeats: passage,
    departs: passage.map((id, n) => (n % 8 === 7 ? unsaid(n) : id)),
    fresh: passage.map((_, n) => unsaid(n)),
  }
  return { question: words, answers }
}

/** A line for each dictated answer. */
export async function* benchDictated(
  model: LLaVA,
  tokens: number,
  repeat: number,
): AsyncGenerator<SpeculationLine, void, undefined> {
  const { question, answers } = dictations(model, tokens)
  for (const [what, ids] of Object.entries(answers)) {
    yield await timeSpeculation(what, (options) => model.ask([], question, { ...dictated(ids), ...options }), repeat)
  }
}

/** A line for each question to the model that comes with the package. */
export async function* benchDemo(model: LLaVA, repeat: number): AsyncGenerator<SpeculationLine, void, undefined> {
  const picture = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../models/demo.png')
  using encoded = await model.encodeImage(picture)
  for (const question of ['What is in this picture?', 'Describe the picture.', 'What is on the left?']) {
    yield await timeSpeculation(`demo: ${question}`, (options) => model.ask(encoded, question, options), repeat)
  }
}
