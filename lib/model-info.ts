// What a model is and what it runs on, for those who ask.

import { deviceName } from './device.js'
import type { PromptWriter } from './answers/prompt-writer.js'
import type { Engine } from './engine/engine.js'
import type { CacheUse } from './engine/picture-cache.js'
import type { StoreUse } from './engine/picture-store.js'
import type { Passes } from './engine/scheduler.js'
import { given } from './options.js'
import type { ImageAspectRatio } from './image/image-processor.js'
import { machine, type Machine } from './machine.js'
import type { KvDtype, NativeInfo } from './native.js'
import type { TemplateName } from './prompt/templates.js'
import type { ModelDescription } from './weights/model-description.js'

/** What a model is and what it runs on. */
export interface ModelInfo extends NativeInfo {
  /** The GPU's name and number, or the CPU's name, with why no GPU computes where `auto` found none. */
  readonly device: string
  readonly path: string
  readonly format: ModelDescription['format']
  readonly kvCacheDtype: KvDtype
  readonly arithmetic: 'fast' | 'exact'
  /** Positions a prompt and its answer may take together. */
  readonly contextLength: number
  /** Rows of the logits. */
  readonly vocabSize: number
  /** Tokens that end an answer in this template, for a `logitsProcessor` that wants it to end or to go on. */
  readonly eosIds: readonly number[]
  /** How prompts are written unless `template` says otherwise. */
  readonly template: TemplateName
  readonly text: {
    readonly layers: number
    readonly hiddenSize: number
    readonly heads: number
    readonly kvHeads: number
  }
  /** Absent for a language model without a vision tower. */
  readonly vision?: {
    readonly layers: number
    readonly hiddenSize: number
    readonly imageSize: number
    readonly patchSize: number
    /** Positions one picture takes. */
    readonly rowsPerImage: number
    readonly aspectRatio: ImageAspectRatio
  }
  /**
   * Answers, and texts that are embedded: those that run, those that wait for room, and the room in bytes of keys and
   * values; and how many passes through the decoder there were, and texts and rows in them.
   */
  readonly load: {
    readonly running: number
    readonly waiting: number
    readonly kvCacheBytes: number
    readonly passes: Passes
  }
  /**
   * Beginnings of prompts and encoded pictures that are kept (`prefixCacheBytes`, `pictureCacheBytes`): how many, their
   * bytes, and how often one was of use.
   */
  readonly caches: {
    readonly prefixes: CacheUse
    readonly pictures: CacheUse
    /** With `pictureCacheDirectory`. */
    readonly picturesOnDisk?: StoreUse
  }
  /** Whether there is a CLIP for embeddings of the kinds `clip_image` and `clip_text`. */
  readonly clip: boolean
  readonly card: ModelDescription['card']
  /** Memory there is, in bytes. */
  readonly machine: Machine
}

export function modelInfo(engine: Engine, prompts: PromptWriter, clip: boolean): ModelInfo {
  const { description, options, rowsPerImage, config, admission } = engine
  const { layers, hiddenSize, heads, kvHeads, contextLength, vocabSize } = config.text
  const info = engine.nativeInfo()
  return {
    ...info,
    device: deviceName(info.device, options),
    path: description.path,
    format: description.format,
    kvCacheDtype: options.kvCache,
    arithmetic: options.arithmetic,
    contextLength,
    vocabSize,
    eosIds: [...description.generation.eosTokenIds, ...prompts.stops(prompts.template).stopIds],
    template: prompts.template,
    text: { layers, hiddenSize, heads, kvHeads },
    ...(config.vision === undefined
      ? {}
      : {
          vision: {
            layers: config.vision.layers,
            hiddenSize: config.vision.hiddenSize,
            imageSize: config.vision.imageSize,
            patchSize: config.vision.patchSize,
            rowsPerImage,
            aspectRatio: description.imageProcessor?.aspectRatio ?? 'pad',
          },
        }),
    load: {
      running: admission.running,
      waiting: admission.waiting,
      kvCacheBytes: admission.limits.kvCacheBytes,
      passes: engine.passes,
    },
    caches: {
      prefixes: engine.prefixes.use,
      pictures: engine.pictures.use,
      ...given({ picturesOnDisk: engine.pictures.storeUse }),
    },
    clip,
    card: description.card,
    machine: machine(),
  }
}
