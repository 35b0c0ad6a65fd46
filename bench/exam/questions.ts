// What an examination asks, as models/recipe/exam.py wrote it, and what counts as right.

import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'

/** A thing that the model knows. */
export interface Thing {
  readonly name: string
  readonly plural: string
  readonly synonyms: readonly string[]
  readonly kind: string
}

export interface Question {
  /** File name below the hand's folder; empty: asked without a picture. */
  readonly picture: string
  readonly kind: 'name' | 'exists' | 'color' | 'count' | 'relation' | 'describe' | 'read' | 'plain' | 'retrieve'
  /** Asked before it, in the same conversation. */
  readonly earlier?: readonly string[]
  readonly question: string
  /** Short answers that are right. */
  readonly accept: readonly string[]
  /** A regular expression that a right answer matches, in place of `accept`. */
  readonly pattern?: string
  /** Whether the answer is a description, which names nothing that is not in the picture. */
  readonly told?: boolean
  /** Indices of the things in the picture. */
  readonly things: readonly number[]
}

export interface Exam {
  readonly things: readonly Thing[]
  /** Questions by hand: who drew the pictures. */
  readonly hands: ReadonlyMap<string, readonly Question[]>
}

export async function readExam(folder: string): Promise<Exam> {
  const things = JSON.parse(await readFile(path.join(folder, 'things.json'), 'utf8')) as Thing[]
  const entries = await readdir(folder, { withFileTypes: true })
  const hands = new Map<string, readonly Question[]>()
  for (const entry of entries.filter((one) => one.isDirectory()).sort((a, b) => a.name.localeCompare(b.name))) {
    const text = await readFile(path.join(folder, entry.name, 'questions.jsonl'), 'utf8')
    hands.set(
      entry.name,
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Question),
    )
  }
  return { things, hands }
}

/** Most drawings among which a text finds its own. */
const gallery = 200

/** One drawing of each thing, up to 200 of them, to be found by a text. */
export function galleryOf(questions: readonly Question[], things: readonly Thing[]): Question[] {
  const first = new Map<number, Question>()
  for (const one of questions) {
    const [thing] = one.things
    if (one.kind === 'name' && thing !== undefined && !first.has(thing)) first.set(thing, one)
  }
  return [...first].slice(0, gallery).map(([thing, { picture }]) => ({
    picture,
    kind: 'retrieve',
    question: `a drawing of a ${things[thing]?.name ?? ''}`,
    accept: [picture],
    things: [thing],
  }))
}

/** A short answer without what does not count: case, a full stop, an article. */
export function bare(answer: string): string {
  return answer
    .trim()
    .toLowerCase()
    .replace(/\.$/, '')
    .replace(/^(?:an?|the) /, '')
}

/** Names that are colours as well. */
const colours = ['orange']

/**
 * Indices of the things whose name, plural or synonym stands in a text. A longer name hides a shorter one inside it (a hot dog is no dog), and a colour is no
 * fruit before what it belongs to ("an orange cat", "an orange animal") or after "is".
 */
export function mentioned(text: string, things: readonly Thing[]): Set<number> {
  const names = things.flatMap((thing, index) =>
    [thing.name, thing.plural, ...thing.synonyms].map((name) => ({ name: name.toLowerCase(), index })),
  )
  const last = ({ name }: { readonly name: string }): number => Number(colours.includes(name))
  names.sort((a, b) => last(a) - last(b) || b.name.length - a.name.length)
  let rest = ` ${text
    .toLowerCase()
    .replace(/[.,;:!?]+/g, ' , ')
    .replace(/[^a-z0-9,'-]+/g, ' ')} `
  const found = new Set<number>()
  for (const { name, index } of names) {
    if (colours.includes(name))
      rest = rest.replace(new RegExp(` (?:is|are) ${name} | ${name} (?!and |or |with |on |in |at |, |$)`, 'g'), ' ')
    const words = ` ${name.replace(/[^a-z0-9'-]+/g, ' ')} `
    if (!rest.includes(words)) continue
    found.add(index)
    rest = rest.replaceAll(words, ' · ')
  }
  return found
}

/**
 * Of the things that a description names, how many are not in the picture, which CHAIR counts (Rohrbach et al. 2018); and of those in the picture how many it
 * names: who says only "an animal" invents nothing, and finds nothing.
 */
export function named(
  question: Question,
  answer: string,
  things: readonly Thing[],
): { readonly named: number; readonly invented: number; readonly there: number; readonly found: number } {
  const said = mentioned(answer, things)
  const found = question.things.filter((index) => said.has(index)).length
  return { named: said.size, invented: said.size - found, there: question.things.length, found }
}

/** Whether an answer is right; a description is right when it names nothing that is not in the picture. */
export function isRight(question: Question, answer: string, things: readonly Thing[]): boolean {
  const { kind, pattern, accept, told = kind === 'describe' } = question
  if (told && named(question, answer, things).invented > 0) return false
  if (pattern !== undefined) return new RegExp(pattern, 'i').test(answer.trim())
  return told || accept.some((right) => bare(right) === bare(answer))
}
