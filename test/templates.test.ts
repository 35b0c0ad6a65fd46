// Templates as models use them: which one a checkpoint gets, and where its answers end.

import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'ava'
import { LLaVA, templateNames, type LogitsProcessor, type OpenOptions } from '../lib/index.js'
import { goldenCase } from './tiny-model.js'
import { byteLevelVariant } from './tokenizer/vocabularies.js'

const { model: plainModel } = goldenCase('hf-f32')

async function withModel<T>(file: string, work: (model: LLaVA) => Promise<T>, options: OpenOptions = {}): Promise<T> {
  await using model = await LLaVA.open(file, { threads: 2, ...options })
  return await work(model)
}

/** Makes the model write these tokens, and then the last of them again and again. */
function writing(ids: ArrayLike<number>): LogitsProcessor {
  return {
    process(logits, tokenIds) {
      logits.fill(-Infinity)
      logits[ids[Math.min(tokenIds.length, ids.length - 1)] as number] = 0
    },
  }
}

/** hf-f32 with a byte-level vocabulary that fits its 342 rows, and no chat template. */
async function withByteLevelModel<T>(
  work: (model: LLaVA) => Promise<T>,
  options: OpenOptions = {},
  chatTemplate?: string,
): Promise<T> {
  const directory = await mkdtemp(path.join(tmpdir(), 'byte-level-'))
  try {
    for (const name of ['generation_config.json', 'processor_config.json'])
      await cp(path.join(plainModel, name), path.join(directory, name))
    await symlink(path.join(plainModel, 'model.safetensors'), path.join(directory, 'model.safetensors'))
    const { document } = byteLevelVariant('llama-bpe')
    const vocab = Object.fromEntries(
      Object.entries(document.model['vocab'] as Record<string, number>).filter(([, id]) => id < 330),
    )
    const merges = document.model.merges.filter(
      ([left, right]) => left in vocab && right in vocab && left + right in vocab,
    )
    const added = ['<|begin|>', '<|im_start|>', '<|im_end|>', '<image>'].map((content, index) => ({
      id: 330 + index,
      content,
      special: true,
      normalized: false,
    }))
    await writeFile(
      path.join(directory, 'tokenizer.json'),
      JSON.stringify({ ...document, model: { ...document.model, vocab, merges }, added_tokens: added }),
    )
    const config = JSON.parse(await readFile(path.join(plainModel, 'config.json'), 'utf8')) as object
    await writeFile(path.join(directory, 'config.json'), JSON.stringify({ ...config, image_token_index: 333 }))
    if (chatTemplate !== undefined) await writeFile(path.join(directory, 'chat_template.jinja'), chatTemplate)
    return await withModel(directory, work, options)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

test("v0's ### ends an answer and is not part of it", async (t) => {
  await withModel(plainModel, async (model) => {
    const options = {
      system: '',
      maxTokens: 12,
      logitsProcessor: writing(model.tokenize('red ### blue', { addBos: false })),
    }
    const { text, finishReason } = await model.ask([], 'Hi', { ...options, template: 'v0' })
    t.deepEqual({ text, finishReason }, { text: 'red', finishReason: 'stop_string' })
    t.regex((await model.ask([], 'Hi', { ...options, template: 'hf' })).text, /^red ###/)
    t.is((await model.ask([], 'Hi', { ...options, template: 'v0', stop: 'e' })).text, 'r')
  })
})

test('<|im_end|> ends an answer as text where the vocabulary has no token for it', async (t) => {
  await withModel(plainModel, async (model) => {
    const logitsProcessor = writing(model.tokenize('red<|im_end|>blue', { addBos: false }))
    const { text, finishReason } = await model.ask([], 'Hi', {
      system: '',
      maxTokens: 40,
      template: 'chatml',
      logitsProcessor,
    })
    t.deepEqual({ text, finishReason }, { text: 'red', finishReason: 'stop_string' })
  })
})

test('<|im_end|> ends an answer as a token where the vocabulary has one', async (t) => {
  await withByteLevelModel(async (model) => {
    const ids = model.tokenize('red<|im_end|>', { addBos: false, parseSpecial: true })
    const { text, finishReason, tokenIds } = await model.ask([], 'Hi', {
      system: '',
      maxTokens: 40,
      template: 'chatml',
      logitsProcessor: writing(ids),
    })
    t.deepEqual(
      { text, finishReason, tokenIds: [...tokenIds] },
      { text: 'red', finishReason: 'stop', tokenIds: [...ids.subarray(0, -1)] },
    )
  })
})

test('a model with a byte-level vocabulary answers about a picture, and streams whole characters', async (t) => {
  await withByteLevelModel(async (model) => {
    const ids = model.tokenize('Führer 🦙!', { addBos: false })
    t.is(model.detokenize(ids), 'Führer 🦙!')
    const content = [
      { type: 'image', image: goldenCase('hf-f32').picture },
      { type: 'text', text: 'a <image> <|im_end|>' },
    ] as const
    const chunks: string[] = []
    for await (const chunk of model.chat([{ role: 'user', content }], {
      maxTokens: ids.length,
      logitsProcessor: writing(ids),
      template: 'hf',
    }))
      chunks.push(chunk)
    t.is(chunks.join(''), 'Führer 🦙!')
    t.true(chunks.every((chunk) => !chunk.includes('\ufffd')))
  })
})

test('info names the template that fits the checkpoint, or the one that was asked for', async (t) => {
  const template = (file: string, options?: OpenOptions): Promise<string> =>
    withModel(file, (model) => Promise.resolve(model.info().template), options)
  t.is(await template(plainModel), 'vicuna_v1')
  t.is(await template(plainModel, { template: 'v0' }), 'v0')
  const first = goldenCase('original-linear').model
  t.is(await template(first, { visionTower: path.resolve(first, '../../original-bin/clip-vit-tiny') }), 'v0')
  t.is(await withByteLevelModel((model) => Promise.resolve(model.info().template)), 'chatml')
  t.is(await withByteLevelModel((model) => Promise.resolve(model.info().template), {}, '{{ messages }}'), 'checkpoint')
})

test('the default template is the one that answers use', async (t) => {
  await withByteLevelModel(async (model) => {
    const promptTokens = async (template?: 'chatml' | 'plain'): Promise<number> =>
      (await model.ask([], 'Hi', { system: '', maxTokens: 1, ...(template && { template }) })).usage.promptTokens
    t.is(await promptTokens(), await promptTokens('chatml'))
    t.not(await promptTokens(), await promptTokens('plain'))
  })
})

test('every template answers', async (t) => {
  await withModel(plainModel, async (model) => {
    for (const template of templateNames) {
      const { usage } = await model.ask([], 'Hi', { system: '', template, maxTokens: 1 })
      t.is(usage.completionTokens, 1, template)
    }
  })
})
