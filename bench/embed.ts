// Pictures as vectors, from JPEG files to CLIP's space: how much of the tower's own speed, and of the FMA peak, is left with decoding and resizing before it.
// A CLIP of ViT-B/32's shape in float32 and Q8_0 with random weights, and transformers.js where it is installed; or
// ViT-L/14-336 in Q8_0. JPEGs of 640 × 480 with noise, so that decoding takes what photographs take.

import { randomFillSync } from 'node:crypto'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { batchSize } from '../lib/engine/picture-batches.js'
import { convertModel, LLaVA } from '../lib/index.js'
import { native, type ClipConfig, type NativeClip } from '../lib/native.js'
import { median } from '../lib/benchmark/statistics.js'
import { describeClip } from '../lib/weights/describe-clip.js'
import { writeSafetensors } from '../lib/weights/safetensors-writer.js'
import { towerRows } from '../lib/weights/tower-rows.js'
import { clipB32, clipL14, clipOptions, clipTensors, pictureOperations } from './clip-batches.js'
import { openTransformersJs } from './transformers-js.js'

export interface EmbedBenchOptions {
  readonly directory: string
  /** Default: all the process may use. */
  readonly threads?: number
  /** JPEGs; default 64. */
  readonly pictures?: number
  /** Turns, of which the median counts; default 5. */
  readonly repeat?: number
  /** Measures ViT-L/14-336 in Q8_0 in place of ViT-B/32; default false. */
  readonly large?: boolean
}

export interface EmbedBenchLine {
  readonly device: string
  readonly threads: number
  /** `ViT-B/32 F32`, … or `transformers.js`. */
  readonly model: string
  /**
   * `tower`: pixel_values in batches, nothing else; `list`: one `embed` of all; `at once`: an `embed` each; `in turns`:
   * one after the other; `batches of n`.
   */
  readonly how: string
  readonly picturesPerSecond: number
  /** Of the FMA peak of the same run. */
  readonly ratio: number
  /** Of Q8_0: the least cosine to the vector of the float32 model, over all pictures. */
  readonly leastCosine?: number
}

/** The package's small CLIP, whose tokenizer and text tower stand beside the large tower. */
const packaged = fileURLToPath(new URL('../../models/clip/', import.meta.url))
const kind = { kind: 'clip_image', normalize: true } as const

/** One way of embedding all pictures. */
interface Way {
  readonly model: string
  readonly how: string
  readonly run: () => Promise<unknown>
  readonly leastCosine?: number
}

/** All ways in turns, with the peak before each. */
export async function* measureEmbed(options: EmbedBenchOptions): AsyncGenerator<EmbedBenchLine> {
  const { directory, threads = 0, pictures = 64, repeat = 5, large = false } = options
  const shape = large ? clipL14 : clipB32
  const name = large ? 'ViT-L/14-336' : 'ViT-B/32'
  const files = await writePictures(directory, pictures)
  const floats = await writeClip(path.join(directory, 'clip'), shape)
  const bytes = path.join(directory, 'clip-q8_0.gguf')
  await convertModel(floats, bytes, { type: 'q8_0' })
  const disposals: (() => unknown)[] = []
  try {
    const ways: Way[] = []
    const vectors = new Map<string, readonly Float32Array[]>()
    for (const [type, clip] of [...(large ? [] : [['F32', floats] as const]), ['Q8_0', bytes] as const]) {
      const model = await LLaVA.open(undefined, { clip, ...(threads > 0 && { threads }) })
      disposals.push(() => {
        model.dispose()
      })
      const { files: weights, tensors, config } = await describeClip(clip)
      const tower = await native().openClip(weights, tensors, config, clipOptions(threads))
      disposals.push(() => {
        tower.dispose()
      })
      vectors.set(type, rowsOf(await model.embed(files, kind)))
      ways.push(...waysOf(`${name} ${type}`, { model, tower, shape, files, leastCosine: leastCosine(vectors) }))
    }
    const peer = large ? undefined : await openTransformersJs(floats, threads)
    if (peer !== undefined) {
      disposals.push(() => peer.dispose())
      for (const batch of [1, 4, 16])
        ways.push({ model: 'transformers.js', how: `batches of ${batch}`, run: () => peer.embed(files, batch) })
    }
    yield* inTurns(ways, { threads, pictures, repeat, operations: pictureOperations(shape) })
  } finally {
    for (const dispose of disposals.toReversed()) await dispose()
  }
}

