// llava ask IMAGE… QUESTION

import { existsSync } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { Command } from 'commander'
import { LlavaError, type Answer, type ChatStream, type ImageInput } from '../index.js'
import { addAnswerFlags, answerOptions, openModel, type AnswerFlags } from './flags.js'
import type { Session } from './session.js'

const help = `
The last argument is the question; pictures stand before it. "-" reads a picture from stdin.

Examples:
  llava ask cat.jpg "What is the cat doing?"
  llava ask before.png after.png "What has changed?"
  llava ask "Name three colours."
  curl -s https://example.com/cat.jpg | llava ask - "Describe the picture." --max-tokens 64
  llava ask cat.jpg "What colour is it?" --json | jq -r .text

With --json: {"text","tokenIds","finishReason","usage":{"promptTokens","imageTokens","completionTokens"},
"timings":{"loadMs","imageMs","promptMs","generateMs"}}`

export function addAsk(program: Command, session: Session): void {
  addAnswerFlags(program.command('ask'))
    .description('answer a question about pictures')
    .usage('[options] IMAGE… QUESTION')
    .argument('<words...>', 'pictures, then the question')
    .addHelpText('after', help)
    .action((words: readonly string[], flags: AnswerFlags) => ask(words, flags, session))
}

async function ask(words: readonly string[], flags: AnswerFlags, session: Session): Promise<void> {
  const question = words.at(-1) ?? ''
  if (words.length === 1 && existsSync(question)) throw new LlavaError('INVALID_ARGUMENT', `a question is missing after the picture ${question}`)
  const images = await Promise.all(words.slice(0, -1).map((word) => readImage(word, session)))
  const model = await openModel(flags, session, { autoOrient: flags.autoOrient })
  try {
    const options = { ...answerOptions(flags), signal: session.signal }
    const content = [...images.map((image) => ({ type: 'image' as const, image })), { type: 'text' as const, text: question }]
    const stream = model.chat([{ role: 'user', content }], options)
    if (flags.json === true) process.stdout.write(`${JSON.stringify(await stream.answer)}\n`)
    else session.remark(summary(await print(stream, images, session)))
  } finally {
    model.dispose()
  }
}

/** Writes the answer as it comes. */
async function print(stream: ChatStream, images: readonly ImageInput[], session: Session): Promise<Answer> {
  session.status(images.length > 0 ? 'looking …' : 'thinking …')
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
