// What a model is opened with, and its opening.

import path from 'node:path'
import { packagedClip } from './clip.js'
import { deviceCheck, openOn, type Device, type Place } from './device.js'
import { LazyClip } from './engine/clip-engine.js'
import { promptChecks, type PromptOptions } from './answers/answer-options.js'
import { Engine, type EngineLimits } from './engine/engine.js'
import { defaultModel, describeNamedModel } from './hub/named-model.js'
import { imageChecks, type ImageOptions } from './image/image-options.js'
import type { ImageAspectRatio } from './image/image-processor.js'
import { machine } from './machine.js'
import { isas, type Isa, type KvDtype, type NativeInfo, type NativeOptions } from './native.js'
import { abortSignal, callback, given, oneOf, text, wholeNumber, type OptionCheck } from './options.js'
import type { ProgressListener } from './progress.js'
import type { ModelDescription } from './weights/model-description.js'
import { imageAspectRatios } from './weights/preprocessing.js'

export interface OpenOptions extends ImageOptions, PromptOptions {
  /**
   * What computes: `cpu` (default), `cuda` for the first NVIDIA GPU, `cuda:1` for the second, or `auto`: the first GPU
   * where its package is installed, its driver works and the model fits, else the CPU; `info().device` says which, and
   * why not. A GPU needs the package `@llava-native/cuda-linux-x64`. Its answers differ from the CPU's in their last
   * bits. `threads`, `isa` and `weights` are the CPU's own: weights are always copied to a GPU.
   */
  readonly device?: Device
  /** The vision half of a GGUF pair, when it is not the only one beside the language model. */
  readonly mmproj?: string
  /** The CLIP directory of an original LLaVA checkpoint, when it is not the one that fits in or beside it. */
  readonly visionTower?: string
  /**
   * A LoRA adapter to run on top of the model: PEFT's or the LLaVA repository's directory, or for a GGUF a GGUF; a
   * projector by itself too.
   */
  readonly adapter?: string
  /** Compute threads; default as many as the process may use. */
  readonly threads?: number
  /** Instruction set of the kernels; default `auto`, the best this CPU has. */
  readonly isa?: Isa | 'auto'
  /**
   * Element type of keys and values; default f32 for float32 checkpoints, else f16. `q8_0` takes half of f16's memory.
   */
  readonly kvCache?: KvDtype
  /**
   * `fast` (default) multiplies quantised weights with activations quantised to int8 blocks. In prompts and pictures it
   * takes what the CPU is fastest at: bf16 weights with activations rounded to bf16 where the CPU multiplies bf16
   * itself; on tiles (AMX) also quantised weights, rounded to bf16 too, and other float weights and the attention of
   * pictures as two terms of bf16, which is within 2^-16 of float32. `exact` stays in float32 throughout.
   *
   * A call has the same bits whoever else calls. All weights under `exact`, and quantised ones without tiles, also give
   * a position the same bits however a text is cut into calls; else more than 32 positions of a call are multiplied in
   * another way than fewer, which is faster.
   */
  readonly arithmetic?: 'fast' | 'exact'
  /**
   * `mapped` (default): weights are read where their file is mapped, shared with other processes and loaded on first
   * touch; `copied`: into memory of this process on large pages, which takes as long as the disk does and makes each
   * token a little faster.
   */
  readonly weights?: 'mapped' | 'copied'
  /**
   * Most bytes of keys and values that answers may come to take together, reckoned by prompt and `maxTokens`; further
   * ones wait until there is room. Default half of the memory that is free when the model is opened; on a GPU, three
   * quarters of what weights and workspaces leave. One answer runs however large it is, as far as there is memory; what
   * conversations and contexts keep is not counted.
   */
  readonly kvCacheBytes?: number
  /**
   * Most bytes of keys and values of beginnings of prompts that are kept for prompts that begin alike, beside those of
   * running answers: a second question about a picture computes little more than its own words. Default an eighth of
   * the memory that is free when the model is opened; 0 keeps none.
   */
  readonly prefixCacheBytes?: number
  /**
   * Most bytes of encoded pictures that are kept for questions about the same picture. Default 256 MiB, on a GPU a
   * sixteenth of what weights and workspaces leave where that is less; 0 keeps none.
   */
  readonly pictureCacheBytes?: number
  /**
   * A directory in which encoded pictures are kept for later processes too, any number of which may share it: a second
   * question about a picture costs no tower then, not even after a restart. Default none. It is made where it is not
   * there.
   */
  readonly pictureCacheDirectory?: string
  /** Most bytes that may come to lie there, of all models; default 10 GiB. */
  readonly pictureCacheDirectoryBytes?: number
  /** Most answers that wait for room; whoever comes then gets OVERLOADED at once. Default 10,000. */
  readonly maxWaiting?: number
  /** Hears how far the copying of weights is: to memory, or to a GPU. */
  readonly onProgress?: ProgressListener
  /** Overrides the vision layer whose output is used, as in config.json's `vision_feature_layer`. */
  readonly visionFeatureLayer?: number
  /** Overrides how pictures are made square: `pad` with the mean colour, `crop` the centre, or `stretch` both sides. */
  readonly imageAspectRatio?: ImageAspectRatio
  /**
   * A whole CLIP, in any form that `CLIP.open` takes, for the kinds `clip_image` and `clip_text` of `embed`; the model
   * that comes with the package brings its own.
   */
  readonly clip?: string
  /** Gives up opening. */
  readonly signal?: AbortSignal
}

