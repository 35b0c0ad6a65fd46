import test from 'ava'
import type { VisionConfig } from '../../lib/native.js'
import { imageRows, patchCount, towerRows } from '../../lib/weights/tower-rows.js'

const clip: VisionConfig = {
  hiddenSize: 1024,
  intermediateSize: 4096,
  layers: 23,
  heads: 16,
  imageSize: 336,
  patchSize: 14,
  layerNormEps: 1e-5,
  activation: 'quick_gelu',
  dropClassRow: true,
}
const siglip: VisionConfig = {
  ...clip,
  tower: 'siglip',
  imageSize: 384,
  activation: 'gelu_pytorch_tanh',
  dropClassRow: false,
}

const towers: readonly (readonly [
  what: string,
  vision: VisionConfig,
  patches: number,
  tower: number,
  image: number,
])[] = [
  ['CLIP, class row dropped', clip, 576, 577, 576],
  ['CLIP, class row kept', { ...clip, dropClassRow: false }, 576, 577, 577],
  ['SigLIP, whose 384 pixels are no multiple of 14', siglip, 729, 729, 729],
  ['SigLIP, first patch dropped', { ...siglip, dropClassRow: true }, 729, 729, 728],
]

for (const [what, vision, patches, tower, image] of towers) {
  test(`rows of a picture: ${what}`, (t) => {
    t.deepEqual([patchCount(vision), towerRows(vision), imageRows(vision)], [patches, tower, image])
  })
}
