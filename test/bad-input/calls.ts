// Calls of the façade with arguments that are none, at the wrong time, or for more than the model can do.

import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  checkModel,
  convertModel,
  embedToDirectory,
  decodeImage,
  LLaVA,
  saveTrace,
  type BenchmarkOptions,
  type Content,
  type EmbedInput,
  type ImageInput,
  type Message,
  type PromptPiece,
} from '../../lib/index.js'
import { goldenCase } from '../tiny-model.js'
import { checkpoint, writeFiles } from '../weights/tiny-llava.js'
import type { BadInput, Bench } from './row.js'

type Rows = readonly (readonly [title: string, code: BadInput['code'], message: RegExp, call: BadInput['call']])[]

const { model: modelPath } = goldenCase('hf-f32')
const single = goldenCase('gguf-single-f16').model
const clip = fileURLToPath(new URL('../../../test/fixtures/clip/checkpoint', import.meta.url))
const asked: Message = { role: 'user', content: 'What?' }
const reason = new Error('changed my mind')
const signal = AbortSignal.abort(reason)

/** `model.chat` with messages that TypeScript would refuse. */
const chat =
  (messages: unknown) =>
  ({ model }: Bench) =>
    model.chat(messages as readonly Message[])

/** Runs `call` on a model of its own that has been disposed of. */
const disposed = (call: (model: LLaVA) => unknown) => async () => {
  const model = await LLaVA.open(modelPath, { threads: 1 })
  model.dispose()
  return call(model)
}

const opening: Rows = [
  [
    'opening a path that is no string',
    'INVALID_ARGUMENT',
    /`path` to be the path of a model, got 7/,
    () => LLaVA.open(7 as unknown as string),
  ],
  ['opening an empty path', 'INVALID_ARGUMENT', /`path` to be the path of a model, got ""/, () => LLaVA.open('')],
  ['opening a path with a zero byte', 'MODEL_NOT_FOUND', /a\0b/, () => LLaVA.open('a\0b')],
  [
    'opening a path where nothing is',
    'MODEL_NOT_FOUND',
    /no\/such\/model\.gguf/,
    () => LLaVA.open('no/such/model.gguf'),
  ],
  ['opening a device', 'MODEL_NOT_FOUND', /not a regular file|neither/, () => LLaVA.open('/dev/null')],
  [
    'opening a pipe that nobody writes to',
    'MODEL_NOT_FOUND',
    /model\.gguf: not a regular file/,
    ({ folder }) => {
      const pipe = path.join(folder, 'model.gguf')
      execFileSync('mkfifo', [pipe])
      return LLaVA.open(pipe)
    },
  ],
  [
    'opening with a signal that is aborted',
    'ABORTED',
    /aborted by its signal/,
    () => LLaVA.open(modelPath, { signal }),
  ],
  [
    'opening with a CLIP that is not there',
    'MODEL_NOT_FOUND',
    /no such file or directory/,
    () => LLaVA.open(modelPath, { clip: 'no/such/clip' }),
  ],
  [
    'opening with a LLaVA as CLIP',
    'MODEL_UNSUPPORTED',
    /"llava".*clip/,
    () => LLaVA.open(modelPath, { clip: modelPath }),
  ],
]