export const openChecks = {
  device: deviceCheck,
  ...imageChecks,
  ...promptChecks,
  mmproj: text,
  visionTower: text,
  adapter: text,
  threads: wholeNumber(1, 1024),
  isa: oneOf('auto', ...isas),
  kvCache: oneOf('f16', 'f32', 'q8_0'),
  arithmetic: oneOf('fast', 'exact'),
  weights: oneOf('mapped', 'copied'),
  kvCacheBytes: wholeNumber(1),
  prefixCacheBytes: wholeNumber(0),
  pictureCacheBytes: wholeNumber(0),
  pictureCacheDirectory: text,
  pictureCacheDirectoryBytes: wholeNumber(1),
  maxWaiting: wholeNumber(0),
  onProgress: callback,
  visionFeatureLayer: wholeNumber(-1024, 1024),
  imageAspectRatio: oneOf(...imageAspectRatios),
  clip: text,
  signal: abortSignal,
} satisfies Record<keyof OpenOptions, OptionCheck>

const defaultMaxWaiting = 10_000
const defaultPictureCacheBytes = 2 ** 28
const defaultPictureStoreBytes = 10 * 2 ** 30

/** What a model is made of. */
export interface OpenedModel {
  readonly engine: Engine
  readonly clip: LazyClip | undefined
}

export async function openModel(modelPath: string, options: OpenOptions): Promise<OpenedModel> {
  const engine = await openEngine(modelPath, options)
  if (options.clip === undefined) {
    const isPackaged = engine.description.path === defaultModel
    return { engine, clip: isPackaged ? new LazyClip(packagedClip, engine.options) : undefined }
  }
  const clip = new LazyClip(options.clip, engine.options)
  try {
    await clip.open() // what is wrong with it is said at once
    return { engine, clip }
  } catch (error) {
    engine.dispose()
    throw error
  }
}

export function disposeModel({ engine, clip }: OpenedModel): void {
  engine.dispose()
  clip?.dispose()
}

async function openEngine(modelPath: string, options: OpenOptions): Promise<Engine> {
  const { mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio } = options
  const description = await describeNamedModel(
    modelPath,
    given({ mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio }),
  )
  const nativeOptions: Omit<NativeOptions, keyof Place> = {
    threads: options.threads ?? 0,
    isa: options.isa ?? 'auto',
    kvCache: options.kvCache ?? (description.card.languageDtype === 'F32' ? 'f32' : 'f16'),
    arithmetic: options.arithmetic ?? 'fast',
    weights: options.weights ?? 'mapped',
  }
  const { available } = machine()
  const limits = ({ memory: { plan } }: NativeInfo): EngineLimits => ({
    kvCacheBytes: options.kvCacheBytes ?? (plan === undefined ? available / 2 : (plan.room * 3) / 4),
    maxWaiting: options.maxWaiting ?? defaultMaxWaiting,
    prefixCacheBytes: options.prefixCacheBytes ?? (plan?.room ?? available) / 8,
    pictureCacheBytes: options.pictureCacheBytes ?? Math.min(defaultPictureCacheBytes, (plan?.room ?? Infinity) / 16),
    pictureStore:
      options.pictureCacheDirectory === undefined
        ? undefined
        : {
            directory: path.resolve(options.pictureCacheDirectory),
            limit: options.pictureCacheDirectoryBytes ?? defaultPictureStoreBytes,
          },
  })
  return openOn(options.device ?? 'cpu', options, (place) =>
    openReporting(description, { ...nativeOptions, ...place }, limits, options.onProgress),
  )
}

/** Opens, and fails where the listener throws. */
async function openReporting(
  description: ModelDescription,
  options: NativeOptions,
  limits: (info: NativeInfo) => EngineLimits,
  onProgress: ProgressListener | undefined,
): Promise<Engine> {
  const copies = options.weights === 'copied' || options.device !== 'cpu'
  if (onProgress === undefined || !copies) return Engine.open(description, options, limits)
  const thrown: unknown[] = []
  const report = (done: number, total: number) => {
    try {
      onProgress({ stage: 'weights', done, total })
    } catch (error) {
      thrown.push(error)
    }
  }
  const engine = await Engine.open(description, options, limits, report)
  if (thrown.length === 0) return engine
  engine.dispose()
  throw thrown[0]
}
