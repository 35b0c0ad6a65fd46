// What a model is, told from its files alone: nothing is loaded, and no weight is read.

import { stat } from 'node:fs/promises'
import { LlavaError, invalidArgument } from './errors.js'
import { parseModelName } from './hub/model-name.js'
import { hubSettings } from './hub/settings.js'
import { calledFrom } from './engine/job.js'
import { modelTemplate } from './model-template.js'
import { defaultModel, defaultName, describePulled, findChoice, placesOf } from './hub/named-model.js'
import type { TemplateName } from './prompt/templates.js'
import { describeModel } from './weights/describe-model.js'
import type { ModelDescription } from './weights/model-description.js'

export interface InspectedModel {
  /** As it was given. */
  readonly name: string
  /** `owner/name`; absent for the model that comes with the package. */
  readonly repository?: string
  readonly commit?: string
  /** As the files state it; for a well-known model whose files state none, that of its weights. */
  readonly license?: string
  /** What is opened: a file, or the directory of a checkpoint. Absolute. */
  readonly path: string
  readonly format: ModelDescription['format']
  readonly files: readonly { readonly path: string; readonly nbytes: number }[]
  readonly parameters: number
  /** Bytes per element type. */
  readonly weightDtypes: Readonly<Record<string, number>>
  /** Positions: tokens and rows of pictures. */
  readonly contextLength: number
  readonly text: { readonly layers: number; readonly hiddenSize: number }
  /** Absent where it takes no pictures. */
  readonly vision?: {
    readonly layers: number
    readonly hiddenSize: number
    readonly imageSize: number
    readonly patchSize: number
  }
  /** The prompt format that is used unless another one is named. */
  readonly template: TemplateName
}

/**
 * Says what the model of a name is: `default`, or one that has been pulled. Unlike `LLaVA.open` and `info`, it loads
 * nothing.
 *
 * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED or INVALID_ARGUMENT.
 */
export async function inspectModel(name: string): Promise<InspectedModel> {
  if (typeof name !== 'string') throw invalidArgument('name', 'the name of a model', name)
  const callSite = new Error()
  try {
    if (name !== defaultName) return await inspectPulled(name)
    return { name, ...(await facts(await describeModel(defaultModel), [defaultModel])) }
  } catch (error) {
    throw calledFrom(callSite, error)
  }
}

const unknown = 'no model of this name has been pulled; `llava list` shows those that have'

async function inspectPulled(name: string): Promise<InspectedModel> {
  const asked = parseModelName(name)
  if (asked === undefined) throw new LlavaError('MODEL_NOT_FOUND', `${name}: ${unknown}`)
  const { cache, commit, choice } = await findChoice(asked, (await hubSettings()).cacheDirectory)
  const description = await describePulled(asked, placesOf({ cache, commit, choice }), {})
  const files = choice.files.map((file) => cache.file(commit, file))
  const { repository, license } = asked
  return { name, repository, commit, ...(license !== undefined && { license }), ...(await facts(description, files)) }
}

type Facts = Omit<InspectedModel, 'name' | 'repository' | 'commit'>

async function facts(description: ModelDescription, files: readonly string[]): Promise<Facts> {
  const { format, path, card, config } = description
  const { text, vision } = config
  const shape = ({ layers, hiddenSize }: InspectedModel['text']) => ({ layers, hiddenSize })
  return {
    ...(card.license !== undefined && { license: card.license }),
    path,
    format,
    files: await Promise.all(files.map(async (file) => ({ path: file, nbytes: (await stat(file)).size }))),
    parameters: card.parameters,
    weightDtypes: card.weightDtypes,
    contextLength: text.contextLength,
    text: shape(text),
    ...(vision && { vision: { ...shape(vision), imageSize: vision.imageSize, patchSize: vision.patchSize } }),
    template: modelTemplate(description),
  }
}
