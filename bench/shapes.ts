// LLaVA 1.5's real shapes, once: what the benches run on. Hyper-parameters of lmsys/vicuna-{7b,13b}-v1.5 and openai/clip-vit-large-patch14-336.

import type { OpRequest } from '../lib/native.js'

export interface DecoderShape {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly vocabSize: number
}

export const decoders = {
  '7b': { hiddenSize: 4096, intermediateSize: 11008, layers: 32, heads: 32, vocabSize: 32000 },
  '13b': { hiddenSize: 5120, intermediateSize: 13824, layers: 40, heads: 40, vocabSize: 32000 },
} as const satisfies Record<string, DecoderShape>

/** CLIP ViT-L/14-336; 23 of its 24 layers run. */
export const visionTower = {
  hiddenSize: 1024,
  intermediateSize: 4096,
  layers: 23,
  heads: 16,
  imageSize: 336,
  patchSize: 14,
} as const

/** An op as the model calls it. Shape letters as in native/ops/args.h. */
export interface OpShape extends Omit<OpRequest, 'dtype' | 'rows' | 'exact' | 'seed'> {
  readonly shape: string
  /** Rows that this call always has: a picture's, or a prompt's. */
  readonly rows?: number
}

export type DecoderName = keyof typeof decoders

/** Products whose weights have the model's type. */
function decoderLinears(decoder: DecoderName): OpShape[] {
  const { hiddenSize: D, intermediateSize: F, vocabSize: V } = decoders[decoder]
  const linears: Omit<OpShape, 'op'>[] = [
    { shape: 'qkv', columns: D, depth: D, outputs: 3 },
    { shape: 'o', columns: D, depth: D, outputs: 1, residual: true },
    { shape: 'gate_up', columns: F, depth: D, outputs: 2 },
    { shape: 'down', columns: D, depth: F, outputs: 1, residual: true },
    { shape: 'lm_head', columns: V, depth: D, outputs: 1 },
  ]
  return linears.map((linear) => ({ op: 'linear', ...linear }))
}

/** P: rows of a picture after the class row is dropped. */
export const patches = (visionTower.imageSize / visionTower.patchSize) ** 2

const headDim = (heads: number, width: number): { heads: number; headDim: number } => ({
  heads,
  headDim: width / heads,
})

function projectorLinears(decoder: DecoderName): OpShape[] {
  const { hiddenSize: D } = decoders[decoder]
  return [
    {
      op: 'linear',
      shape: 'projector_1',
      columns: D,
      depth: visionTower.hiddenSize,
      outputs: 1,
      bias: true,
      activation: 'gelu',
      rows: patches,
    },
    { op: 'linear', shape: 'projector_2', columns: D, depth: D, outputs: 1, bias: true, rows: patches },
  ]
}

function decoderOps(decoder: DecoderName): OpShape[] {
  const { hiddenSize: D, intermediateSize: F, heads, vocabSize: V } = decoders[decoder]
  const split = headDim(heads, D)
  const attention = (shape: string, rows: number, keys: number): OpShape => ({
    op: 'attention',
    shape,
    rows,
    keys,
    causal: true,
    ...split,
  })
  return [
    attention('prefill_512', 512, 512),
    attention('prefill_2048', 2048, 2048),
    attention('decode_512', 1, 512),
    attention('decode_2048', 1, 2048),
    { op: 'kv_append', shape: 'hidden', ...split },
    { op: 'rms_norm', shape: 'hidden', columns: D },
    { op: 'rope_angles', shape: 'hidden', columns: split.headDim / 2 },
    { op: 'rope', shape: 'hidden', columns: D, headDim: split.headDim },
    { op: 'silu_mul', shape: 'mlp', columns: F },
    { op: 'quantise', shape: 'hidden', columns: D },
    { op: 'quantise', shape: 'mlp', columns: F },
    { op: 'embed_rows', shape: 'vocabulary', columns: D, depth: V },
    { op: 'copy_rows', shape: 'picture', columns: D, rows: patches },
    { op: 'add_rows', shape: 'hidden', columns: D },
  ]
}

function visionOps(): OpShape[] {
  const { hiddenSize: D, intermediateSize: F, heads, imageSize, patchSize } = visionTower
  const rows = patches + 1
  const linear = { op: 'linear', outputs: 1, bias: true, rows } as const
  return [
    { ...linear, shape: 'qkv', columns: D, depth: D, outputs: 3 },
    { ...linear, shape: 'out', columns: D, depth: D, residual: true },
    { ...linear, shape: 'fc1', columns: F, depth: D, activation: 'quick_gelu' },
    { ...linear, shape: 'fc2', columns: D, depth: F, residual: true },
    { op: 'attention', shape: 'attention', rows, keys: rows, causal: false, ...headDim(heads, D) },
    { op: 'kv_append', shape: 'hidden', rows, ...headDim(heads, D) },
    { op: 'layer_norm', shape: 'hidden', columns: D, rows },
    { op: 'activate', shape: 'mlp', columns: F, rows },
    { op: 'mean_rows', shape: 'pool', columns: D, rows: patches },
    { op: 'patch_embed', shape: 'patches', columns: D, imageSize, patchSize, rows },
  ]
}

/** Every op on every shape it has in LLaVA 1.5: `7b.gate_up`, `vision.fc1`. */
export const opShapes: readonly OpShape[] = [
  ...(Object.keys(decoders) as DecoderName[]).flatMap((decoder) =>
    named(decoder, [...decoderLinears(decoder), ...projectorLinears(decoder), ...decoderOps(decoder)]),
  ),
  ...named('vision', visionOps()),
]

function named(model: string, shapes: readonly OpShape[]): OpShape[] {
  return shapes.map((one) => ({ ...one, shape: `${model}.${one.shape}` }))
}
