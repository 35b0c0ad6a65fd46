// LLaVA 1.5's real shapes, once: what the benches run on. Hyper-parameters of lmsys/vicuna-{7b,13b}-v1.5 and openai/clip-vit-large-patch14-336.

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
export const visionTower = { hiddenSize: 1024, intermediateSize: 4096, layers: 23, heads: 16, imageSize: 336, patchSize: 14 } as const

/** A product as the model calls it: outputs share x; residual, bias and activation as in the paper. */
export interface LinearShape {
  readonly shape: string
  /** N */
  readonly columns: number
  /** K */
  readonly depth: number
  readonly outputs: number
  readonly bias?: boolean
  readonly residual?: boolean
  readonly activation?: 'quick_gelu' | 'gelu'
  /** Rows that this product always has: a picture's. */
  readonly rows?: number
}

export type DecoderName = keyof typeof decoders

export function decoderLinears(decoder: DecoderName): readonly LinearShape[] {
  const { hiddenSize: D, intermediateSize: F, vocabSize: V } = decoders[decoder]
  return [
    { shape: 'qkv', columns: D, depth: D, outputs: 3 },
    { shape: 'o', columns: D, depth: D, outputs: 1, residual: true },
    { shape: 'gate_up', columns: F, depth: D, outputs: 2 },
    { shape: 'down', columns: D, depth: F, outputs: 1, residual: true },
    { shape: 'lm_head', columns: V, depth: D, outputs: 1 },
  ]
}

/** P: rows of a picture after the class row is dropped. */
export const patches = (visionTower.imageSize / visionTower.patchSize) ** 2

export const visionLinears: readonly LinearShape[] = (() => {
  const { hiddenSize: D, intermediateSize: F } = visionTower
  const rows = patches + 1
  return [
    { shape: 'vision_qkv', columns: D, depth: D, outputs: 3, bias: true, rows },
    { shape: 'vision_out', columns: D, depth: D, outputs: 1, bias: true, residual: true, rows },
    { shape: 'vision_fc1', columns: F, depth: D, outputs: 1, bias: true, activation: 'quick_gelu', rows },
    { shape: 'vision_fc2', columns: D, depth: F, outputs: 1, bias: true, residual: true, rows },
  ]
})()

export function projectorLinears(decoder: DecoderName): readonly LinearShape[] {
  const { hiddenSize: D } = decoders[decoder]
  return [
    { shape: 'projector_1', columns: D, depth: visionTower.hiddenSize, outputs: 1, bias: true, activation: 'gelu', rows: patches },
    { shape: 'projector_2', columns: D, depth: D, outputs: 1, bias: true, rows: patches },
  ]
}
