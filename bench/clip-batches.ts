// A CLIP of ViT-B/32's shape with random weights: pictures a second that go through its tower one by one and in batches, and the share of the FMA peak
// of the same run that their products are. Pictures come as pixel_values, so that nothing but the tower counts.

import { randomFillSync } from 'node:crypto'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { native, type ClipConfig, type Isa, type NativeOptions, type TensorEntry } from '../lib/native.js'
import { median } from '../lib/benchmark/statistics.js'

/** openai/clip-vit-base-patch32's vision tower; of the text tower as little as there can be. */
export const clipB32: ClipConfig = {
  vision: {
    hiddenSize: 768,
    intermediateSize: 3072,
    layers: 12,
    heads: 12,
    imageSize: 224,
    patchSize: 32,
    layerNormEps: 1e-5,
    activation: 'quick_gelu',
    dropClassRow: false,
  },
  text: {
    hiddenSize: 64,
    intermediateSize: 128,
    layers: 1,
    heads: 1,
    vocabSize: 16,
    contextLength: 8,
    layerNormEps: 1e-5,
    activation: 'quick_gelu',
  },
  projectionDim: 512,
}

/** openai/clip-vit-large-patch14-336's vision tower, with the same. */
export const clipL14: ClipConfig = {
  ...clipB32,
  vision: {
    ...clipB32.vision,
    hiddenSize: 1024,
    intermediateSize: 4096,
    layers: 24,
    heads: 16,
    imageSize: 336,
    patchSize: 14,
  },
  projectionDim: 768,
}

/** Float32 throughout. */
export function clipOptions(threads: number): NativeOptions {
  return { device: 'cpu', threads, isa: 'auto', kvCache: 'f32', arithmetic: 'fast', weights: 'mapped' }
}

export interface ClipBatchLine {
  readonly device: string
  readonly isa: Isa
  readonly threads: number
  /** Pictures of one call. */
  readonly batch: number
  readonly picturesPerSecond: number
  /** Of the tower's products and attention, and of FMA instructions alone in the same run. */
  readonly gflops: number
  readonly peak: number
  readonly ratio: number
}

export interface ClipBatchOptions {
  readonly directory: string
  readonly threads: number
  readonly batches: readonly number[]
  readonly repeat: number
}

export async function* benchClipBatches(options: ClipBatchOptions): AsyncGenerator<ClipBatchLine> {
  const { directory, threads, batches, repeat } = options
  const file = path.join(directory, 'clip-b32.f32')
  const tensors = clipTensors(clipB32)
  await writeWeights(file, tensors.at(-1)!.offset + tensors.at(-1)!.nbytes)
  const clip = await native().openClip([file], tensors, clipB32, clipOptions(threads))
  const bench = new (native().OpBench)({ isa: 'auto', threads })
  try {
    const info = bench.info()
    for (const batch of batches) {
      const pixels = Float32Array.from({ length: batch * 3 * clipB32.vision.imageSize ** 2 }, (_, n) => Math.sin(n))
      await clip.encodeImages(pixels, batch, null)
      const seconds: number[] = []
      const peaks: number[] = []
      for (let n = 0; n < repeat; n++) {
        peaks.push((await bench.measurePeak('fma')).value)
        const start = performance.now()
        await clip.encodeImages(pixels, batch, null)
        seconds.push((performance.now() - start) / 1000)
      }
      const picturesPerSecond = batch / median(seconds)
      const gflops = (picturesPerSecond * pictureOperations()) / 1e9
      const peak = median(peaks)
      yield { ...info, batch, picturesPerSecond, gflops, peak, ratio: gflops / peak }
    }
  } finally {
    bench.dispose()
    clip.dispose()
  }
}

/** Multiplications and additions of one picture: the patch product, and per layer q, k, v, out, fc1, fc2 and attention. */
export function pictureOperations({ vision }: ClipConfig = clipB32): number {
  const { hiddenSize: D, intermediateSize: F, layers, imageSize, patchSize } = vision
  const patches = (imageSize / patchSize) ** 2
  const T = patches + 1
  return 2 * patches * 3 * patchSize ** 2 * D + layers * (2 * T * (4 * D * D + 2 * D * F) + 4 * T * T * D)
}

/** Every tensor of the config as float32, one after the other. */
export function clipTensors({ vision, text, projectionDim }: ClipConfig): TensorEntry[] {
  const tensors: TensorEntry[] = []
  let offset = 0
  const add = (name: string, ...shape: readonly number[]) => {
    const nbytes = 4 * shape.reduce((product, size) => product * size, 1)
    tensors.push({ name, dtype: 'F32', shape, file: 0, offset, nbytes })
    offset += nbytes
  }
  const withBias = (name: string, ...shape: readonly [number, ...number[]]) => {
    add(`${name}.weight`, ...shape)
    add(`${name}.bias`, shape[0])
  }
  const layers = (encoder: string, count: number, D: number, F: number) => {
    for (let layer = 0; layer < count; layer++) {
      const at = `${encoder}.layers.${layer}`
      for (const norm of ['layer_norm1', 'layer_norm2']) withBias(`${at}.${norm}`, D)
      for (const projection of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
        withBias(`${at}.self_attn.${projection}`, D, D)
      withBias(`${at}.mlp.fc1`, F, D)
      withBias(`${at}.mlp.fc2`, D, F)
    }
  }
  add('vision_tower.embeddings.class_embedding', vision.hiddenSize)
  add('vision_tower.embeddings.patch_embedding.weight', vision.hiddenSize, 3, vision.patchSize, vision.patchSize)
  add(
    'vision_tower.embeddings.position_embedding.weight',
    (vision.imageSize / vision.patchSize) ** 2 + 1,
    vision.hiddenSize,
  )
  withBias('vision_tower.pre_layrnorm', vision.hiddenSize)
  layers('vision_tower.encoder', vision.layers, vision.hiddenSize, vision.intermediateSize)
  withBias('vision_tower.post_layernorm', vision.hiddenSize)
  add('visual_projection.weight', projectionDim, vision.hiddenSize)
  add('text_model.embeddings.token_embedding.weight', text.vocabSize, text.hiddenSize)
  add('text_model.embeddings.position_embedding.weight', text.contextLength, text.hiddenSize)
  layers('text_model.encoder', text.layers, text.hiddenSize, text.intermediateSize)
  withBias('text_model.final_layer_norm', text.hiddenSize)
  add('text_projection.weight', projectionDim, text.hiddenSize)
  return tensors
}

/** Random values of magnitudes from 1/64 to 1/32 and both signs. */
async function writeWeights(file: string, nbytes: number): Promise<void> {
  await using handle = await open(file, 'w')
  const some = new Uint32Array(2 ** 20)
  for (let at = 0; at < nbytes; at += some.byteLength) {
    randomFillSync(some)
    for (let n = 0; n < some.length; n++) some[n] = (some[n]! & 0x807fffff) | (121 << 23)
    await handle.write(Buffer.from(some.buffer, 0, Math.min(some.byteLength, nbytes - at)))
  }
}
