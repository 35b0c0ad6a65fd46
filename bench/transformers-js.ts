// transformers.js on the same pictures, where it is installed: a CLIP of ViT-B/32's shape with random weights, as an
// ONNX file beside the checkpoint's own
// configuration. Its package is no dependency of this one; `npm install --no-save @huggingface/transformers` brings it.

import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { clipB32 } from './clip-batches.js'
import { clipTower, Graph, valueInfo } from './onnx-graph.js'
import { optional } from './optional.js'

/** What is used of the library. */
interface Transformers {
  readonly env: { allowRemoteModels: boolean; localModelPath: string }
  readonly AutoProcessor: { from_pretrained(name: string): Promise<(images: readonly unknown[]) => Promise<object>> }
  readonly CLIPVisionModelWithProjection: {
    from_pretrained(
      name: string,
      options: object,
    ): Promise<
      ((inputs: object) => Promise<{ readonly image_embeds: { readonly dims: readonly number[] } }>) & {
        dispose(): Promise<unknown>
      }
    >
  }
  readonly RawImage: { read(file: string): Promise<unknown> }
}

export interface TransformersJs {
  /** Embeds all files, so many at a time. */
  embed(files: readonly string[], batch: number): Promise<void>
  dispose(): Promise<void>
}

/**
 * @param checkpoint a directory as transformers saves a CLIPModel; `onnx` is put into it. `undefined`: the library is
 * not installed
 */
export async function openTransformersJs(checkpoint: string, threads: number): Promise<TransformersJs | undefined> {
  const library = await optional<Transformers>('@huggingface/transformers')
  if (library === undefined) return undefined
  await writeVisionModel(path.join(checkpoint, 'onnx'))
  const { env, AutoProcessor, CLIPVisionModelWithProjection, RawImage } = library
  env.allowRemoteModels = false
  env.localModelPath = path.dirname(checkpoint)
  const name = path.basename(checkpoint)
  const processor = await AutoProcessor.from_pretrained(name)
  const model = await CLIPVisionModelWithProjection.from_pretrained(name, {
    dtype: 'fp32',
    device: 'cpu',
    use_external_data_format: true,
    ...(threads > 0 && { session_options: { intraOpNumThreads: threads } }),
  })
  return {
    async embed(files, batch) {
      for (let n = 0; n < files.length; n += batch) {
        const images = await Promise.all(files.slice(n, n + batch).map((file) => RawImage.read(file)))
        const { image_embeds } = await model(await processor(images))
        if (image_embeds.dims.join() !== `${images.length},${clipB32.projectionDim}`)
          throw new Error(`transformers.js gave vectors of ${image_embeds.dims.join(' x ')}`)
      }
    },
    async dispose() {
      await model.dispose()
    },
  }
}

const weightsFile = 'vision_model.onnx_data'

/** pixel_values [N, 3, 224, 224] to image_embeds [N, 512]. */
async function writeVisionModel(directory: string): Promise<void> {
  const { vision, projectionDim } = clipB32
  const { hiddenSize: D, intermediateSize: F, imageSize, patchSize } = vision
  const g = new Graph(weightsFile)
  const pooled = g.layerNorm(g.node('Squeeze', [g.rows(clipTower(g, vision), 0, 1), g.constant([1], 'int64', [1])]), D)
  g.node('MatMul', [pooled, g.weight(D, projectionDim)], {}, 'image_embeds')
  await mkdir(directory, { recursive: true })
  const most = Math.max(D * F, D * 3 * patchSize ** 2)
  await writeFile(
    path.join(directory, weightsFile),
    Float32Array.from({ length: most }, (_, n) => Math.sin(n) * 0.02),
  )
  const [input, output] = [
    valueInfo(11, 'pixel_values', [0, 3, imageSize, imageSize]),
    valueInfo(12, 'image_embeds', [0, projectionDim]),
  ]
  await writeFile(path.join(directory, 'vision_model.onnx'), g.model(input, output))
}
