// llava ask IMAGE… QUESTION

import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import {
  LlavaError,
  type Answer,
  type AnswerOptions,
  type ChatStream,
  type FormatOptions,
  type LLaVA,
} from '../index.js'
import { progressStatus, summary } from './answer-report.js'
import {
  addAnswerFlags,
  addImageFlags,
  addModelFlags,
  addShowFlag,
  answerOptions,
  imageOptions,
  integer,
  openModel,
  readImage,
  type AnswerFlags,
  type ImageFlags,
  type ModelFlags,
  type ShowFlags,
} from './flags.js'
import { addHelp } from './help.js'
import { remarkOnPhotographs } from './photograph.js'
import type { Session } from './session.js'
import { showPicture } from './terminal-picture.js'

const help = {
  about: [
    'The last argument is the question; pictures (files, http and https URLs) stand before it. ' +
      '"-" reads a picture, or as the last argument the question, from stdin.',
  ],
  examples: [
    'llava ask cat.jpg "What is the cat doing?"',
    'llava ask before.png after.png "What has changed?"',
    'llava ask "Name three colours."',
    'curl -s https://example.com/cat.jpg | llava ask - "Describe the picture." --max-tokens 64',
    'llava ask cat.jpg "What colour is it?" --json | jq -r .text',
    'llava ask cat.jpg "Write a title." --answers 3 --temperature 0.8',
    'llava ask --each *.jpg "Is there a cat in the picture?" --choices yes,no',
    'llava ask cat.jpg "Describe it." --schema scene.json --json | jq .value',
    'llava ask cat.jpg - < question.txt',
    'llava ask --each *.jpg "What is in the picture?"',
  ],
  json: [
    'With --json: {"text","tokenIds","finishReason","usage":{"promptTokens","imageTokens","cachedTokens","completionTokens","draftTokens",' +
      '"acceptedTokens"},"timings":{"loadMs","imageMs","promptMs","generateMs"}}, with --logprobs N also ' +
      '"logprobs":[{"id","text","bytes","logprob","top":[{"id","text","bytes","logprob"}]}]; with --answers a line for each. ' +
      'With --schema, --choices or --regex "value" is what the answer says. With --each they begin with "image", and a picture that fails has {"image","error":{"code","message"}}.',
  ],
}

interface AskFlags extends ModelFlags, AnswerFlags, ImageFlags, ShowFlags {
  readonly schema?: string
  readonly choices?: readonly string[]
  readonly regex?: string
  readonly answers?: number
  readonly each?: boolean
  readonly json?: boolean
}

interface NamedPicture {
  readonly name: string
  readonly image: string | Buffer
}

export function addAsk(program: Command, session: Session): void {
  const command = program
    .command('ask')
    .description('answer a question about pictures')
    .usage('[options] IMAGE… QUESTION')
    .argument('[words...]', 'pictures, then the question')
  addShowFlag(addImageFlags(addAnswerFlags(addModelFlags(command))))
    .option('-N, --answers <n>', 'so many answers from one prompt; with --temperature they differ', integer)
    .option('--schema <file>', 'the answer is JSON that fits the JSON Schema in this file')
    .option('--choices <a,b>', 'the answer is one of these texts', choices)
    .option('--regex <pattern>', 'the answer matches this regular expression as a whole')
    .option('--each', 'an answer for each picture by itself; one that fails does not end the others')
    .action((words: readonly string[], flags: AskFlags) => ask(words, flags, session))
  addHelp(command, help)
}

async function ask(words: readonly string[], flags: AskFlags, session: Session): Promise<void> {
  checkWords(words, flags)
  const last = words.at(-1) as string
  const question = last === '-' ? String(await readImage(last, session)).trim() : last
  const pictures = await Promise.all(
    words.slice(0, -1).map(async (name) => ({ name, image: await readImage(name, session) })),
  )
  const format = await formatOptions(flags)
  const model = await openModel(flags, session, imageOptions(flags))
  try {
    if (flags.each === true) await answerEach(model, pictures, question, format, flags, session)
    else await answer(model, pictures, question, format, flags, session)
  } finally {
    model.dispose()
  }
}