const asking: Rows = [
  [
    'asking no question',
    'INVALID_ARGUMENT',
    /`question` to be a string, got undefined/,
    ({ model }) => model.ask([], undefined as unknown as string),
  ],
  [
    'asking a number',
    'INVALID_ARGUMENT',
    /`question` to be a string, got 7/,
    ({ model }) => model.ask([], 7 as unknown as string),
  ],
  [
    'asking about null',
    'INVALID_ARGUMENT',
    /`image` to be a path or URL.* got null/,
    ({ model }) => model.ask(null as unknown as ImageInput, 'What?'),
  ],
  [
    'asking about a list with null in it',
    'INVALID_ARGUMENT',
    /`image` to be a path or URL.* got null/,
    ({ model, picture }) => model.ask([picture, null as unknown as ImageInput], 'What?'),
  ],
  [
    'asking about a picture that is not there',
    'IMAGE_UNREADABLE',
    /no\/such\/picture\.png/,
    ({ model }) => model.ask('no/such/picture.png', 'What?'),
  ],
  [
    'asking about bytes that are no picture',
    'IMAGE_UNREADABLE',
    /the picture in memory/,
    ({ model }) => model.ask(Uint8Array.of(1, 2, 3), 'What?'),
  ],
  [
    'asking more than the context holds',
    'CONTEXT_OVERFLOW',
    /the prompt takes \d+ positions: \d+ more than the model's context of 256/,
    ({ model }) => model.ask([], 'red '.repeat(300)),
  ],
  [
    'asking about more pictures than the context holds',
    'CONTEXT_OVERFLOW',
    /320 of them for pictures: \d+ more than the model's context of 256/,
    ({ model, picture }) =>
      model.ask(
        Array.from({ length: 20 }, () => picture),
        'What?',
      ),
  ],
  [
    'asking with a signal that is aborted',
    'ABORTED',
    /aborted by its signal/,
    ({ model }) => model.ask([], 'What?', { signal }),
  ],
  [
    'asking for the checkpoint’s template where there is none',
    'INVALID_ARGUMENT',
    /brings no chat template; name one of vicuna_v1/,
    async () => {
      using model = await LLaVA.open(goldenCase('gguf-pair-f32').model, { threads: 1 })
      return await model.ask([], 'What?', { template: 'checkpoint' })
    },
  ],
  [
    'asking a language model about a picture',
    'INVALID_ARGUMENT',
    /has no vision tower and takes no pictures; .*`mmproj`/,
    async ({ folder, picture }) => {
      const alone = path.join(folder, 'model.gguf')
      await copyFile(goldenCase('gguf-pair-f32').model, alone)
      using model = await LLaVA.open(alone, { threads: 1 })
      return await model.ask(picture, 'What?')
    },
  ],
  [
    'asking about a picture that another model encoded',
    'INVALID_ARGUMENT',
    /made by another model/,
    async ({ model, picture }) => {
      using other = await LLaVA.open(modelPath, { threads: 1 })
      using image = await other.encodeImage(picture)
      return await model.ask(image, 'What?')
    },
  ],
  [
    'asking about an encoded picture that was disposed of',
    'DISPOSED',
    /disposed of/,
    async ({ model, picture }) => {
      const image = await model.encodeImage(picture)
      image.dispose()
      return model.ask(image, 'What?')
    },
  ],
  [
    'reading an encoded picture that was disposed of',
    'DISPOSED',
    /disposed of/,
    async ({ model, picture }) => {
      const image = await model.encodeImage(picture)
      image.dispose()
      return image.projected()
    },
  ],
  [
    'asking for no answers',
    'INVALID_ARGUMENT',
    /`answers` to be a whole number in \[1, 512\], got 0/,
    ({ model }) => model.ask([], 'What?', { answers: 0 }),
  ],
  [
    'asking for 513 answers',
    'INVALID_ARGUMENT',
    /`answers` to be a whole number in \[1, 512\], got 513/,
    ({ model }) => model.ask([], 'What?', { answers: 513 }),
  ],
  [
    'asking for an answer and a half',
    'INVALID_ARGUMENT',
    /`answers` to be a whole number in \[1, 512\], got 1\.5/,
    ({ model }) => model.ask([], 'What?', { answers: 1.5 }),
  ],
  [
    'asking for answers in words',
    'INVALID_ARGUMENT',
    /`answers` to be a whole number in \[1, 512\], got "2"/,
    ({ model }) => model.ask([], 'What?', { answers: '2' as unknown as number }),
  ],
]

