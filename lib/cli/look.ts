// llava look IMAGE… QUESTION --out FILE

import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import {
  answerWords,
  LlavaError,
  type Answer,
  type AnswerWord,
  type ImageInput,
  type LLaVA,
  type Message,
  type Occlusion,
  type TokenAttention,
} from '../index.js'
import { progressStatus } from './answer-report.js'
import {
  addImageFlags,
  addModelFlags,
  imageOptions,
  integer,
  openModel,
  readImage,
  type ImageFlags,
  type ModelFlags,
} from './flags.js'
import { addHelp } from './help.js'
import { lookSvg, type WordLook } from './look-svg.js'
import type { Session } from './session.js'

const help = {
  about: [
    'Asks QUESTION, and draws for each word of the answer where the model looked: the attention of the decoder over the patches of the picture, and beside it ' +
      'what the word owes to each place: how its log-probability changes when the place is grey. Attention says what the model read, not why it chose the word.',
    'The picture is drawn as the model sees it: cut or padded, and resized. FILE ends in .png or .svg.',
  ],
  examples: [
    'llava look street.jpg "What is on the left?" --out look.png',
    'llava look street.jpg "What is on the left?" --word bicycle --window 2 --out bicycle.svg',
    'llava look cat.jpg "What is it?" --json | jq ".words[] | {text, logprob}"',
  ],
  json: [
    'With --json: {"text","tokenIds","grid":{"rows","columns"},"layers","heads","words":[{"text","tokens","logprob","attention":[layers][heads][rows][columns],' +
      '"occlusion":[rows][columns]}],"window","file"}; the weights of a word of several tokens are their mean, its log-probabilities their sum.',
  ],
}

interface LookFlags extends ModelFlags, ImageFlags {
  readonly out?: string
  readonly word?: string
  readonly picture: number
  readonly layers?: readonly number[]
  readonly window?: number
  readonly maxTokens: number
  readonly system?: string
  readonly template?: string
}

/** Words that are drawn, at most; the others are left out. */
const mostWords = 24

export function addLook(program: Command, session: Session): void {
  const command = addImageFlags(addModelFlags(program.command('look')))
    .description('draw where the model looks for each word of its answer')
    .usage('[options] IMAGE… QUESTION')
    .argument('<words...>', 'pictures, then the question')
    .option('-o, --out <file>', 'the picture to write, .png or .svg')
    .option('--word <text>', 'only this word of the answer')
    .option('--picture <n>', 'which of several pictures, counted from 0', integer, 0)
    .option('--layers <n,n>', 'decoder layers whose attention is drawn, counted from 0 (default: all)', layers)
    .option('--window <n>', 'patches on a side of the squares that are greyed (default: at most 64 squares)', integer)
    .option('-n, --max-tokens <n>', 'most tokens to generate', integer, 64)
    .option('--system <text>', 'replaces the system text')
    .option('--template <name>', 'prompt format, as of llava ask')
    .action((words: readonly string[], flags: LookFlags) => look(words, flags, session))
  addHelp(command, help)
}

/** Whole numbers between commas. */
function layers(value: string): readonly number[] {
  return value.split(',').map((one) => integer(one.trim()))
}

async function look(words: readonly string[], flags: LookFlags, session: Session): Promise<void> {
  const question = words.at(-1) as string
  if (words.length < 2)
    throw wrong('a picture and a question are needed: llava look cat.jpg "What is this?" --out look.png')
  if (flags.out === undefined && flags.json !== true)
    throw wrong('--out FILE says where the picture goes; or take --json')
  if (flags.out !== undefined && !['.png', '.svg'].includes(path.extname(flags.out)))
    throw wrong('--out: the name ends in .png or .svg')
  const images = await Promise.all(words.slice(0, -1).map((name) => readImage(name, session)))
  const image = images[flags.picture]
  if (image === undefined) throw wrong(`--picture: there are ${images.length}, counted from 0`)
  const model = await openModel(flags, session, imageOptions(flags))
  try {
    await lookAt(model, { images, image, question }, flags, session)
  } finally {
    model.dispose()
  }
}

interface Asked {
  readonly images: readonly ImageInput[]
  readonly image: ImageInput
  readonly question: string
}

