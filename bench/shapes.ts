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
