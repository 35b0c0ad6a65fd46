// What a conversion writes: each tensor's name and type, as llama.cpp mixes them.
//   Matrices get the type's base, some of them a better one: the output matrix in every quantised mix, V and the MLP's way down in the K mixes.
//   Norms, biases, class and position embeddings are F32 always. Rows that do not divide into a type's blocks take the type next to it.
//   What is quantised gets no more bits than it has, where the mix or the default would give them: they bring nothing back.

import type { Dtype, TensorEntry } from '../native.js'
import type { ClipDescription } from './clip-description.js'
import type { ModelDescription } from './model-description.js'
import { bitsPerWeight, fitsBlocks, isQuantised, type GgufTensor } from './gguf-writer.js'
import { toClipGguf, toGguf } from './names.js'

export const conversionTypes = [
  'f32',
  'f16',
  'bf16',
  'q8_0',
  'q5_1',
  'q5_0',
  'q4_1',
  'q4_0',
  'q6_k',
  'q5_k_m',
  'q4_k_m',
  'q3_k_m',
  'q2_k',
] as const

/** What the language model's matrices become. The K types are llama.cpp's mixes. */
export type ConversionType = (typeof conversionTypes)[number]

export const visionTypes = ['f32', 'f16', 'bf16', 'q8_0', 'q5_1', 'q5_0', 'q4_1', 'q4_0'] as const

/** What the matrices of tower and projector become. */
export type VisionType = (typeof visionTypes)[number]

export interface PlannedTensor extends GgufTensor {
  /** Its place in the description's `tensors`. */
  readonly source: number
  /** Above 0: heads whose rotation pairs become neighbours. */
  readonly interleavedHeads: number
}

export interface ConversionPlan {
  readonly language: readonly PlannedTensor[]
  readonly vision: readonly PlannedTensor[]
  /** `general.file_type` of the vision half. */
  readonly visionFileType: number
  /** Matrices that are quantised and are quantised anew. */
  readonly requantised: number
}

interface Mix {
  /** `general.file_type`. */
  readonly fileType: number
  readonly base: Dtype
  /** The output matrix. */
  readonly output: Dtype
  /** Decoder matrices that are not of the base type, by the last word of their module. */
  readonly better?: (projection: string, layer: number, layers: number) => Dtype | undefined
}

const mixes: Readonly<Record<ConversionType, Mix>> = {
  f32: { fileType: 0, base: 'F32', output: 'F32' },
  f16: { fileType: 1, base: 'F16', output: 'F16' },
  bf16: { fileType: 32, base: 'BF16', output: 'BF16' },
  q8_0: { fileType: 7, base: 'Q8_0', output: 'Q8_0' },
  q5_1: { fileType: 9, base: 'Q5_1', output: 'Q6_K' },
  q5_0: { fileType: 8, base: 'Q5_0', output: 'Q6_K' },
  q4_1: { fileType: 3, base: 'Q4_1', output: 'Q6_K' },
  q4_0: { fileType: 2, base: 'Q4_0', output: 'Q6_K' },
  q6_k: { fileType: 18, base: 'Q6_K', output: 'Q6_K' },
  q5_k_m: { fileType: 17, base: 'Q5_K', output: 'Q6_K', better: moreBitsHereAndThere },
  q4_k_m: { fileType: 15, base: 'Q4_K', output: 'Q6_K', better: moreBitsHereAndThere },
  q3_k_m: { fileType: 12, base: 'Q3_K', output: 'Q6_K', better: aroundThreeBits },
  q2_k: {
    fileType: 10,
    base: 'Q2_K',
    output: 'Q6_K',
    better: (projection) => (/^(?:v|o|down)_proj$/.test(projection) ? 'Q3_K' : undefined),
  },
}

/** The first and the last eighth of the layers, and every third between. */
function moreBitsHereAndThere(projection: string, layer: number, layers: number): Dtype | undefined {
  if (projection !== 'v_proj' && projection !== 'down_proj') return undefined
  const eighth = Math.floor(layers / 8)
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2 ? 'Q6_K' : undefined
}

function aroundThreeBits(projection: string, layer: number, layers: number): Dtype | undefined {
  if (projection === 'v_proj') return layer < 2 ? 'Q5_K' : 'Q4_K'
  if (projection === 'down_proj') return layer < Math.floor(layers / 16) ? 'Q5_K' : 'Q4_K'
  return projection === 'o_proj' ? 'Q4_K' : undefined
}

/** What stands in for a type whose blocks the rows do not divide into; in the end F16, which has none. */
const standIns: Readonly<Partial<Record<Dtype, Dtype>>> = {
  Q2_K: 'Q4_0',
  Q3_K: 'Q4_0',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
}

export function fileTypeOf(type: ConversionType): number {
  return mixes[type].fileType
}

/** Quantised language models keep a tower of two bytes per weight: it is a tenth of the file, and every answer about a picture goes through it. */
function defaultVisionType(type: ConversionType): VisionType {
  return type === 'f32' || type === 'bf16' ? type : 'f16'
}

