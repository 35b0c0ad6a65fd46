// A Hugging Face directory: config.json, safetensors, tokenizer, preprocessing, generation defaults, chat template.
// Rows of query and key are as trained, so rotation pairs are half a head apart: ropeLayout is "half".

import path from 'node:path'
import { LlavaError } from '../errors.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import { tokenizerFromJson, tokenizerFromSentencePiece } from '../tokenizer/parse.js'
import { Fields, readJson, readJsonFields } from './fields.js'
import { readHfConfig, type HfConfig } from './hf-config.js'
import { fromHuggingFace } from './names.js'
import { collectTensors, StoredModel } from './model-tensors.js'
import { textConfig, visionConfig } from './sizes.js'
import { imageProcessorFromConfig } from './preprocessing.js'
import { readSafetensorsDirectory } from './safetensors.js'
import type { StoredTensor } from './stored-tensor.js'
import { readSideFile } from './file-head.js'
import { checkVocabulary } from './vocabulary.js'
import { corrupt, notFound, unsupported } from './model-error.js'
import type { DescribeOptions, GenerationDefaults, ModelDescription } from './model-description.js'

/** @param names The directory's entries. */
export async function describeHfDirectory(directory: string, names: ReadonlySet<string>, options: DescribeOptions): Promise<ModelDescription> {
  if (options.mmproj !== undefined)
    throw new LlavaError('INVALID_ARGUMENT', `${directory} is a checkpoint with its own vision tower; \`mmproj\` belongs to a GGUF language model`)
  const rawConfig = await readJsonFields(path.join(directory, 'config.json'))
  if (rawConfig === undefined) throw notFound(directory, 'config.json is missing')
  const config = readHfConfig(rawConfig)
  const model = new StoredModel(directory, await storedTensors(directory, names), fromHuggingFace)
  checkTied(rawConfig.where, config, model)
  const text = await textConfig(config.text, model)
  const vision = config.vision && visionConfig(config.vision, model, options.visionFeatureLayer)
  const { files, tensors, parameters, weightDtypes } = collectTensors(model, text, vision)
  const tokenizer = await readTokenizer(directory)
  checkVocabulary(directory, tokenizer, text.vocabSize)
  const processor = await readJsonFields(path.join(directory, 'processor_config.json'))
  const imageToken = config.imageTokenId === undefined ? undefined : imageTokenOf(rawConfig.where, tokenizer, config.imageTokenId)
  const chatTemplate = await readChatTemplate(directory, processor)
  return {
    format: 'hf-directory',
    path: directory,
    files,
    tensors,
    config: { text, ...(vision && { vision }) },
    tokenizer,
    ...(vision && {
      imageProcessor: imageProcessorFromConfig(await readPreprocessor(directory, processor), vision.imageSize, options.imageAspectRatio),
    }),
    ...(imageToken && { imageToken }),
    ...(chatTemplate !== undefined && { chatTemplate }),
    generation: await readGeneration(directory, rawConfig, tokenizer),
    card: {
      name: path.basename(directory),
      parameters,
      weightDtypes,
      languageDtype: model.get('language_model.layers.0.self_attn.q_proj.weight').dtype,
    },
  }
}

async function storedTensors(directory: string, names: ReadonlySet<string>): Promise<readonly StoredTensor[]> {
  const tensors = await readSafetensorsDirectory(directory, names)
  if (tensors !== undefined) return tensors
  if ([...names].some((name) => name.endsWith('.bin')))
    throw unsupported(directory, 'weights as PyTorch .bin files', 'safetensors (`save_pretrained` writes them)')
  throw notFound(directory, 'neither model.safetensors nor model.safetensors.index.json is there')
}

/** Without an output matrix of its own, a checkpoint must say that it shares the embedding's. */
function checkTied(where: string, config: HfConfig, model: StoredModel): void {
  if (!model.has('lm_head.weight') && !config.tiedEmbeddings)
    throw corrupt(where, 'the weights lack lm_head.weight, and `tie_word_embeddings` is not true')
}

