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

/** How a picture's rows in the prompt lie on its patches. */
export interface PatchGrid {
  /** Patches down, and as many across. */
  readonly side: number
  /** Rows before those of patches: CLIP's class row where the checkpoint keeps it. */
  readonly extraRows: number
  /** First patches that have no row: of SigLIP one where the checkpoint drops the first row. */
  readonly missing: number
}

export function patchGrid(vision: VisionConfig): PatchGrid {
  const more = imageRows(vision) - patchCount(vision)
  return { side: Math.sqrt(patchCount(vision)), extraRows: Math.max(0, more), missing: Math.max(0, -more) }
}
