// A checkpoint directory, Hugging Face's or the original LLaVA's: config.json, weights, tokenizer, preprocessing, generation defaults, chat template.
// The original's vision tower is a CLIP checkpoint in a directory of its own, and its preprocessing is that one's.
// Rows of query and key are as trained, so rotation pairs are half a head apart: ropeLayout is "half".

import path from 'node:path'
import { LlavaError } from '../errors.js'
import { finishInSlices } from '../slices.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import { tokenizerFromJson, tokenizerFromSentencePiece } from '../tokenizer/parse.js'
import { Fields, readJson, readJsonFields } from './fields.js'
import { readAdapter, type Adapter } from './adapter.js'
import {
  findClip,
  readClipPreprocessor,
  readTowerWeights,
  statedEmbeddedTower,
  type ClipDirectory,
} from './clip-directory.js'
import { isOriginalConfig, readHfConfig, statedTower, type HfConfig } from './hf-config.js'
import { addImageTokens } from './image-tokens.js'
import { fromHuggingFace, towerFromClip } from './names.js'
import type { OriginalVision } from './original-config.js'
import { collectTensors, StoredModel } from './model-tensors.js'
import { textConfig, visionConfig, type StatedVision } from './sizes.js'
import { imageProcessorFromConfig } from './preprocessing.js'
import { readPytorchFile } from './pytorch.js'
import { readWeights } from './shards.js'
import type { StoredTensor } from './stored-tensor.js'
import { readSideFile } from './file-head.js'
import { checkVocabulary } from './vocabulary.js'
import { corrupt, notFound, unsupported } from './model-error.js'
import type { DescribeOptions, GenerationDefaults, ModelDescription } from './model-description.js'

/** @param names The directory's entries. */
export async function describeHfDirectory(
  directory: string,
  names: ReadonlySet<string>,
  options: DescribeOptions,
): Promise<ModelDescription> {
  if (options.mmproj !== undefined)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${directory} is a checkpoint with its own vision tower; \`mmproj\` belongs to a GGUF language model`,
    )
  const adapter = options.adapter === undefined ? undefined : await readAdapter(options.adapter)
  const rawConfig = await readConfig(directory, adapter)
  const config = readHfConfig(rawConfig)
  const model = new StoredModel(directory, await storedTensors(directory, names), fromHuggingFace)
  for (const [name, tensor] of adapter?.replacements ?? []) model.replace(name, tensor)
  checkTied(rawConfig.where, config, model)
  const text = await textConfig(config.text, model)
  const own = config.original && (await originalTower(config.original, directory, names, model, options))
  const stated = config.vision ?? own?.stated
  const vision = stated && visionConfig(stated, model, options.visionFeatureLayer)
  checkOptionsFit(directory, config, vision !== undefined, adapter, options)
  const { files, tensors, parameters, weightDtypes } = collectTensors(model, text, vision, adapter)
  const { tokenizer, imageTokens } = withImageTokens(rawConfig, config, await readTokenizer(directory), text.vocabSize)
  checkVocabulary(directory, tokenizer, text.vocabSize)
  const processor = await readJsonFields(path.join(directory, 'processor_config.json'))
  const imageToken =
    config.imageTokenId === undefined ? undefined : imageTokenOf(rawConfig.where, tokenizer, config.imageTokenId)
  const chatTemplate = await readChatTemplate(directory, processor)
  return {
    format: 'hf-directory',
    path: directory,
    files,
    tensors,
    config: { text, ...(vision && { vision }) },
    tokenizer,
    ...(vision && {
      imageProcessor: imageProcessorFromConfig(
        own === undefined ? await readPreprocessor(directory, processor) : own.preprocessor,
        vision,
        options.imageAspectRatio ?? config.original?.aspectRatio,
      ),
    }),
    ...(imageToken && { imageToken }),
    ...(imageTokens && { imageTokens }),
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

/** The base's own, unless an adapter of the LLaVA repository brings the configuration that makes a LLaVA of it. */
async function readConfig(directory: string, adapter: Adapter | undefined): Promise<Fields> {
  const config = await readJsonFields(path.join(directory, 'config.json'))
  if (config === undefined) throw notFound(directory, 'config.json is missing')
  const isWhole = config.has('vision_config') || (adapter?.config === undefined && isOriginalConfig(config))
  return isWhole ? config : (adapter?.config ?? config)
}

async function storedTensors(directory: string, names: ReadonlySet<string>): Promise<readonly StoredTensor[]> {
  const tensors = await readWeights(directory, names)
  if (tensors !== undefined) return tensors
  if (names.has('adapter_config.json') || names.has('mm_projector.bin'))
    throw notFound(
      directory,
      'this is an adapter without the model it belongs to; open that model, with this directory as `adapter`',
    )
  throw notFound(directory, 'neither model.safetensors nor pytorch_model.bin is there, nor an index of shards')
}

/**
 * The tower of an original LLaVA, its tensors added to `model`: those in the checkpoint itself (fine-tuned ones), else the CLIP directory's.
 * The projector comes from mm_projector.bin where the shards lack it.
 */
async function originalTower(
  original: OriginalVision,
  directory: string,
  names: ReadonlySet<string>,
  model: StoredModel,
  options: DescribeOptions,
): Promise<{ readonly stated: StatedVision; readonly preprocessor: Fields | undefined }> {
  const projector = 'multi_modal_projector.linear_1.weight'
  if (!model.has(projector) && names.has('mm_projector.bin'))
    model.add(await readPytorchFile(path.join(directory, 'mm_projector.bin')), fromHuggingFace)
  const isEmbedded = model.has('vision_tower.embeddings.class_embedding')
  const width = model.dimension(projector, 1, 2)
  const near = [directory, ...(options.adapter === undefined ? [] : [path.resolve(options.adapter)])]
  const clip = await clipUnless(isEmbedded && options.visionTower === undefined, () =>
    findClip(original, near, width, options.visionTower),
  )
  if (clip !== undefined && !isEmbedded) model.add(await readTowerWeights(clip), towerFromClip)
  const { featureLayer, dropClassRow, projectorLayers } = original
  return {
    stated: {
      ...(clip === undefined ? statedEmbeddedTower(original, width) : statedTower(clip.vision)),
      featureLayer,
      dropClassRow,
      projectorLayers,
    },
    preprocessor: clip && (await readClipPreprocessor(clip)),
  }
}

/** A tower that the checkpoint holds itself needs no CLIP directory, but takes its configuration from one that is at hand. */
async function clipUnless(optional: boolean, find: () => Promise<ClipDirectory>): Promise<ClipDirectory | undefined> {
  try {
    return await find()
  } catch (error) {
    if (optional && error instanceof LlavaError && error.code === 'MODEL_NOT_FOUND') return undefined
    throw error
  }
}

function checkOptionsFit(
  directory: string,
  config: HfConfig,
  hasVision: boolean,
  adapter: Adapter | undefined,
  options: DescribeOptions,
): void {
  if (options.visionTower !== undefined && config.original === undefined)
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${directory} is not an original LLaVA checkpoint; \`visionTower\` belongs to one`,
    )
  if (!hasVision && adapter?.replacements.some(([name]) => name.startsWith('multi_modal_projector.')) === true)
    throw unsupported(
      adapter.path,
      'a projector for a language model without a vision tower',
      "LLaVA's config.json beside it, or a LLaVA as its base",
    )
}