async function readTokenizer(directory: string): Promise<TokenizerSpec> {
  const tokenizerConfig = await readJson(path.join(directory, 'tokenizer_config.json'))
  const tokenizerJson = await readJson(path.join(directory, 'tokenizer.json'))
  if (tokenizerJson !== undefined) return tokenizerFromJson(tokenizerJson, tokenizerConfig)
  const pieces = await readSideFile(path.join(directory, 'tokenizer.model'))
  if (pieces === undefined) throw notFound(directory, 'neither tokenizer.json nor tokenizer.model is there')
  return tokenizerFromSentencePiece(pieces, tokenizerConfig, await readJson(path.join(directory, 'added_tokens.json')))
}

/** The image token, where the tokenizer knows it; two different ideas of its id would put features over the wrong rows. */
function imageTokenOf(where: string, tokenizer: TokenizerSpec, id: number): ModelDescription['imageToken'] {
  const added = tokenizer.addedTokens.find((token) => token.id === id)
  if (added !== undefined) return { id, text: added.content }
  const elsewhere = tokenizer.addedTokens.find((token) => token.content === '<image>')
  if (elsewhere === undefined) return undefined
  throw corrupt(where, `\`image_token_index\` is ${id}, but the tokenizer has "<image>" with id ${elsewhere.id}`)
}

/** A file of its own (4.x), or the `image_processor` inside processor_config.json (5.x). */
async function readPreprocessor(directory: string, processor: Fields | undefined): Promise<Fields | undefined> {
  return (await readJsonFields(path.join(directory, 'preprocessor_config.json'))) ?? processor?.object('image_processor')
}

async function readChatTemplate(directory: string, processor: Fields | undefined): Promise<string | undefined> {
  const jinja = await readSideFile(path.join(directory, 'chat_template.jinja'))
  if (jinja !== undefined) return jinja.toString('utf8')
  const sources = [
    await readJsonFields(path.join(directory, 'chat_template.json')),
    processor,
    await readJsonFields(path.join(directory, 'tokenizer_config.json')),
  ]
  for (const source of sources) {
    const template = source && templateOf(source)
    if (template !== undefined) return template
  }
  return undefined
}

/** A string, or a list of named templates of which "default" is meant. */
function templateOf(source: Fields): string | undefined {
  const value = source.raw('chat_template')
  if (!Array.isArray(value)) return source.string('chat_template')
  const named = value.map((entry: unknown) => Fields.fromJson(`${source.where}, chat_template`, entry))
  return named.find((entry) => entry.string('name') === 'default')?.string('template')
}

async function readGeneration(directory: string, config: Fields, tokenizer: TokenizerSpec): Promise<GenerationDefaults> {
  const generation = (await readJsonFields(path.join(directory, 'generation_config.json'))) ?? Fields.fromJson(directory, {})
  const text = config.object('text_config')
  const bosTokenId = generation.integer('bos_token_id', 0) ?? tokenizer.bosId
  const [temperature, topP, topK] = [generation.number('temperature'), generation.number('top_p'), generation.integer('top_k', 0)]
  const doSample = generation.boolean('do_sample')
  return {
    eosTokenIds: tokenIds(generation) ?? tokenIds(config) ?? (text && tokenIds(text)) ?? tokenizer.eosIds,
    ...(bosTokenId !== undefined && { bosTokenId }),
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(topK !== undefined && { topK }),
    ...(doSample !== undefined && { doSample }),
  }
}

/** `eos_token_id`: one id or several. */
function tokenIds(source: Fields): readonly number[] | undefined {
  const key = 'eos_token_id'
  if (!Array.isArray(source.raw(key))) {
    const id = source.integer(key, 0)
    return id === undefined ? undefined : [id]
  }
  const ids = source.numbers(key) ?? []
  if (!ids.every((id) => Number.isInteger(id) && id >= 0)) throw source.mistake(key, 'token ids')
  return ids
}