const chatting: Rows = [
  [
    'a chat without messages',
    'INVALID_ARGUMENT',
    /`messages` to be a conversation that ends with a user message, got no message$/,
    chat([]),
  ],
  [
    'a chat of text',
    'INVALID_ARGUMENT',
    /`messages` to be a list of messages \{ role, content \}, got "What\?"/,
    chat('What?'),
  ],
  ['a chat with a message that is null', 'INVALID_ARGUMENT', /`messages` to be a list of messages/, chat([null])],
  [
    'a chat that ends with its answer',
    'INVALID_ARGUMENT',
    /ends with a user message, got one that ends with an assistant message$/,
    chat([asked, { role: 'assistant', content: 'red' }]),
  ],
  [
    'a chat with two questions in turn',
    'INVALID_ARGUMENT',
    /`messages\[1\]\.role` to be 'assistant' \(user and assistant take turns\), got "user"/,
    chat([asked, asked]),
  ],
  [
    'a chat that the assistant begins',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.role` to be 'user'/,
    chat([{ role: 'assistant', content: 'red' }, asked]),
  ],
  [
    'a chat with a role that is none',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.role` to be 'user'.* got "robot"/,
    chat([{ role: 'robot', content: 'hi' }]),
  ],
  [
    'a chat with a late system message',
    'INVALID_ARGUMENT',
    /`messages\[2\]\.role` to be 'user'.* got "system"/,
    chat([asked, { role: 'assistant', content: 'a' }, { role: 'system', content: 'late' }, asked]),
  ],
  [
    'a chat with a picture of the assistant',
    'INVALID_ARGUMENT',
    /text only, as its role is not user/,
    ({ model, picture }) =>
      chat([asked, { role: 'assistant', content: [{ type: 'image', image: picture }] }, asked])({
        model,
        picture,
        folder: '',
      }),
  ],
  [
    'a chat with content that is a number',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.content` to be a string or a list of text and image parts, got 7/,
    chat([{ role: 'user', content: 7 }]),
  ],
  [
    'a chat with a part that is null',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.content` to be parts .* got null/,
    chat([{ role: 'user', content: [null] }]),
  ],
  [
    'a chat with a part of another kind',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.content` to be parts/,
    chat([{ role: 'user', content: [{ type: 'audio' }] }]),
  ],
  [
    'a chat with a text part without text',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.content` to be parts/,
    chat([{ role: 'user', content: [{ type: 'text' }] }]),
  ],
  [
    'iterating a chat twice',
    'INVALID_ARGUMENT',
    /can be iterated once/,
    async ({ model }) => {
      const stream = model.chat([asked], { maxTokens: 1 })
      for await (const piece of stream) if (piece === '') continue
      for await (const piece of stream) if (piece === '') continue
    },
  ],
]

const conversing: Rows = [
  [
    'a conversation with a misspelt option',
    'INVALID_ARGUMENT',
    /createConversation\(\) has no option `sistem`; it has messages, system, template/,
    ({ model }) => model.createConversation({ sistem: 'x' } as object),
  ],
  [
    'a conversation in an unknown template',
    'INVALID_ARGUMENT',
    /`template` to be one of/,
    ({ model }) => model.createConversation({ template: 'alpaca' } as object),
  ],
  [
    'a conversation from messages that are no list',
    'INVALID_ARGUMENT',
    /`messages` to be a list of messages/,
    ({ model }) => model.createConversation({ messages: {} } as object),
  ],
  [
    'a conversation from a question without its answer',
    'INVALID_ARGUMENT',
    /whole turns, the last of them answered/,
    ({ model }) => model.createConversation({ messages: [asked] }),
  ],
  [
    'a conversation that the assistant begins',
    'INVALID_ARGUMENT',
    /`messages\[0\]\.role` to be 'user'/,
    ({ model }) => model.createConversation({ messages: [{ role: 'assistant', content: 'x' }] }),
  ],
  [
    'saying a number',
    'INVALID_ARGUMENT',
    /content` to be a string or a list of text and image parts, got 7/,
    ({ model }) => model.createConversation().say(7 as unknown as Content),
  ],
  [
    'saying a part that is null',
    'INVALID_ARGUMENT',
    /content` to be parts .* got null/,
    ({ model }) => model.createConversation().say([null] as unknown as Content),
  ],
  [
    'saying with a misspelt option',
    'INVALID_ARGUMENT',
    /say\(\) has no option `maxtokens`/,
    ({ model }) => model.createConversation().say('x', { maxtokens: 3 } as object),
  ],
  [
    'saying with options that are null',
    'INVALID_ARGUMENT',
    /`options` to be an object with the options of say\(\), got null/,
    ({ model }) => model.createConversation().say('x', null as unknown as object),
  ],
  [
    'saying in another template',
    'INVALID_ARGUMENT',
    /say\(\) has no option `template`; give it to createConversation\(\)/,
    ({ model }) => model.createConversation().say('x', { template: 'hf' } as object),
  ],
  ['retrying nothing', 'INVALID_ARGUMENT', /no turn to retry/, ({ model }) => model.createConversation().retry()],
  ['editing nothing', 'INVALID_ARGUMENT', /no turn to edit/, ({ model }) => model.createConversation().edit(0, 'x')],
  [
    'taking back nothing',
    'INVALID_ARGUMENT',
    /no turn to undo/,
    ({ model }) => {
      model.createConversation().undo()
    },
  ],
  [
    'branching from a turn to come',
    'INVALID_ARGUMENT',
    /`fromTurn` to be a whole number in \[0, 0\], got 1/,
    ({ model }) => model.createConversation().branch(1),
  ],
  [
    'saying with a conversation that was disposed of',
    'DISPOSED',
    /this Conversation has been disposed of/,
    ({ model }) => {
      const conversation = model.createConversation()
      conversation.dispose()
      return conversation.say('x')
    },
  ],
]

