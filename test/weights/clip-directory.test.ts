import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { native } from '../../lib/native.js'
import type { ClipDescription } from '../../lib/weights/clip-description.js'
import { describeClip } from '../../lib/weights/describe-clip.js'
import { readSafetensorsHeader } from '../../lib/weights/safetensors.js'
import { temporaryFolder, tiny, writeFiles } from './tiny-llava.js'
import { clipCheckpoint, clipShapes, clipText, clipVocabulary } from './tiny-original.js'

const golden = fileURLToPath(new URL('../../../test/fixtures/golden/original-bin/', import.meta.url))

async function describe(t: ExecutionContext, files: Readonly<Record<string, unknown>>): Promise<ClipDescription> {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, files)
  return describeClip(folder)
}

const shapesOf = ({ tensors }: ClipDescription): Record<string, readonly number[]> =>
  Object.fromEntries(tensors.map(({ name, shape }) => [name, shape]))

test('a CLIP directory gives both towers whole, their sizes and the files of its tokenizer', async (t) => {
  const clip = await describe(t, clipCheckpoint())
  t.deepEqual(shapesOf(clip), Object.fromEntries(clipShapes()))
  t.deepEqual(clip.config.text, {
    hiddenSize: clipText.D,
    intermediateSize: clipText.F,
    layers: clipText.layers,
    heads: clipText.heads,
    vocabSize: clipText.vocab,
    contextLength: clipText.context,
    layerNormEps: 1e-5,
    activation: 'quick_gelu',
  })
  t.like(clip.config.vision, { layers: tiny.visionLayers, dropClassRow: false, imageSize: tiny.image })
  t.is(clip.config.projectionDim, clipText.projection)
  t.like(clip.imageProcessor, { aspectRatio: 'crop', imageSize: tiny.image })
  t.deepEqual(clip.tokenizer.pieces.toSorted(), Object.keys(clipVocabulary).toSorted())
})

test('tokenizer.json alone will do', async (t) => {
  const model = { end_of_word_suffix: '</w>', vocab: clipVocabulary, merges: [] }
  const clip = await describe(t, { ...clipCheckpoint(), 'vocab.json': undefined, 'tokenizer.json': { model } })
  t.deepEqual(clip.tokenizer.pieces.toSorted(), Object.keys(clipVocabulary).toSorted())
})

// ---- against transformers, by native code

async function tensorsOf(file: string): Promise<(name: string) => ArrayBuffer> {
  const [bytes, entries] = [readFileSync(file), await readSafetensorsHeader(file)]
  return (name) => {
    const entry = entries.find((each) => each.name === name)
    if (entry === undefined) throw new Error(`${file} lacks ${name}`)
    return Uint8Array.from(bytes.subarray(entry.offset, entry.offset + entry.nbytes)).buffer
  }
}

/** As for the stages of a whole model: a share of the largest value. */
const bound = 1e-4

test('embeddings of a picture and of a text equal those of transformers', async (t) => {
  const { files, tensors, config } = await describeClip(path.join(golden, 'clip-vit-tiny'))
  const expected = await tensorsOf(path.join(golden, 'clip.safetensors'))
  for (const isa of native().cpuInfo().isas) {
    const clip = await native().openClip(files, tensors, config, {
      device: 'cpu',
      threads: 1,
      isa,
      kvCache: 'f32',
      arithmetic: 'exact',
      weights: 'mapped',
    })
    const cancellation = new (native().Cancellation)()
    const image = await clip.encodeImages(new Float32Array(expected('pixel_values')), 1, cancellation)
    const text = await clip.encodeTexts([new Int32Array(expected('input_ids'))], cancellation)
    for (const [name, actual] of [
      ['image_embedding', image],
      ['text_embedding', text],
    ] as const) {
      const reference = new Float32Array(expected(name))
      const scale = Math.max(...reference.map(Math.abs))
      const error = Math.max(...reference.map((value, i) => Math.abs(value - (actual[i] ?? NaN)))) / scale
      t.true(error <= bound && actual.length === reference.length, `${name} on ${isa} departs by ${error}`)
    }
    clip.dispose()
  }
})
