// How many rows a picture is on its way through the tower: CLIP's class row before the patches, or SigLIP's patches alone.

import type { VisionConfig } from '../native.js'

/** Patches of a picture; what is left of it beyond the last whole one is not looked at. */
export function patchCount({ imageSize, patchSize }: Pick<VisionConfig, 'imageSize' | 'patchSize'>): number {
  return Math.floor(imageSize / patchSize) ** 2
}

/** Rows the tower computes, and the position table has: the patches, and before them CLIP's class row. */
export function towerRows(vision: Pick<VisionConfig, 'tower' | 'imageSize' | 'patchSize'>): number {
  return patchCount(vision) + (vision.tower === 'siglip' ? 0 : 1)
}

/** Rows a picture takes in the prompt. */
export function imageRows(vision: VisionConfig): number {
  return towerRows(vision) - (vision.dropClassRow ? 1 : 0)
}