const forwarding: Rows = [
  [
    'forward of a token beyond the vocabulary',
    'INVALID_ARGUMENT',
    /`prompt\[0\]` to be token ids in \[0, 341\], got 342/,
    ({ model }) => model.forward([[342]]),
  ],
  [
    'forward of a negative token',
    'INVALID_ARGUMENT',
    /token ids in \[0, 341\], got -200/,
    ({ model }) => model.forward([[-200]]),
  ],
  [
    'forward of a fraction of a token',
    'INVALID_ARGUMENT',
    /token ids in \[0, 341\], got 1\.5/,
    ({ model }) => model.forward([[1.5]]),
  ],
  [
    'forward of nothing',
    'INVALID_ARGUMENT',
    /`prompt` to be at least one token or picture/,
    ({ model }) => model.forward([]),
  ],
  [
    'forward of no tokens',
    'INVALID_ARGUMENT',
    /`prompt` to be at least one token or picture/,
    ({ model }) => model.forward([[]]),
  ],
  [
    'forward of text by itself',
    'INVALID_ARGUMENT',
    /`prompt` to be an array of token ids, pictures and texts, got "text"/,
    ({ model }) => model.forward('text' as unknown as PromptPiece[]),
  ],
  [
    'forward of a number among the pieces',
    'INVALID_ARGUMENT',
    /`prompt\[0\]` to be token ids, got 7/,
    ({ model }) => model.forward([7] as unknown as PromptPiece[]),
  ],
  [
    'forward of null among the pieces',
    'INVALID_ARGUMENT',
    /`prompt\[1\]` to be token ids, got null/,
    ({ model }) => model.forward([[1], null] as unknown as PromptPiece[]),
  ],
  [
    'forward of tokens that were transferred away',
    'INVALID_ARGUMENT',
    /a detached array/,
    ({ model }) => {
      const ids = Int32Array.of(1, 2)
      structuredClone(ids, { transfer: [ids.buffer] })
      return model.forward([ids])
    },
  ],
  [
    'forward of a picture that was disposed of',
    'DISPOSED',
    /disposed of/,
    async ({ model, picture }) => {
      const image = await model.encodeImage(picture)
      image.dispose()
      return model.forward([image])
    },
  ],
  [
    'forward of more than the context holds',
    'CONTEXT_OVERFLOW',
    /the prompt takes 257 positions: 1 more than the model's context of 256/,
    ({ model }) => model.forward([new Int32Array(257)]),
  ],
  [
    'forward for some logits',
    'INVALID_ARGUMENT',
    /`logits` to be one of 'last', 'all', got "some"/,
    ({ model }) => model.forward([[1]], { logits: 'some' as 'all' }),
  ],
  [
    'forward with a signal that is aborted',
    'ABORTED',
    /aborted by its signal/,
    ({ model }) => model.forward([[1]], { signal }),
  ],
  [
    'forward while another runs on the same context',
    'BUSY',
    /cannot run this Context while a forward\(\) runs on it/,
    async ({ model }) => {
      using context = model.createContext()
      const [, second] = await Promise.allSettled([context.forward([[1, 5]]), context.forward([[6]])])
      if (second.status === 'rejected') throw second.reason
    },
  ],
  [
    'cutting a context to more than it holds',
    'INVALID_ARGUMENT',
    /`length` to be a whole number in \[0, 0\], got 99/,
    ({ model }) => {
      model.createContext().truncate(99)
    },
  ],
  [
    'forking a context that was disposed of',
    'DISPOSED',
    /this Context has been disposed of/,
    ({ model }) => {
      const context = model.createContext()
      context.dispose()
      return context.fork()
    },
  ],
]