function waysOf(
  name: string,
  parts: {
    readonly model: LLaVA
    readonly tower: NativeClip
    readonly shape: ClipConfig
    readonly files: readonly string[]
    readonly leastCosine: number | undefined
  },
): Way[] {
  const { model, tower, shape, files, leastCosine: cosine } = parts
  const { vision } = shape
  const batch = batchSize(towerRows(vision), tower.info().towerRows)
  const pixels = new Float32Array(batch * 3 * vision.imageSize ** 2).fill(0.5)
  const ways: Readonly<Record<string, () => Promise<unknown>>> = {
    async tower() {
      for (let n = 0; n < files.length; n += batch) {
        const count = Math.min(batch, files.length - n)
        await tower.encodeImages(pixels.subarray(0, (count * pixels.length) / batch), count, null)
      }
    },
    list: () => model.embed(files, kind),
    'at once': () => Promise.all(files.map((file) => model.embed(file, kind))),
    async 'in turns'() {
      for (const file of files) await model.embed(file, kind)
    },
  }
  return Object.entries(ways).map(([how, run]) => ({
    model: name,
    how,
    run,
    ...(how === 'list' && cosine !== undefined && { leastCosine: cosine }),
  }))
}

async function* inTurns(
  ways: readonly Way[],
  {
    threads,
    pictures,
    repeat,
    operations,
  }: { readonly threads: number; readonly pictures: number; readonly repeat: number; readonly operations: number },
): AsyncGenerator<EmbedBenchLine> {
  const bench = new (native().OpBench)({ isa: 'auto', threads })
  try {
    const rates = ways.map((): number[] => [])
    const peaks: number[] = []
    for (let turn = -1; turn < repeat; turn++) {
      const peak = (await bench.measurePeak('fma')).value
      if (turn >= 0) peaks.push(peak)
      for (const [n, { run }] of ways.entries()) {
        const start = performance.now()
        await run()
        if (turn >= 0) rates[n]?.push((pictures / (performance.now() - start)) * 1000) // the first turn warms up
      }
    }
    const { device, threads: used } = bench.info()
    for (const [n, { model, how, leastCosine: cosine }] of ways.entries()) {
      const picturesPerSecond = median(rates[n] ?? [])
      const ratio = (picturesPerSecond * operations) / 1e9 / median(peaks)
      const line = { device, threads: used, model, how, picturesPerSecond, ratio }
      yield cosine === undefined ? line : { ...line, leastCosine: cosine }
    }
  } finally {
    bench.dispose()
  }
}

function rowsOf(embeddings: readonly { readonly data: Float32Array }[]): readonly Float32Array[] {
  return embeddings.map(({ data }) => data)
}

/** Of vectors of length 1, of both types where there are both. */
function leastCosine(vectors: ReadonlyMap<string, readonly Float32Array[]>): number | undefined {
  const [floats, bytes] = [vectors.get('F32'), vectors.get('Q8_0')]
  if (floats === undefined || bytes === undefined) return undefined
  return Math.min(...floats.map((row, n) => row.reduce((sum, value, at) => sum + value * (bytes[n]?.[at] ?? 0), 0)))
}

/** A directory as transformers saves a CLIPModel. */
export async function writeClip(directory: string, shape: ClipConfig): Promise<string> {
  const { config: small } = await describeClip(packaged)
  const { vision, projectionDim } = shape
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
