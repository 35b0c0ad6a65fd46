// llava ask IMAGE… QUESTION

import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { LlavaError, type Answer, type AnswerOptions, type ChatStream, type LLaVA, type ProgressListener } from '../index.js'
import { addAnswerFlags, addShowFlag, answerOptions, integer, openModel, readImage, type AnswerFlags, type ShowFlags } from './flags.js'
import { remarkOnPhotographs } from './photograph.js'
import { errorFacts, type Session } from './session.js'
import { showPicture } from './terminal-picture.js'

const help = `
The last argument is the question; pictures (files, http and https URLs) stand before it. "-" reads a picture, or as the last argument the question,
from stdin.

Examples:
  llava ask cat.jpg "What is the cat doing?"
  llava ask before.png after.png "What has changed?"
  llava ask "Name three colours."
  curl -s https://example.com/cat.jpg | llava ask - "Describe the picture." --max-tokens 64
  llava ask cat.jpg "What colour is it?" --json | jq -r .text
  llava ask cat.jpg "Write a title." --answers 3 --temperature 0.8
  llava ask cat.jpg - < question.txt
  llava ask --each *.jpg "What is in the picture?"

With --json: {"text","tokenIds","finishReason","usage":{"promptTokens","imageTokens","cachedTokens","completionTokens",
"draftTokens","acceptedTokens"},"timings":{"loadMs","imageMs","promptMs","generateMs"}}, with --logprobs N also "logprobs":[{"id","text","bytes","logprob",
"top":[{"id","text","bytes","logprob"}]}]; with --answers a line for each. With --each they begin with
"image", and a picture that fails has {"image","error":{"code","message"}}.`

interface AskFlags extends AnswerFlags, ShowFlags {
  readonly answers?: number
  readonly each?: boolean
}

interface NamedPicture {
  readonly name: string
  readonly image: string | Buffer
}

export function addAsk(program: Command, session: Session): void {
  addShowFlag(addAnswerFlags(program.command('ask')))
    .description('answer a question about pictures')
    .usage('[options] IMAGE… QUESTION')
    .argument('<words...>', 'pictures, then the question')
    .option('-N, --answers <n>', 'so many answers from one prompt; with --temperature they differ', integer)
    .option('--each', 'an answer for each picture by itself; one that fails does not end the others')
    .addHelpText('after', help)
    .action((words: readonly string[], flags: AskFlags) => ask(words, flags, session))
}

async function ask(words: readonly string[], flags: AskFlags, session: Session): Promise<void> {
  const last = words.at(-1) ?? ''
  if (words.length === 1 && last !== '-' && existsSync(last)) throw new LlavaError('INVALID_ARGUMENT', `a question is missing after the picture ${last}`)
  if (words.filter((word) => word === '-').length > 1) throw new LlavaError('INVALID_ARGUMENT', 'stdin can be read once: "-" may stand for one picture, or for the question')
  const question = last === '-' ? String(await readImage(last, session)).trim() : last
  const pictures = await Promise.all(words.slice(0, -1).map(async (name) => ({ name, image: await readImage(name, session) })))
  if (flags.each === true && pictures.length === 0) throw new LlavaError('INVALID_ARGUMENT', '--each needs pictures')
  const { autoOrient, allowPrivateNetwork = false } = flags
  const model = await openModel(flags, session, { autoOrient, allowPrivateNetwork })
  try {
    if (flags.each === true) await answerEach(model, pictures, question, flags, session)
    else await answer(model, pictures, question, flags, session)
  } finally {
    model.dispose()
  }
}

/** One question to each picture; failures are told where they happen, and the exit code is then 1. */
async function answerEach(model: LLaVA, pictures: readonly NamedPicture[], question: string, flags: AskFlags, session: Session): Promise<void> {
  for (const picture of pictures) {
    try {
      await answer(model, [picture], question, flags, session, picture.name)
    } catch (error) {
      if (session.signal.aborted) throw error
      session.failed(error, flags.json === true)
      if (flags.json === true) process.stdout.write(`${JSON.stringify({ image: picture.name, error: errorFacts(error) })}\n`)
    }
  }
}

/** Answers to one question, written to stdout; with a name, that stands before each. */
async function answer(model: LLaVA, pictures: readonly NamedPicture[], question: string, flags: AskFlags, session: Session, name?: string): Promise<void> {
  const options: AnswerOptions = { ...answerOptions(flags), signal: session.signal, onProgress: progress(session) }
  const images = pictures.map(({ image }) => image)
  if (flags.show !== undefined && flags.json !== true) for (const image of images) await showPicture(image, flags.show, session)
  if (flags.answers !== undefined) {
    show(await model.askMany(images, question, flags.answers, options), flags, session, name)
    return
  }
  const content = [...images.map((image) => ({ type: 'image' as const, image })), { type: 'text' as const, text: question }]
  const stream = model.chat([{ role: 'user', content }], options)
  if (flags.json === true) show([await stream.answer], flags, session, name)
  else {
    session.remark(summary(await print(stream, session, name)))
    await remarkOnPhotographs(images, flags, session)
  }
}

/** Finished answers: a line each as JSON, or their texts with an empty line between them. */
function show(answers: readonly Answer[], flags: AskFlags, session: Session, name: string | undefined): void {
  session.status('')
  for (const [n, one] of answers.entries()) {
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ ...(name !== undefined && { image: name }), ...one })}\n`)
    else process.stdout.write(`${n > 0 ? '\n' : ''}${heading(name)}${one.text}\n`)
  }
}

function heading(name: string | undefined): string {
  return name === undefined ? '' : `${name}: `
}

/** Says on a terminal what happens before the first word. */
function progress(session: Session): ProgressListener {
  const words = { image: 'looking', prompt: 'reading', generate: 'writing' }
  return ({ stage, done, total }) => {
    if (stage !== 'generate' || done === 0) session.status(`${words[stage]} … ${done}/${total}`)
  }
}

/** Writes the answer as it comes; the name first, once there is something to follow it. */
async function print(stream: ChatStream, session: Session, name: string | undefined): Promise<Answer> {
  let before = heading(name)
  for await (const text of stream) {
    session.status('')
    process.stdout.write(before + text)
    before = ''
  }
  session.status('')
  process.stdout.write(`${before}\n`)
  return stream.answer
}

/** What an answer took: `13 tokens, 41.2 tokens/s; picture 8 ms, prompt 34 ms`. */
export function summary({ usage, timings, finishReason }: Answer): string {
  const rate = timings.generateMs > 0 ? `, ${((usage.completionTokens / timings.generateMs) * 1000).toFixed(1)} tokens/s` : ''
  const picture = usage.imageTokens > 0 ? `picture ${timings.imageMs.toFixed(0)} ms, ` : ''
  const cut = finishReason === 'length' ? '; cut at the limit' : ''
  return `${usage.completionTokens} tokens${rate}; ${picture}prompt ${timings.promptMs.toFixed(0)} ms${cut}`
}