const afterItsModel: Rows = [
  [
    'forward on a context whose model was disposed of',
    'DISPOSED',
    /this model has been disposed of/,
    async () => {
      const model = await LLaVA.open(modelPath, { threads: 1 })
      const context = model.createContext()
      model.dispose()
      return context.forward([[1]])
    },
  ],
  [
    'reading an encoded picture whose model was disposed of',
    'DISPOSED',
    /this model has been disposed of/,
    async ({ picture }) => {
      const model = await LLaVA.open(modelPath, { threads: 1 })
      const image = await model.encodeImage(picture)
      model.dispose()
      return image.features()
    },
  ],
]

const embedding: Rows = [
  [
    'embedding a prompt as a picture',
    'INVALID_ARGUMENT',
    /`input` to be a picture, got/,
    ({ model }) => model.embed({ text: 'red' }, { kind: 'projected' }),
  ],
  [
    'embedding a number',
    'INVALID_ARGUMENT',
    /`image` to be a path or URL.* got 7/,
    ({ model }) => model.embed(7 as unknown as EmbedInput, { kind: 'projected' }),
  ],
  [
    'embedding a picture as a text',
    'INVALID_ARGUMENT',
    /`input` to be a text, or \{ text, images \}/,
    ({ model }) => model.embed({ width: 1, height: 1, data: new Uint8Array(3) }, { kind: 'hidden_last' }),
  ],
  [
    'embedding a number among others',
    'INVALID_ARGUMENT',
    /`input\[1\]` to be a text, or \{ text, images \}, got 7/,
    ({ model }) => model.embed(['red', 7 as unknown as string], { kind: 'hidden_last' }),
  ],
  [
    'embedding nothing as hidden_last',
    'INVALID_ARGUMENT',
    /`input` to be a prompt of one token at least|one token/,
    async ({ folder }) => {
      await writeFiles(folder, { ...checkpoint(), 'tokenizer_config.json': { add_bos_token: false } })
      using model = await LLaVA.open(folder, { threads: 1 })
      return await model.embed('', { kind: 'hidden_last' })
    },
  ],
  [
    'embedding a picture for CLIP without the option',
    'INVALID_ARGUMENT',
    /`clip_image` needs a model opened with the option `clip`/,
    ({ model, picture }) => model.embed(picture, { kind: 'clip_image' }),
  ],
  [
    'embedding a text for CLIP without the option',
    'INVALID_ARGUMENT',
    /`clip_text` needs a model opened with the option `clip`/,
    ({ model }) => model.embed('red', { kind: 'clip_text' }),
  ],
  [
    'embedding undefined as a text of CLIP',
    'INVALID_ARGUMENT',
    /`input` to be a text, got undefined/,
    ({ model }) => model.embed(undefined as unknown as EmbedInput, { kind: 'clip_text' }),
  ],
  [
    'embedding a prompt with a picture as a text of CLIP',
    'INVALID_ARGUMENT',
    /`input` to be a text, got/,
    ({ model, picture }) => model.embed({ text: 'red', images: picture }, { kind: 'clip_text' }),
  ],
  [
    'embedding an encoded picture for CLIP',
    'INVALID_ARGUMENT',
    /the picture itself, which CLIP reads in its own way/,
    async ({ picture }) => {
      using model = await LLaVA.open(modelPath, { clip, threads: 1 })
      using image = await model.encodeImage(picture)
      return await model.embed(image, { kind: 'clip_image' })
    },
  ],
  [
    'embedding a number to a directory',
    'INVALID_ARGUMENT',
    /`inputs` to be a list of \{ name, input \}, got 7/,
    ({ model, folder }) => embedToDirectory(model, 7 as never, folder, { kind: 'projected' }),
  ],
  [
    'embedding a picture without a name to a directory',
    'INVALID_ARGUMENT',
    /`inputs\[0\]` to be an object with a name, a string, and an input, got "a.png"/,
    ({ model, folder }) => embedToDirectory(model, ['a.png'] as never, folder, { kind: 'projected' }),
  ],
  [
    'embedding to a directory without options',
    'INVALID_ARGUMENT',
    /`options` to be an object with the options of embedToDirectory\(\), got undefined/,
    ({ model, folder }) => embedToDirectory(model, [], folder, undefined as never),
  ],
  [
    'embedding to a directory below a file',
    'OUTPUT_FAILED',
    /its directory is not there/,
    ({ model, picture }) =>
      embedToDirectory(model, [{ name: 'a', input: picture }], path.join(picture, 'out'), { kind: 'projected' }),
  ],
  [
    'embedding more than the context holds',
    'CONTEXT_OVERFLOW',
    /more than the model's context of 256/,
    ({ model }) => model.embed('red '.repeat(400), { kind: 'hidden_mean' }),
  ],
  [
    'embedding with a signal that is aborted',
    'ABORTED',
    /aborted by its signal/,
    ({ model }) => model.embed('red', { kind: 'hidden_last', signal }),
  ],
]