/** @param visionType Absent: the default, and what is smaller stays as it is. */
export function planConversion(
  description: ModelDescription,
  type: ConversionType,
  visionType?: VisionType,
): ConversionPlan {
  const { text } = description.config
  const isTied = sharesBytes(description.tensors, 'language_model.embed_tokens.weight', 'lm_head.weight')
  const heads = text.ropeLayout === 'half' ? { q_proj: text.heads, k_proj: text.kvHeads } : {}
  const merged = new Set(
    description.tensors.flatMap(({ name }) => (name.endsWith('.lora_B.weight') ? [name.replace('.lora_B', '')] : [])),
  )
  const planned = description.tensors.flatMap((stored, source): PlannedTensor[] => {
    if (/\.lora_[AB]\.weight$/.test(stored.name) || (isTied && stored.name === 'lm_head.weight')) return []
    const entry: TensorEntry = merged.has(stored.name) ? { ...stored, dtype: 'F32' } : stored // with its adapter added, it is float
    const wanted = isVision(entry.name)
      ? visionDtype(entry, type, visionType)
      : languageDtype(entry, mixes[type], text.layers, isTied)
    const projection = /^language_model\.layers\.\d+\.self_attn\.(q_proj|k_proj)\./.exec(entry.name)?.[1] as
      keyof typeof heads | undefined
    const interleavedHeads = (projection && heads[projection]) ?? 0
    return [
      {
        name: toGguf(entry.name),
        dtype: fitting(wanted, entry.shape.at(-1) ?? 1),
        shape: entry.shape,
        source,
        interleavedHeads,
      },
    ]
  })
  const sourceOf = ({ source }: PlannedTensor) => description.tensors[source] as TensorEntry
  const vision = planned.filter((tensor) => isVision(sourceOf(tensor).name))
  return {
    language: planned.filter((tensor) => !isVision(sourceOf(tensor).name)),
    vision,
    visionFileType: fileTypeOf(visionType ?? typeOfMost(vision) ?? defaultVisionType(type)),
    requantised: countRequantised(planned, description.tensors),
  }
}

export interface ClipPlan {
  readonly tensors: readonly PlannedTensor[]
  /** `general.file_type`. */
  readonly fileType: number
  /** As of ConversionPlan. */
  readonly requantised: number
}

/** All matrices of a CLIP become `type`, those of its vision half `visionType` where it is given. */
export function planClipConversion(
  { tensors }: Pick<ClipDescription, 'tensors'>,
  type: VisionType,
  visionType: VisionType = type,
): ClipPlan {
  const planned = tensors.map((entry, source): PlannedTensor => {
    const wanted = isVision(entry.name) || entry.name.startsWith('visual_projection.') ? visionType : type
    const dtype = fitting(visionDtype(entry, wanted, wanted), entry.shape.at(-1) ?? 1)
    return { name: toClipGguf(entry.name), dtype, shape: entry.shape, source, interleavedHeads: 0 }
  })
  return { tensors: planned, fileType: fileTypeOf(type), requantised: countRequantised(planned, tensors) }
}

function countRequantised(planned: readonly PlannedTensor[], sources: readonly TensorEntry[]): number {
  return planned.filter(({ source, dtype }) => {
    const from = sources[source]?.dtype ?? dtype
    return isQuantised(from) && isQuantised(dtype) && dtype !== from
  }).length
}

/** What most matrices are, where a file type is called so. */
function typeOfMost(tensors: readonly PlannedTensor[]): VisionType | undefined {
  const matrices = tensors.filter(({ shape }) => shape.length === 2)
  return visionTypes.find(
    (type) => 2 * matrices.filter(({ dtype }) => dtype === mixes[type].base).length > matrices.length,
  )
}

function isVision(name: string): boolean {
  return name.startsWith('vision_tower.') || name.startsWith('multi_modal_projector.')
}

/** Tied embeddings: the output matrix is the embedding's bytes under a second name, and a GGUF leaves it out. */
function sharesBytes(tensors: readonly TensorEntry[], first: string, second: string): boolean {
  const [a, b] = [first, second].map((name) => tensors.find((tensor) => tensor.name === name))
  return a !== undefined && b !== undefined && a.file === b.file && a.offset === b.offset
}

function languageDtype({ name, dtype, shape }: TensorEntry, mix: Mix, layers: number, isTied: boolean): Dtype {
  if (shape.length < 2) return 'F32'
  const [, layer, projection] = /\.layers\.(\d+)\..*?(\w+)\.weight$/.exec(name) ?? []
  const isOutput = name === 'lm_head.weight' || (isTied && name === 'language_model.embed_tokens.weight')
  const better = isOutput ? mix.output : mix.better?.(projection ?? '', Number(layer), layers)
  return better === undefined || hasFewerBits(dtype, better) ? mix.base : better
}

function hasFewerBits(source: Dtype, wanted: Dtype): boolean {
  return isQuantised(source) && bitsPerWeight(source) < bitsPerWeight(wanted)
}

/** The convolution cannot be quantised, and binary16 does not hold all that BF16 does. */
function visionDtype(
  { name, dtype, shape }: TensorEntry,
  type: ConversionType,
  visionType: VisionType | undefined,
): Dtype {
  const wanted = visionType ?? defaultVisionType(type)
  if (shape.length < 2 || /embeddings\.position_embedding\.weight$|\.probe$/.test(name)) return 'F32'
  if (shape.length > 2) return wanted === 'f32' || wanted === 'bf16' ? 'F32' : 'F16'
  const { base } = mixes[wanted]
  return visionType === undefined && hasFewerBits(dtype, base) ? dtype : base
}

function fitting(wanted: Dtype, columns: number): Dtype {
  if (fitsBlocks(wanted, columns)) return wanted
  const standIn = standIns[wanted]
  return standIn !== undefined && fitsBlocks(standIn, columns) ? standIn : 'F16'
}
