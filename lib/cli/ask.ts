// llava ask IMAGE… QUESTION

import { existsSync } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { Command } from 'commander'
import { LlavaError, type Answer, type ChatStream, type ImageInput, type ProgressListener } from '../index.js'
import { addAnswerFlags, answerOptions, integer, openModel, type AnswerFlags } from './flags.js'
import type { Session } from './session.js'

const help = `
The last argument is the question; pictures stand before it. "-" reads a picture from stdin.

Examples:
  llava ask cat.jpg "What is the cat doing?"
  llava ask before.png after.png "What has changed?"
  llava ask "Name three colours."
  curl -s https://example.com/cat.jpg | llava ask - "Describe the picture." --max-tokens 64
  llava ask cat.jpg "What colour is it?" --json | jq -r .text
  llava ask cat.jpg "Write a title." --answers 3 --temperature 0.8

With --json: {"text","tokenIds","finishReason","usage":{"promptTokens","imageTokens","cachedTokens","completionTokens"},
"timings":{"loadMs","imageMs","promptMs","generateMs"}}, with --logprobs N also "logprobs":[{"id","text","bytes","logprob",
"top":[{"id","text","bytes","logprob"}]}]; with --answers a line for each.`

interface AskFlags extends AnswerFlags {
  readonly answers?: number
}

export function addAsk(program: Command, session: Session): void {
  addAnswerFlags(program.command('ask'))
    .description('answer a question about pictures')
    .usage('[options] IMAGE… QUESTION')
    .argument('<words...>', 'pictures, then the question')
    .option('-N, --answers <n>', 'so many answers from one prompt; with --temperature they differ', integer)
    .addHelpText('after', help)
    .action((words: readonly string[], flags: AskFlags) => ask(words, flags, session))
}

async function ask(words: readonly string[], flags: AskFlags, session: Session): Promise<void> {
  const question = words.at(-1) ?? ''
  if (words.length === 1 && existsSync(question)) throw new LlavaError('INVALID_ARGUMENT', `a question is missing after the picture ${question}`)
  const images = await Promise.all(words.slice(0, -1).map((word) => readImage(word, session)))
  const model = await openModel(flags, session, { autoOrient: flags.autoOrient })
  try {
    const options = { ...answerOptions(flags), signal: session.signal, onProgress: progress(session) }
    if (flags.answers !== undefined) {
      show(await model.askMany(images, question, flags.answers, options), flags, session)
      return
    }
    const content = [...images.map((image) => ({ type: 'image' as const, image })), { type: 'text' as const, text: question }]
    const stream = model.chat([{ role: 'user', content }], options)
    if (flags.json === true) show([await stream.answer], flags, session)
    else session.remark(summary(await print(stream, session)))
  } finally {
    model.dispose()
  }
}

/** Finished answers: a line each as JSON, or their texts with an empty line between them. */
function show(answers: readonly Answer[], flags: AskFlags, session: Session): void {
  session.status('')
  for (const [n, answer] of answers.entries()) {
    if (flags.json === true) process.stdout.write(`${JSON.stringify(answer)}\n`)
    else process.stdout.write(`${n > 0 ? '\n' : ''}${answer.text}\n`)
  }
}

/** Says on a terminal what happens before the first word. */
function progress(session: Session): ProgressListener {
  const words = { image: 'looking', prompt: 'reading', generate: 'writing' }
  return ({ stage, done, total }) => {
    if (stage !== 'generate' || done === 0) session.status(`${words[stage]} … ${done}/${total}`)
  }
}

/** Writes the answer as it comes. */
async function print(stream: ChatStream, session: Session): Promise<Answer> {
  for await (const text of stream) {
    session.status('')
    process.stdout.write(text)
  }
  session.status('')
  process.stdout.write('\n')
  return stream.answer
}

async function readImage(word: string, session: Session): Promise<ImageInput> {
  return word === '-' ? buffer(addAbortSignal(session.signal, process.stdin)) : word
}

/** What an answer took: `13 tokens, 41.2 tokens/s; picture 8 ms, prompt 34 ms`. */
export function summary({ usage, timings, finishReason }: Answer): string {
  const rate = timings.generateMs > 0 ? `, ${((usage.completionTokens / timings.generateMs) * 1000).toFixed(1)} tokens/s` : ''
  const picture = usage.imageTokens > 0 ? `picture ${timings.imageMs.toFixed(0)} ms, ` : ''
  const cut = finishReason === 'length' ? '; cut at the limit' : ''
  return `${usage.completionTokens} tokens${rate}; ${picture}prompt ${timings.promptMs.toFixed(0)} ms${cut}`
}