const others: Rows = [
  [
    'tokenizing a number',
    'INVALID_ARGUMENT',
    /`text` to be a string, got 7/,
    ({ model }) => model.tokenize(7 as unknown as string),
  ],
  [
    'tokenizing with a misspelt option',
    'INVALID_ARGUMENT',
    /tokenize\(\) has no option `bos`/,
    ({ model }) => model.tokenize('x', { bos: true } as object),
  ],
  [
    'detokenizing an id beyond the vocabulary',
    'INVALID_ARGUMENT',
    /`ids` to be token ids in \[0, 341\], got 342/,
    ({ model }) => model.detokenize([342]),
  ],
  [
    'detokenizing a negative id',
    'INVALID_ARGUMENT',
    /`ids` to be token ids in \[0, 341\], got -1/,
    ({ model }) => model.detokenize([-1]),
  ],
  [
    'detokenizing a number',
    'INVALID_ARGUMENT',
    /`ids` to be token ids, got 7/,
    ({ model }) => model.detokenize(7 as unknown as number[]),
  ],
  [
    'the pieces of text',
    'INVALID_ARGUMENT',
    /`ids` to be token ids, got "text"/,
    ({ model }) => model.pieces('text' as unknown as number[]),
  ],
  [
    'a trace of a prompt without a picture',
    'INVALID_ARGUMENT',
    /`prompt` to hold `<image>` once, it holds it 0 times/,
    ({ model, picture }) => model.trace(picture, 'no picture'),
  ],
  [
    'a trace of a prompt with two pictures',
    'INVALID_ARGUMENT',
    /`prompt` to hold `<image>` once, it holds it 2 times/,
    ({ model, picture }) => model.trace(picture, 'one <image> two <image>'),
  ],
  [
    'a trace of a number',
    'INVALID_ARGUMENT',
    /`prompt` to be a string, got 7/,
    ({ model, picture }) => model.trace(picture, 7 as unknown as string),
  ],
  [
    'a trace of a negative number of tokens',
    'INVALID_ARGUMENT',
    /`maxTokens` to be a whole number of at least 0, got -1/,
    ({ model, picture }) => model.trace(picture, '<image>', { maxTokens: -1 }),
  ],
  [
    'a trace beyond the context',
    'CONTEXT_OVERFLOW',
    /more than the model's context of 256/,
    ({ model, picture }) => model.trace(picture, '<image>', { maxTokens: 256 }),
  ],
  [
    'saving a trace where no directory is',
    'OUTPUT_FAILED',
    /its directory is not there/,
    async ({ model, picture, folder }) =>
      saveTrace(await model.trace(picture, '<image>', { maxTokens: 1 }), path.join(folder, 'none', 'x.safetensors')),
  ],
  [
    'a benchmark of nothing',
    'INVALID_ARGUMENT',
    /`prompt` to be a whole number of at least 1, got 0/,
    ({ model }) => model.benchmark({ prompt: 0 }),
  ],
  [
    'a benchmark with a misspelt option',
    'INVALID_ARGUMENT',
    /benchmark\(\) has no option `repeats`/,
    ({ model }) => model.benchmark({ repeats: 3 } as BenchmarkOptions),
  ],
  [
    'a benchmark beyond the context',
    'CONTEXT_OVERFLOW',
    /the prompt takes 301 positions: 45 more/,
    ({ model }) => model.benchmark({ prompt: 300, generate: 1 }).next(),
  ],
  [
    'decoding a picture with maxPixels 0',
    'INVALID_ARGUMENT',
    /`maxPixels` to be a number above 0, got 0/,
    ({ picture }) => decodeImage(picture, { maxPixels: 0 }),
  ],
  [
    'decoding a picture with a time that is none',
    'INVALID_ARGUMENT',
    /`timeoutMs` to be a number above 0 and below 2\^31/,
    ({ picture }) => decodeImage(picture, { timeoutMs: 0 }),
  ],
  [
    'converting nothing',
    'INVALID_ARGUMENT',
    /source|path/,
    ({ folder }) => convertModel('', path.join(folder, 'out.gguf'), { type: 'f16' }),
  ],
  [
    'converting a model that is not there',
    'MODEL_NOT_FOUND',
    /no\/such\/model/,
    ({ folder }) => convertModel('no/such/model', path.join(folder, 'out.gguf'), { type: 'f16' }),
  ],
  [
    'converting to nothing',
    'INVALID_ARGUMENT',
    /`target` to be the path of the file to write, got ""/,
    () => convertModel(modelPath, '', { type: 'f16' }),
  ],
  [
    'converting to a number',
    'INVALID_ARGUMENT',
    /`target` to be the path of the file to write, got 7/,
    () => convertModel(modelPath, 7 as unknown as string, { type: 'f16' }),
  ],
  [
    'converting without options',
    'INVALID_ARGUMENT',
    /`options` to be an object with the options of convertModel\(\), got undefined/,
    ({ folder }) => convertModel(modelPath, path.join(folder, 'out.gguf'), undefined as never),
  ],
  [
    'converting over a file that is there',
    'INVALID_ARGUMENT',
    /is there already/,
    async ({ folder }) => {
      await writeFile(path.join(folder, 'out.gguf'), 'mine')
      return convertModel(modelPath, path.join(folder, 'out.gguf'), { type: 'f16' })
    },
  ],
  [
    'converting a model over itself',
    'INVALID_ARGUMENT',
    /is the model itself/,
    async ({ folder }) => {
      const file = path.join(folder, 'model.gguf')
      await copyFile(single, file)
      return convertModel(file, file, { type: 'f16', overwrite: true })
    },
  ],
  [
    'converting to where no directory is',
    'OUTPUT_FAILED',
    /directory is not there/,
    ({ folder }) => convertModel(modelPath, path.join(folder, 'missing', 'out.gguf'), { type: 'f16' }),
  ],
  [
    'converting to where a directory stands in the way',
    'OUTPUT_FAILED',
    /a directory has this name/,
    async ({ folder }) => {
      await mkdir(path.join(folder, 'out', 'checkpoint-f16.gguf'), { recursive: true })
      return convertModel(modelPath, `${path.join(folder, 'out')}/`, { type: 'f16', overwrite: true })
    },
  ],
  ['checking nothing', 'INVALID_ARGUMENT', /`source` to be the path of a model, got ""/, () => checkModel('')],
  ['checking a model that is not there', 'MODEL_NOT_FOUND', /no\/such\/model/, () => checkModel('no/such/model')],
  [
    'checking with a misspelt option',
    'INVALID_ARGUMENT',
    /checkModel\(\) has no option `thread`/,
    () => checkModel(modelPath, { thread: 1 } as object),
  ],
]