async function lookAt(
  model: LLaVA,
  { images, image, question }: Asked,
  flags: LookFlags,
  session: Session,
): Promise<void> {
  const { signal } = session
  const prompt = Object.fromEntries(
    Object.entries({ system: flags.system, template: flags.template }).filter(([, value]) => value !== undefined),
  )
  const content = [
    ...images.map((one) => ({ type: 'image' as const, image: one })),
    { type: 'text' as const, text: question },
  ]
  const messages: readonly Message[] = [{ role: 'user', content }]
  const onProgress = progressStatus(session)
  const answer = await model.chat(messages, { ...prompt, maxTokens: flags.maxTokens, logprobs: 0, signal, onProgress })
    .answer
  const chosen = chosenWords(answer, flags.word)
  if (chosen.length > mostWords)
    session.warn(`the answer has ${chosen.length} words; the first ${mostWords} are looked at`)
  const drawn = chosen.slice(0, mostWords)
  session.status('looking …')
  const tokens = [...new Set(drawn.flatMap((word) => word.tokens))]
  const ofToken = new Map<number, TokenAttention>()
  for await (const one of model.attentionOfTokens(messages, answer, { ...prompt, tokens, signal }))
    ofToken.set(one.token, one)
  const occlusion = await model.occlusionOf(messages, answer, {
    ...prompt,
    picture: flags.picture,
    ...(flags.window !== undefined && { window: flags.window }),
    signal,
    onProgress,
  })
  session.status('')
  const looks = drawn.map((word) => wordLook(word, ofToken, occlusion, flags))
  if (flags.out !== undefined) {
    const seen = await model.preprocessed(image, { signal })
    await draw(
      flags.out,
      await lookSvg({ question, answer: answer.text, seen, words: looks, window: occlusion.window }),
    )
  }
  if (flags.json === true) process.stdout.write(`${JSON.stringify(asJson(answer, drawn, ofToken, occlusion, flags))}\n`)
  else session.answer(`${answer.text}\n`)
}

function chosenWords({ logprobs = [], text }: Answer, word: string | undefined): readonly AnswerWord[] {
  const all = answerWords(logprobs)
  if (all.length === 0) throw wrong(`the answer has no word to look at: ${JSON.stringify(text)}`)
  if (word === undefined) return all
  const same = (one: AnswerWord) => one.text.toLowerCase() === word.toLowerCase()
  const chosen = all.filter(same)
  if (chosen.length === 0) throw wrong(`--word: the answer has no word ${word}: ${JSON.stringify(text)}`)
  return chosen
}

type Attentions = ReadonlyMap<number, TokenAttention>

function wordLook(word: AnswerWord, attention: Attentions, occlusion: Occlusion, flags: LookFlags): WordLook {
  const rows = word.tokens.map((token) => attention.get(token) as TokenAttention)
  const { picture, layers: chosen } = flags
  const mean = meanOf(rows.map((row) => row.mean({ picture, ...(chosen !== undefined && { layers: chosen }) })))
  const logprob = rows.reduce((sum, row) => sum + row.logprob, 0)
  return {
    text: word.text,
    logprob,
    attention: { ...(rows[0] as TokenAttention).grid, values: mean },
    occlusion: { ...occlusion.grid, values: occlusion.change(word.tokens) },
  }
}

async function draw(file: string, svg: string): Promise<void> {
  if (path.extname(file) === '.svg') {
    await writeFile(file, svg)
    return
  }
  const { default: sharp } = await import('sharp')
  await sharp(Buffer.from(svg)).png({ palette: true, quality: 100 }).toFile(file)
}

function asJson(
  answer: Answer,
  words: readonly AnswerWord[],
  attention: Attentions,
  occlusion: Occlusion,
  flags: LookFlags,
): object {
  const first = [...attention.values()][0] as TokenAttention
  const { layers: L, heads: H, grid } = first
  return {
    text: answer.text,
    tokenIds: answer.tokenIds,
    grid,
    layers: L,
    heads: H,
    words: words.map(({ text, tokens }) => {
      const mean = meanOf(tokens.map((token) => (attention.get(token) as TokenAttention).patches(flags.picture)))
      return {
        text,
        tokens,
        logprob: tokens.reduce((sum, token) => sum + (attention.get(token) as TokenAttention).logprob, 0),
        attention: nested(mean, [L, H, grid.rows, grid.columns]),
        occlusion: nested(occlusion.change(tokens), [occlusion.grid.rows, occlusion.grid.columns]),
      }
    }),
    window: occlusion.window,
    ...(flags.out !== undefined && { file: flags.out }),
  }
}

/** Of arrays of one length, value by value. */
function meanOf(arrays: readonly Float32Array[]): Float32Array {
  const sum = (at: number) => arrays.reduce((total, one) => total + (one[at] as number), 0)
  return (arrays[0] as Float32Array).map((_, at) => sum(at) / arrays.length)
}

/** Values of a shape as lists of lists. */
function nested(values: Float32Array, [count = 0, ...inner]: readonly number[]): readonly unknown[] {
  if (inner.length === 0) return Array.from(values)
  const size = values.length / count
  return Array.from({ length: count }, (_, n) => nested(values.subarray(n * size, (n + 1) * size), inner))
}

function wrong(message: string): LlavaError {
  return new LlavaError('INVALID_ARGUMENT', message)
}