function withImageTokens(
  rawConfig: Fields,
  { original }: HfConfig,
  tokenizer: TokenizerSpec,
  rows: number,
): { readonly tokenizer: TokenizerSpec; readonly imageTokens?: ModelDescription['imageTokens'] } {
  return original?.startAndEnd === true ? addImageTokens(rawConfig, tokenizer, rows) : { tokenizer }
}

/** Without an output matrix of its own, a checkpoint must say that it shares the embedding's. */
function checkTied(where: string, config: HfConfig, model: StoredModel): void {
  if (!model.has('lm_head.weight') && !config.tiedEmbeddings)
    throw corrupt(where, 'the weights lack lm_head.weight, and `tie_word_embeddings` is not true')
}

async function readTokenizer(directory: string): Promise<TokenizerSpec> {
  const tokenizerConfig = await readJson(path.join(directory, 'tokenizer_config.json'))
  const tokenizerJson = await readJson(path.join(directory, 'tokenizer.json'))
  if (tokenizerJson !== undefined) return finishInSlices(tokenizerFromJson(tokenizerJson, tokenizerConfig))
  const pieces = await readSideFile(path.join(directory, 'tokenizer.model'))
  if (pieces === undefined) throw notFound(directory, 'neither tokenizer.json nor tokenizer.model is there')
  return finishInSlices(
    tokenizerFromSentencePiece(pieces, tokenizerConfig, await readJson(path.join(directory, 'added_tokens.json'))),
  )
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
  return (
    (await readJsonFields(path.join(directory, 'preprocessor_config.json'))) ?? processor?.object('image_processor')
  )
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

async function readGeneration(
  directory: string,
  config: Fields,
  tokenizer: TokenizerSpec,
): Promise<GenerationDefaults> {
  const generation =
    (await readJsonFields(path.join(directory, 'generation_config.json'))) ?? Fields.fromJson(directory, {})
  const text = config.object('text_config')
  const bosTokenId = generation.integer('bos_token_id', 0) ?? tokenizer.bosId
  const [temperature, topP, topK] = [
    generation.number('temperature'),
    generation.number('top_p'),
    generation.integer('top_k', 0),
  ]
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
