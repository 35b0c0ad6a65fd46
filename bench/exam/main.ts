// npm run eval -- FOLDER [--model FILE] [--clip FOLDER] [--out FOLDER] [--threads N]
// Asks the examination that models/recipe/exam.py wrote through the package, and prints how much is right: a line a kind of question, a column a hand.
// --clip: the CLIP in which texts are to find pictures; the model that comes with the package has one.
// --out: answers.jsonl, confusions.svg (what is taken for what, all hands that the model never saw) and answers.png (pictures with right and wrong answers).

import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { LLaVA } from '../../lib/index.js'
import { contactSheet, confusions } from './pictures.js'
import { galleryOf, isRight, named, readExam, type Exam, type Question, type Thing } from './questions.js'

/** A question, who drew its picture, and what came of it. */
export interface Marked {
  readonly hand: string
  readonly asked: Question
  readonly answer: string
  readonly right: boolean
}

/** Kinds that are not asked for a single word. */
const long: readonly Question['kind'][] = ['describe', 'plain']
const short = '\nAnswer the question using a single word or phrase.'

async function mark(model: LLaVA, folder: string, { things, hands }: Exam, withClip: boolean): Promise<Marked[]> {
  const marked: Marked[] = []
  for (const [hand, questions] of hands) {
    for (const asked of questions) {
      const text = await answerTo(asked, model, path.join(folder, hand))
      marked.push({ hand, asked, answer: text, right: isRight(asked, text, things) })
    }
    if (withClip) marked.push(...(await retrieve(model, path.join(folder, hand), hand, galleryOf(questions, things))))
    process.stderr.write(`${hand}: ${questions.length} questions\n`)
  }
  return marked
}

/** The answer to the last question of the conversation. */
async function answerTo(
  { kind, picture, earlier = [], question }: Question,
  model: LLaVA,
  folder: string,
): Promise<string> {
  using conversation = model.createConversation()
  let answer = ''
  for (const [turn, text] of [...earlier, long.includes(kind) ? question : question + short].entries()) {
    const shown = turn === 0 && picture !== '' ? [{ type: 'image', image: path.join(folder, picture) } as const] : []
    answer = (await conversation.say([...shown, { type: 'text', text }], { maxTokens: 96, temperature: 0 }).answer).text
  }
  return answer
}

/** Each text finds the picture whose vector is nearest to its own: recall at 1. */
async function retrieve(model: LLaVA, folder: string, hand: string, gallery: readonly Question[]): Promise<Marked[]> {
  const options = { normalize: true } as const
  const pictures = await model.embed(
    gallery.map((one) => path.join(folder, one.picture)),
    { kind: 'clip_image', ...options },
  )
  const texts = await model.embed(
    gallery.map((one) => one.question),
    { kind: 'clip_text', ...options },
  )
  return gallery.map((asked, row) => {
    const text = texts[row]?.data ?? new Float32Array()
    const likeness = pictures.map(({ data }) => data.reduce((sum, value, n) => sum + value * (text[n] ?? 0), 0))
    const answer = gallery[likeness.indexOf(Math.max(...likeness))]?.picture ?? ''
    return { hand, asked, answer, right: answer === asked.picture }
  })
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0)

/** `| naming | 54.1 % (225/416) | …`, a line a kind, and of descriptions how much of what they name is not there, and how much of what is there they name. */
export function scoreTable(marked: readonly Marked[], things: readonly Thing[]): string {
  const hands = [...new Set(marked.map((one) => one.hand))]
  const kinds = [...new Set(marked.map((one) => one.asked.kind))]
  const share = (part: number, whole: number): string =>
    whole === 0 ? '' : `${((100 * part) / whole).toFixed(1)} % (${part}/${whole})`
  const line = (name: string, cell: (mine: readonly Marked[]) => string, kind = name): string =>
    `| ${name} | ${hands.map((hand) => cell(marked.filter((one) => one.asked.kind === kind && one.hand === hand))).join(' | ')} |`
  const right = (mine: readonly Marked[]): string => share(mine.filter((one) => one.right).length, mine.length)
  const part =
    (of: 'invented' | 'found', whole: 'named' | 'there') =>
    (mine: readonly Marked[]): string => {
      const counts = mine.map(({ asked, answer }) => named(asked, answer, things))
      return share(sum(counts.map((one) => one[of])), sum(counts.map((one) => one[whole])))
    }
  return [
    `| question | ${hands.join(' | ')} |`,
    `| --- |${' --- |'.repeat(hands.length)}`,
    ...kinds.map((kind) => line(kind, right)),
    line('invented', part('invented', 'named'), 'describe'),
    line('found', part('found', 'there'), 'describe'),
  ].join('\n')
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      model: { type: 'string' },
      clip: { type: 'string' },
      out: { type: 'string' },
      threads: { type: 'string' },
    },
  })
  const [folder] = positionals
  if (folder === undefined)
    throw new Error(
      'usage: npm run eval -- FOLDER [--model FILE] [--clip FOLDER] [--out FOLDER] [--threads N] (models/recipe/exam.py writes FOLDER)',
    )
  const exam = await readExam(folder)
  const { clip, threads } = values
  const model = await LLaVA.open(values.model, {
    ...(clip !== undefined && { clip }),
    ...(threads !== undefined && { threads: Number(threads) }),
  })
  try {
    const marked = await mark(model, folder, exam, clip !== undefined || values.model === undefined)
    process.stdout.write(`${scoreTable(marked, exam.things)}\n`)
    if (values.out === undefined) return
    await mkdir(values.out, { recursive: true })
    const unseen = marked.filter((one) => one.hand !== 'train')
    await writeFile(path.join(values.out, 'answers.jsonl'), marked.map((one) => `${JSON.stringify(one)}\n`).join(''))
    await writeFile(path.join(values.out, 'confusions.svg'), confusions(unseen, exam.things))
    await writeFile(path.join(values.out, 'answers.png'), await contactSheet(unseen, folder))
  } finally {
    model.dispose()
  }
}

await main()
