// Pictures as vectors, from JPEG files to CLIP's space: how much of the tower's own speed, and of the FMA peak, is left with decoding and resizing before it.
// A CLIP of ViT-B/32's shape in float32 with random weights; JPEGs of 640 × 480 with noise, so that decoding takes what photographs take.

import { randomFillSync } from 'node:crypto'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { LLaVA } from '../lib/index.js'
import { native } from '../lib/native.js'
import { median } from '../lib/benchmark/statistics.js'
import { describeClip } from '../lib/weights/describe-clip.js'
import { writeSafetensors } from '../lib/weights/safetensors-writer.js'
import { clipB32, clipOptions, clipTensors, pictureOperations } from './clip-batches.js'

export interface EmbedBenchOptions {
  readonly directory: string
  /** Default: all the process may use. */
  readonly threads?: number
  /** JPEGs; default 64. */
  readonly pictures?: number
  /** Turns, of which the median counts; default 5. */
  readonly repeat?: number
}

export interface EmbedBenchLine {
  readonly device: string
  readonly threads: number
  /** `tower`: pixel_values in batches of 16, nothing else; `list`: one `embed` of all; `at once`: an `embed` each; `in turns`: one after the other. */
  readonly how: 'tower' | 'list' | 'at once' | 'in turns'
  readonly picturesPerSecond: number
  /** Of the FMA peak of the same run. */
  readonly ratio: number
}

/** The package's small CLIP, whose tokenizer and text tower stand beside the large tower. */
const packaged = fileURLToPath(new URL('../../models/clip/', import.meta.url))
const batch = 16

export async function* measureEmbed(options: EmbedBenchOptions): AsyncGenerator<EmbedBenchLine> {
  const { directory, threads = 0, pictures = 64, repeat = 5 } = options
  const clip = await writeClip(path.join(directory, 'clip'))
  const files = await writePictures(directory, pictures)
  using model = await LLaVA.open(undefined, { clip, ...(threads > 0 && { threads }) })
  const { files: weights, tensors, config } = await describeClip(clip)
  const tower = await native().openClip(weights, tensors, config, clipOptions(threads))
  const bench = new (native().OpBench)({ isa: 'auto', threads })
  const kind = { kind: 'clip_image' } as const
  const pixels = new Float32Array(batch * 3 * clipB32.vision.imageSize ** 2).fill(0.5)
  const ways: Readonly<Record<EmbedBenchLine['how'], () => Promise<unknown>>> = {
    async tower() {
      for (let n = 0; n < pictures; n += batch) await tower.encodeImages(pixels, batch, null)
    },
    list: () => model.embed(files, kind),
    'at once': () => Promise.all(files.map((file) => model.embed(file, kind))),
    async 'in turns'() {
      for (const file of files) await model.embed(file, kind)
    },
  }
  const names = Object.keys(ways) as EmbedBenchLine['how'][]
  try {
    const info = bench.info()
    const rates = new Map(names.map((name) => [name, [] as number[]]))
    const peaks: number[] = []
    for (let turn = -1; turn < repeat; turn++) {
      const peak = (await bench.measurePeak('fma')).value
      if (turn >= 0) peaks.push(peak)
      for (const [name, all] of rates) {
        const start = performance.now()
        await ways[name]()
        if (turn >= 0) all.push((pictures / (performance.now() - start)) * 1000) // the first turn warms up
      }
    }
    for (const [how, all] of rates) {
      const picturesPerSecond = median(all)
      yield {
        device: info.device,
        threads: info.threads,
        how,
        picturesPerSecond,
        ratio: (picturesPerSecond * pictureOperations()) / 1e9 / median(peaks),
      }
    }
  } finally {
    bench.dispose()
    tower.dispose()
  }
}

/** A directory as transformers saves a CLIPModel. */
async function writeClip(directory: string): Promise<string> {
  const { config: small } = await describeClip(packaged)
  const { vision, projectionDim } = clipB32
  const config = { vision, text: small.text, projectionDim }
  await mkdir(directory, { recursive: true })
  const random = new Float32Array(2 ** 20)
  for (let n = 0; n < random.length; n++) random[n] = ((n * 7919) % 1009) / 32768 - 0.0154
  const tensors = clipTensors(config).map(({ name, shape, nbytes }) => {
    const data = new Float32Array(nbytes / 4)
    for (let at = 0; at < data.length; at += random.length) data.set(random.subarray(0, data.length - at), at)
    return [name.replace(/^vision_tower\./, 'vision_model.'), { shape, data }] as const
  })
  await writeSafetensors(path.join(directory, 'model.safetensors'), Object.fromEntries(tensors))
  const side = vision.imageSize
  const json = {
    'config.json': {
      model_type: 'clip',
      architectures: ['CLIPModel'],
      projection_dim: projectionDim,
      vision_config: {
        model_type: 'clip_vision_model',
        hidden_act: vision.activation,
        hidden_size: vision.hiddenSize,
        image_size: side,
        intermediate_size: vision.intermediateSize,
        layer_norm_eps: vision.layerNormEps,
        num_attention_heads: vision.heads,
        num_hidden_layers: vision.layers,
        patch_size: vision.patchSize,
      },
    },
    'preprocessor_config.json': { size: { shortest_edge: side }, crop_size: { height: side, width: side } },
  }
  const read = async (name: string) => JSON.parse(await readFile(path.join(packaged, name), 'utf8')) as object
  for (const [name, changed] of Object.entries(json))
    await writeFile(path.join(directory, name), JSON.stringify({ ...(await read(name)), ...changed }))
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(path.join(packaged, name), path.join(directory, name))
  return directory
}

async function writePictures(directory: string, count: number): Promise<string[]> {
  const [width, height] = [640, 480]
  const files: string[] = []
  for (let n = 0; n < count; n++) {
    const small = randomFillSync(Buffer.alloc(160 * 120 * 3))
    const file = path.join(directory, `${n}.jpg`)
    await sharp(small, { raw: { width: 160, height: 120, channels: 3 } })
      .resize(width, height)
      .jpeg()
      .toFile(file)
    files.push(file)
  }
  return files
}
