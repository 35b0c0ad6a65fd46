// One answer as Ollama's API gives it: lines of JSON, or one piece.

import type { Answer } from '../../index.js'
import type { Answers } from '../answers.js'
import { StreamedReply } from '../route.js'
import { endOf, failure, line, lines } from './fields.js'

/** @param said what a route says of some text */
export async function reply<Said extends object>(
  stream: boolean | null | undefined,
  answers: Answers,
  said: (text: string) => Said,
): Promise<(Said & { readonly done: boolean } & ReturnType<typeof endOf>) | StreamedReply> {
  if (stream !== false) return new StreamedReply(lines, pieces(answers, said), failure)
  const [whole] = (await answers.all) as readonly [Answer]
  return { ...said(whole.text), done: true, ...endOf(whole) }
}

async function* pieces(answers: Answers, said: (text: string) => object): AsyncGenerator<string, void, undefined> {
  for await (const { text } of answers.pieces()) if (text !== '') yield line({ ...said(text), done: false })
  const [whole] = (await answers.all) as readonly [Answer]
  yield line({ ...said(''), done: true, ...endOf(whole) })
}
