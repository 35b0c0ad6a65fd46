// What is known of a CLIP on disk before a weight is read, whatever files it is made of: clip-directory.ts,
// open-clip.ts and clip-gguf.ts say what theirs state, and here it is held against the tensors.

import type { ImageProcessorSpec } from '../image/image-processor.js'
import type { ClipConfig, TensorEntry, VisionConfig } from '../native.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import type { UnigramSpec } from '../tokenizer/unigram.js'
import { readExactly, withFile } from './file-head.js'
import { corrupt } from './model-error.js'
import { collectClipTensors, StoredModel } from './model-tensors.js'
import type { CanonicalName } from './names.js'
import { clipTextConfig, towerConfig, type StatedClipText, type StatedVision } from './sizes.js'
import type { StoredTensor } from './stored-tensor.js'
import { checkVocabulary } from './vocabulary.js'

/** Everything the rest of the package needs to know about a CLIP on disk. */
export interface ClipDescription {
  /** Absolute path of the directory or file. */
  readonly path: string
  readonly name: string
  /** Absolute paths; `TensorEntry.file` counts in them. */
  readonly files: readonly string[]
  readonly tensors: readonly TensorEntry[]
  readonly config: ClipConfig
  readonly tokenizer: ClipVocabulary
  readonly imageProcessor: ImageProcessorSpec
  /** As stored; absent where it is not. */
  readonly logitScale?: number
  /** SigLIP's: what is added to scaled cosines. */
  readonly logitBias?: number
  /** What cosines are multiplied by: exp(logit_scale). */
  readonly scale: number
  readonly parameters: number
  readonly weightDtypes: Readonly<Record<string, number>>
}

/** What the files of a CLIP state. */
export interface StatedClip {
  readonly path: string
  readonly name: string
  readonly stored: readonly StoredTensor[]
  readonly canonicalName: (name: string) => CanonicalName
  readonly vision: StatedVision
  readonly text: StatedClipText
  readonly tokenizer: ClipVocabulary
  readonly imageProcessor: (vision: VisionConfig) => ImageProcessorSpec
  /** log of what cosines are multiplied by. */
  readonly logitScale: number | undefined
  readonly logitBias?: number | undefined
}

/** CLIP's byte-level BPE, or SigLIP's Unigram. */
export type ClipVocabulary = TokenizerSpec | UnigramSpec

export function isUnigram(vocabulary: ClipVocabulary): vocabulary is UnigramSpec {
  return 'charsmap' in vocabulary
}

// Where CLIP's training ends up, and is clipped.
const defaultScale = 100

export function describedClip(stated: StatedClip): ClipDescription {
  const { path, name, tokenizer, logitScale, logitBias } = stated
  const model = new StoredModel(path, stated.stored, stated.canonicalName)
  const vision = towerConfig(stated.vision, model)
  const isSiglip = vision.tower === 'siglip'
  const config = {
    vision,
    text: clipTextConfig(stated.text, model),
    projectionDim: isSiglip ? vision.hiddenSize : model.dimension('visual_projection.weight', 0, 2),
  }
  const { files, tensors, parameters, weightDtypes } = collectClipTensors(model, config)
  checkVocabulary(path, tokenizer, config.text.vocabSize)
  return {
    path,
    name,
    files,
    tensors,
    config,
    tokenizer,
    imageProcessor: stated.imageProcessor(config.vision),
    ...(logitScale !== undefined && { logitScale }),
    ...(isSiglip && { logitBias: logitBias ?? 0 }),
    scale: logitScale === undefined ? defaultScale : Math.exp(logitScale),
    parameters,
    weightDtypes,
  }
}

/** The one value of a tensor; `undefined` where there is none of this name. */
export async function readScalar(stored: readonly StoredTensor[], name: string): Promise<number | undefined> {
  const tensor = stored.find((each) => each.name === name)
  if (tensor === undefined) return undefined
  const { path, dtype, offset, nbytes } = tensor
  const value = floatOf(dtype, await withFile(path, (file) => readExactly(file, path, offset, Math.min(nbytes, 8))))
  if (value === undefined || !Number.isFinite(value))
    throw corrupt(path, `the tensor ${name}, of ${dtype}, is no number`)
  return value
}

function floatOf(dtype: string, bytes: Buffer): number | undefined {
  if (dtype === 'F32' && bytes.length === 4) return bytes.readFloatLE()
  if (dtype === 'BF16' && bytes.length === 2) return Buffer.from([0, 0, ...bytes]).readFloatLE()
  if (dtype === 'F16' && bytes.length === 2) {
    const bits = bytes.readUInt16LE()
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023]
    const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
    return exponent === 31 ? NaN : bits >= 0x8000 ? -magnitude : magnitude
  }
  return undefined
}