/** Words between commas. */
function choices(value: string): readonly string[] {
  return value.split(',').map((one) => one.trim())
}

/** What the answer is held to. */
async function formatOptions({ schema, choices: listed, regex }: AskFlags): Promise<FormatOptions> {
  return {
    ...(schema !== undefined && { schema: await readSchema(schema) }),
    ...(listed !== undefined && { choices: listed }),
    ...(regex !== undefined && { regex }),
  }
}

async function readSchema(file: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new LlavaError('INVALID_ARGUMENT', `--schema: ${file} cannot be read`, { cause })
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new LlavaError('INVALID_ARGUMENT', `--schema: ${file} is not JSON`, { cause })
  }
}

/** Says what a person forgot or put the wrong way round, before a model is opened. */
function checkWords(words: readonly string[], { each }: AskFlags): void {
  const last = words.at(-1)
  const fail = (message: string) => new LlavaError('INVALID_ARGUMENT', message)
  if (last === undefined)
    throw fail('a question is missing; pictures, if any, stand before it: llava ask cat.jpg "What is this?"')
  if (words.filter((word) => word === '-').length > 1)
    throw fail('stdin can be read once: "-" may stand for one picture, or for the question')
  if (last !== '-' && existsSync(last)) {
    const question = words.find((word) => word !== '-' && !/^[a-z]+:/i.test(word) && !existsSync(word))
    if (question !== undefined) throw fail(`the question comes last: llava ask ${last} ${JSON.stringify(question)}`)
    if (statSync(last).isDirectory())
      throw fail(`${last} is a directory; name the pictures in it, and then the question`)
    throw fail(`a question is missing after the picture ${last}`)
  }
  if (each === true && words.length === 1) throw fail('--each needs pictures')
}

/** One question to each picture; failures are told where they happen, and the exit code is then 1. */
async function answerEach(
  model: LLaVA,
  pictures: readonly NamedPicture[],
  question: string,
  format: FormatOptions,
  flags: AskFlags,
  session: Session,
): Promise<void> {
  for (const picture of pictures) {
    try {
      await answer(model, [picture], question, format, flags, session, picture.name)
    } catch (error) {
      if (session.signal.aborted) throw error
      session.failed(error, flags.json === true)
      if (flags.json === true)
        process.stdout.write(`${JSON.stringify({ image: picture.name, error: session.facts(error) })}\n`)
    }
  }
}

/** Answers to one question, written to stdout; with a name, that stands before each. */
async function answer(
  model: LLaVA,
  pictures: readonly NamedPicture[],
  question: string,
  format: FormatOptions,
  flags: AskFlags,
  session: Session,
  name?: string,
): Promise<void> {
  const options: AnswerOptions = {
    ...answerOptions(flags),
    ...format,
    signal: session.signal,
    onProgress: progressStatus(session),
  }
  const images = pictures.map(({ image }) => image)
  if (flags.show !== undefined && flags.json !== true)
    for (const image of images) await showPicture(image, flags.show, session)
  if (flags.answers !== undefined) {
    show(await model.ask(images, question, { ...options, answers: flags.answers }), flags, session, name)
    return
  }
  const content = [
    ...images.map((image) => ({ type: 'image' as const, image })),
    { type: 'text' as const, text: question },
  ]
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
    if (flags.json === true)
      process.stdout.write(`${JSON.stringify({ ...(name !== undefined && { image: name }), ...one })}\n`)
    else session.answer(`${n > 0 ? '\n' : ''}${heading(name)}${one.text}\n`)
  }
}

function heading(name: string | undefined): string {
  return name === undefined ? '' : `${name}: `
}

/** Writes the answer as it comes; the name first, once there is something to follow it. */
async function print(stream: ChatStream, session: Session, name: string | undefined): Promise<Answer> {
  let before = heading(name)
  for await (const text of stream) {
    session.answer(before + text)
    before = ''
  }
  session.answer(`${before}\n`)
  return stream.answer
}
