// CLIP ViT-L/14-336 up to LLaVA's layer, and the 7B projector, as an ONNX file: pixel_values [1, 3, 336, 336] to
// projected rows [1, 576, D].

import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { clipTower, Graph, valueInfo } from './onnx-graph.js'
import { decoders, patches, visionTower } from './shapes.js'

const weightsFile = 'weights.bin'

function projector(g: Graph, x: string, width: number): string {
  const inner = g.linear(g.rows(x, 1, patches + 1), visionTower.hiddenSize, width)
  const erf = g.node('Erf', [g.node('Mul', [inner, g.constant([Math.SQRT1_2], 'float', [])])])
  const gelu = g.node('Mul', [
    g.node('Mul', [inner, g.constant([0.5], 'float', [])]),
    g.node('Add', [erf, g.constant([1], 'float', [])]),
  ])
  return g.linear(gelu, width, width)
}

/** Writes the model into `directory` and resolves to its path. */
export async function writeClipOnnx(directory: string): Promise<string> {
  const { imageSize } = visionTower
  const width = decoders['7b'].hiddenSize
  const g = new Graph(weightsFile)
  const y = projector(g, clipTower(g, visionTower), width)
  const out = g.node('Identity', [y])
  const values = Float32Array.from({ length: width * width }, (_, n) => Math.sin(n) * 0.02)
  await writeFile(path.join(directory, weightsFile), values)
  const file = path.join(directory, 'clip.onnx')
  await writeFile(
    file,
    g.model(valueInfo(11, 'pixel_values', [1, 3, imageSize, imageSize]), valueInfo(12, out, [1, patches, width])),
  )
  return file
}