const afterDispose: Rows = [
  ['ask', (model: LLaVA) => model.ask([], 'What?')],
  ['askMany', (model: LLaVA) => model.askMany([{ question: 'What?' }])],
  ['chat', (model: LLaVA) => model.chat([asked])],
  ['createConversation', (model: LLaVA) => model.createConversation()],
  ['createContext', (model: LLaVA) => model.createContext()],
  ['encodeImage', (model: LLaVA) => model.encodeImage('cat.jpg')],
  ['pixelValues', (model: LLaVA) => model.pixelValues('cat.jpg')],
  ['forward', (model: LLaVA) => model.forward([[1]])],
  ['embed', (model: LLaVA) => model.embed('red', { kind: 'hidden_last' })],
  ['tokenize', (model: LLaVA) => model.tokenize('a')],
  ['detokenize', (model: LLaVA) => model.detokenize([1])],
  ['pieces', (model: LLaVA) => model.pieces([1])],
  ['trace', (model: LLaVA) => model.trace('cat.jpg', '<image>')],
  ['benchmark', (model: LLaVA) => model.benchmark().next()],
  ['info', (model: LLaVA) => model.info()],
].map(
  ([name, call]) =>
    [
      `${name as string} of a model that was disposed of`,
      'DISPOSED',
      /this model has been disposed of/,
      disposed(call as (model: LLaVA) => unknown),
    ] as const,
)

export const calls: readonly BadInput[] = [
  ...opening,
  ...asking,
  ...chatting,
  ...conversing,
  ...forwarding,
  ...embedding,
  ...others,
  ...afterDispose,
  ...afterItsModel,
].map(([title, code, message, call]) => ({
  title,
  code,
  message,
  ...(code === 'ABORTED' && { cause: /changed my mind/ }),
  call,
}))
