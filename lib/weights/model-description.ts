// What is known of a model on disk before a weight is read: sizes, tokenizer, preprocessing, and where each tensor lies.

import type { ModelConfig, TensorEntry } from '../native.js'
import type { TokenizerSpec } from '../tokenizer/spec.js'
import type { ImageAspectRatio, ImageProcessorSpec } from '../image/image-processor.js'
import type { DescribedText } from './sizes.js'
import type { ImageTokens } from './image-tokens.js'

/** Everything the rest of the package needs to know about a model on disk. */
export interface ModelDescription {
  /** `gguf`: one file of architecture "llava"; `gguf-pair`: language model and mmproj; `gguf-text`: a language model alone. */
  readonly format: 'hf-directory' | 'gguf-pair' | 'gguf' | 'gguf-text'
  /** Absolute path of the directory or file that was opened. */
  readonly path: string
  /** Absolute paths; `TensorEntry.file` counts in them. */
  readonly files: readonly string[]
  /** By canonical name, only those the model computes with. */
  readonly tensors: readonly TensorEntry[]
  readonly config: ModelConfig & { readonly text: DescribedText }
  readonly tokenizer: TokenizerSpec
  /** Present when the model has a vision tower. */
  readonly imageProcessor?: ImageProcessorSpec
  /** The special token that stands for an image row, where the vocabulary has one. */
  readonly imageToken?: { readonly id: number; readonly text: string }
  /** Tokens that stand around every image: the first LLaVA's `<im_start>` and `<im_end>`. */
  readonly imageTokens?: ImageTokens
  /** Jinja, as the checkpoint brings it. */
  readonly chatTemplate?: string
  readonly generation: GenerationDefaults
  readonly card: ModelCard
}

/** What the checkpoint recommends for generation. */
export interface GenerationDefaults {
  readonly eosTokenIds: readonly number[]
  readonly bosTokenId?: number
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly doSample?: boolean
}

export interface ModelCard {
  readonly name: string
  readonly description?: string
  readonly license?: string
  /** Parameters the model computes with; tied embeddings count once. */
  readonly parameters: number
  /** Bytes per element type. */
  readonly weightDtypes: Readonly<Record<string, number>>
  /** Element type of the decoder's matrices. */
  readonly languageDtype: string
}

export interface DescribeOptions {
  /** The vision half of a GGUF pair; default: the only `*mmproj*.gguf` beside the language model. */
  readonly mmproj?: string
  /** The CLIP directory of an original LLaVA checkpoint; default: the one that `mm_vision_tower` names, or the only one that fits, in or beside it. */
  readonly visionTower?: string
  /** A LoRA adapter (PEFT's or the LLaVA repository's), or a projector by itself, to run on top of the model: a directory; for a GGUF, also a GGUF. */
  readonly adapter?: string
  /** Overrides the checkpoint's `vision_feature_layer`: k >= 0 runs k layers of the tower, k < 0 runs N + 1 + k of its N. */
  readonly visionFeatureLayer?: number
  /** Overrides how the checkpoint makes pictures square. */
  readonly imageAspectRatio?: ImageAspectRatio
}
