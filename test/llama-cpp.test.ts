// What llama.cpp makes of the pairs that convertModel writes: it must see the same picture. Runs where a
// Python has xllamacpp, llama.cpp as wheels of PyPI carry it: XLLAMACPP_PYTHON names it, else python3 is tried.

import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import sharp from 'sharp'
import { convertModel, LLaVA, type ConvertOptions, type Dtype } from '../lib/index.js'
import { finish } from '../lib/slices.js'
import { mmprojFields } from '../lib/weights/gguf-metadata.js'
import { layoutGguf } from '../lib/weights/gguf-writer.js'
import { readGgufHeader } from '../lib/weights/gguf.js'
import { describeModel } from '../lib/weights/describe-model.js'
import { isAtHand } from './at-hand.js'
import { temporaryFolder } from './weights/tiny-llava.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const python = process.env['XLLAMACPP_PYTHON'] ?? 'python3'
const atHand = isAtHand(python, ['-c', 'import xllamacpp'])

async function answerOfLlamaCpp(
  [model, mmproj]: readonly string[],
  picture: string,
  question: string,
  tokens: number,
): Promise<string> {
  const script = path.join(root, 'test/oracle/llama_cpp_answer.py')
  const { stdout } = await promisify(execFile)(python, [
    script,
    model ?? '',
    mmproj ?? '',
    picture,
    question,
    String(tokens),
  ])
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as string
}

async function pairOf(t: ExecutionContext, model: string, type: ConvertOptions['type']): Promise<readonly string[]> {
  const { files } = await convertModel(model, path.join(await temporaryFolder(t), 'pair'), { type, pair: true })
  return files.map((file) => file.path)
}

/** Their answers do not hang on the words around them: llama.cpp's template has no system text, and it puts a space behind a picture. */
const questions = ['What is in this picture?', 'Is there a dog in the picture?']

/** The demo picture at the tower's own size: llama.cpp resizes in its own way. */
async function demo(t: ExecutionContext, model: LLaVA): Promise<string> {
  const picture = path.join(await temporaryFolder(t), 'demo.png')
  const size = model.info().vision?.imageSize
  await sharp(path.join(root, 'models/demo.png')).resize(size, size).png().toFile(picture)
  return picture
}

async function compareAnswers(t: ExecutionContext, pair: readonly string[]): Promise<void> {
  await using ours = await LLaVA.open(pair[0])
  const picture = await demo(t, ours)
  for (const question of questions) {
    const { text } = await ours.ask(picture, question, { maxTokens: 60 })
    t.is(await answerOfLlamaCpp(pair, picture, question, 60), text)
  }
}

const ifAtHand = atHand ? test.serial : test.serial.skip
const missing = atHand
  ? ''
  : ' (skipped: no xllamacpp; pip install xllamacpp, or name a Python that has it in XLLAMACPP_PYTHON)'

for (const type of ['f16', 'q8_0'] as const) {
  ifAtHand(
    `llama.cpp gives our answers on the pair of the small model in ${type}, word for word${missing}`,
    async (t) => {
      await compareAnswers(t, await pairOf(t, path.join(root, 'models/default.gguf'), type))
    },
  )
}

/** The pair with layers of zeros, which change nothing, before those of its tower, so that there are 24: then llama.cpp takes it for CLIP ViT-L's. */
async function deepened([model = '', mmproj = '']: readonly string[]): Promise<void> {
  const description = await describeModel(model)
  const vision = description.config.vision!
  const added = 24 - vision.layers
  const tensors = (await readGgufHeader(mmproj)).tensors.map((tensor) => ({ ...tensor, dtype: tensor.dtype as Dtype }))
  const bytes = await readFile(mmproj)
  const stored = tensors.map((tensor) => ({
    ...tensor,
    name: tensor.name.replace(/^v\.blk\.(\d+)/, (_, layer: string) => `v.blk.${Number(layer) + added}`),
    data: bytes.subarray(tensor.offset, tensor.offset + tensor.nbytes),
  }))
  const first = tensors.filter(({ name }) => name.startsWith('v.blk.0.'))
  const zeros = Array.from({ length: added }, (_, layer) =>
    first.map((tensor) => ({
      ...tensor,
      name: tensor.name.replace('v.blk.0.', `v.blk.${layer}.`),
      data: Buffer.alloc(tensor.nbytes),
    })),
  )
  const all = [...stored, ...zeros.flat()]
  const deep = { ...description, config: { ...description.config, vision: { ...vision, layers: 24 } } }
  const { header, extents } = finish(layoutGguf(mmprojFields(deep, 1), all))
  await writeFile(
    mmproj,
    Buffer.concat([header, ...all.flatMap(({ data }, n) => [data, Buffer.alloc(extents[n]?.padding ?? 0)])]),
  )
}

ifAtHand(`llama.cpp gives our answers on a pair whose tower has 24 layers${missing}`, async (t) => {
  const pair = await pairOf(t, path.join(root, 'models/default.gguf'), 'f16')
  await deepened(pair)
  const again = await pairOf(t, pair[0] ?? '', 'f16')
  t.is((await describeModel(again[0] ?? '')).config.vision?.layers, 24)
  await compareAnswers(t, again)
})
