// A checkpoint and the GGUF made of it are the same model: same pixels, ids, stages and text. And a run that fails leaves nothing behind.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import {
  checkModel,
  conversionTypes,
  convertModel,
  LLaVA,
  type ConvertOptions,
  type OpenOptions,
  type Trace,
} from '../../lib/index.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import { checkpoint, temporaryFolder, textShapes, tiny, visionShapes, writeFiles } from '../weights/tiny-llava.js'

const goldens = fileURLToPath(new URL('../../../test/fixtures/golden/', import.meta.url))

type Parts = Pick<OpenOptions, 'mmproj' | 'visionTower' | 'adapter'>

interface Case {
  readonly model: string
  readonly parts: Parts
  readonly image: string
  readonly prompt: string
  readonly maxTokens: number
}

function readCase(name: string): Case {
  const json = JSON.parse(readFileSync(path.join(goldens, name, 'case.json'), 'utf8')) as Parts & Omit<Case, 'parts'>
  const at = (file: string): string => path.join(goldens, name, file)
  const parts = (['mmproj', 'visionTower', 'adapter'] as const).flatMap((part) =>
    json[part] === undefined ? [] : [[part, at(json[part])] as const],
  )
  return {
    model: at(json.model),
    parts: Object.fromEntries(parts),
    image: at(json.image),
    prompt: json.prompt,
    maxTokens: json.maxTokens,
  }
}

async function traceOf({ image, prompt, maxTokens }: Case, model: string, parts: Parts): Promise<Trace> {
  using opened = await LLaVA.open(model, { ...parts, threads: 2 })
  return await opened.trace(image, prompt, { maxTokens })
}

/** max|Δ| / max|reference| */
function departure(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity
  let [difference, scale] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs((actual[i] as number) - (expected[i] as number)))
    scale = Math.max(scale, Math.abs(expected[i] as number))
  }
  return difference === 0 ? 0 : difference / scale
}

// Products are added up in another order where rows have been permuted or an adapter merged: float32 rounding over a few hundred terms.
const rounding = 1e-5

for (const name of readdirSync(goldens)) {
  for (const pair of [false, true]) {
    test(`${name} as ${pair ? 'a pair' : 'one file'} of f32 is the model it was made of`, async (t) => {
      const golden = readCase(name)
      const { files } = await convertModel(golden.model, path.join(await temporaryFolder(t), 'out.gguf'), {
        type: 'f32',
        pair,
        ...golden.parts,
      })
      t.is(files.length, pair ? 2 : 1)
      const expected = await traceOf(golden, golden.model, golden.parts)
      const actual = await traceOf(golden, files[0]!.path, {}) // a pair's mmproj is found beside it
      for (const stage of ['pixelValues', 'inputIds', 'generated'] as const)
        t.deepEqual(actual[stage], expected[stage], stage)
      for (const stage of ['imageFeatures', 'projected', 'logits'] as const) {
        const measured = departure(actual[stage].data, expected[stage].data)
        t.true(measured <= rounding, `${stage} departs by ${measured}`)
      }
    })
  }

  test(`what ${name} says beside its weights is in the file made of it`, async (t) => {
    const { model, parts } = readCase(name)
    const { files } = await convertModel(model, path.join(await temporaryFolder(t), 'out.gguf'), {
      type: 'f32',
      ...parts,
    })
    const [before, after] = [await describeModel(model, parts), await describeModel(files[0]!.path)]
    const { ropeInvFreq: frequencies, ...text } = before.config.text
    const { ropeInvFreq, ropeLayout, rmsNormEps, ...textAfter } = after.config.text
    t.is(ropeLayout, 'interleaved')
    t.is(Math.fround(text.rmsNormEps), rmsNormEps)
    const { rope, ropeLayout: layout } = text // a GGUF has other words for the same frequencies, and float32 for the rest
    t.deepEqual({ ...textAfter, rope, ropeLayout: layout, rmsNormEps: text.rmsNormEps }, text)
    for (const [j, frequency] of frequencies.entries())
      t.true(Math.abs((ropeInvFreq[j] as number) / frequency - 1) <= 2 ** -23)
    t.deepEqual(
      { ...after.config.vision, layerNormEps: 0 },
      { projectorLayers: 2, ...before.config.vision, layerNormEps: 0 },
    )
    t.deepEqual(after.imageToken, before.imageToken)
    t.deepEqual(after.imageTokens, before.imageTokens)
    t.is(after.chatTemplate, before.chatTemplate)
    t.deepEqual(after.generation.eosTokenIds, before.generation.eosTokenIds)
    t.is(after.generation.temperature, before.generation.temperature)
    t.deepEqual(after.tokenizer.addedTokens, before.tokenizer.addedTokens)
    t.deepEqual([after.card.name, after.card.license], [before.card.name, before.card.license])
  })
}

for (const type of conversionTypes) {
  test(`${type}: a model opens, answers, and holds the types it should`, async (t) => {
    const { model, image } = readCase('hf-f16')
    const { files, weightDtypes } = await convertModel(model, path.join(await temporaryFolder(t), 'out.gguf'), { type })
    using opened = await LLaVA.open(files[0]!.path, { threads: 2 })
    t.true((await opened.ask(image, 'What is it?', { maxTokens: 4 })).tokenIds.length > 0)
    const { tensors } = await readGgufHeader(files[0]!.path)
    for (const { name, dtype, shape } of tensors) {
      if (shape.length === 1 || name === 'v.position_embd.weight') t.is(dtype, 'F32', name)
    }
    t.is(
      tensors.reduce((sum, { nbytes }) => sum + nbytes, 0),
      Object.values(weightDtypes).reduce((sum, nbytes) => sum + nbytes, 0),
    )
  })
}

/** A tiny checkpoint whose rows divide into K blocks, with weights that differ. */
async function wideCheckpoint(t: ExecutionContext, layers: number): Promise<string> {
  const sizes = { ...tiny, D: 256, F: 256, Dh: 64, layers }
  const files = checkpoint(new Map([...textShapes(sizes), ...visionShapes(tiny.visionLayers, sizes)]))
  const config = files['config.json'] as { text_config: object }
  files['config.json'] = {
    ...config,
    text_config: { ...config.text_config, hidden_size: 256, intermediate_size: 256, num_hidden_layers: layers },
  }
  const folder = path.join(await temporaryFolder(t), 'wide')
  await writeFiles(folder, files)
  return folder
}

async function typesOf(
  t: ExecutionContext,
  model: string,
  type: ConvertOptions['type'],
): Promise<ReadonlyMap<string, string>> {
  const { files } = await convertModel(model, path.join(await temporaryFolder(t), 'out.gguf'), { type })
  return new Map((await readGgufHeader(files[0]!.path)).tensors.map(({ name, dtype }) => [name, dtype]))
}

test('q4_k_m gives V and the way down more bits in the first and last eighth of the layers and every third between', async (t) => {
  const types = await typesOf(t, await wideCheckpoint(t, 16), 'q4_k_m')
  const better = Array.from({ length: 16 }, (_, n) => n).filter((n) => types.get(`blk.${n}.attn_v.weight`) === 'Q6_K')
  t.deepEqual(better, [0, 1, 4, 7, 10, 13, 14, 15]) // i < 2, i >= 14, (i - 2) mod 3 = 2
  for (let n = 0; n < 16; n++) {
    t.is(types.get(`blk.${n}.ffn_down.weight`), better.includes(n) ? 'Q6_K' : 'Q4_K')
    for (const leaf of ['attn_q', 'attn_k', 'attn_output', 'ffn_gate', 'ffn_up'])
      t.is(types.get(`blk.${n}.${leaf}.weight`), 'Q4_K')
  }
  t.is(types.get('output.weight'), 'Q6_K')
  t.is(types.get('token_embd.weight'), 'Q4_K')
  t.is(types.get('v.blk.0.attn_q.weight'), 'F16')
})

test('q3_k_m and q2_k mix as llama.cpp does', async (t) => {
  const model = await wideCheckpoint(t, 16)
  const three = await typesOf(t, model, 'q3_k_m')
  const ofLayers = (types: ReadonlyMap<string, string>, leaf: string): readonly unknown[] =>
    [0, 1, 2, 15].map((n) => types.get(`blk.${n}.${leaf}.weight`))
  t.deepEqual(ofLayers(three, 'attn_v'), ['Q5_K', 'Q5_K', 'Q4_K', 'Q4_K'])
  t.deepEqual(ofLayers(three, 'ffn_down'), ['Q5_K', 'Q4_K', 'Q4_K', 'Q4_K'])
  t.deepEqual(ofLayers(three, 'attn_output'), ['Q4_K', 'Q4_K', 'Q4_K', 'Q4_K'])
  t.deepEqual(ofLayers(three, 'ffn_up'), ['Q3_K', 'Q3_K', 'Q3_K', 'Q3_K'])
  const two = await typesOf(t, model, 'q2_k')
  for (const leaf of ['attn_v', 'attn_output', 'ffn_down'])
    t.deepEqual(ofLayers(two, leaf), ['Q3_K', 'Q3_K', 'Q3_K', 'Q3_K'])
  t.deepEqual(ofLayers(two, 'attn_k'), ['Q2_K', 'Q2_K', 'Q2_K', 'Q2_K'])
})

test('rows that do not divide into K blocks take the type next to it', async (t) => {
  const model = path.join(await temporaryFolder(t), 'tiny')
  await writeFiles(model, checkpoint())
  const standIns = { q4_k_m: 'Q5_0', q5_k_m: 'Q5_1', q6_k: 'Q8_0', q3_k_m: 'Q4_0', q2_k: 'Q4_0' } as const
  for (const [type, standIn] of Object.entries(standIns)) {
    const types = await typesOf(t, model, type as keyof typeof standIns)
    t.is(types.get('blk.0.attn_q.weight'), standIn)
    t.is(types.get('output.weight'), 'Q8_0')
  }
})

test('the pair has the keys that llama.cpp asks a vision half for, and the newer names', async (t) => {
  const { model } = readCase('hf-f16')
  const { files } = await convertModel(model, path.join(await temporaryFolder(t), 'tiny'), { type: 'q8_0', pair: true })
  t.deepEqual(
    files.map(({ path: file }) => path.basename(file)),
    ['tiny.gguf', 'mmproj-tiny.gguf'],
  )
  const [language, vision] = await Promise.all(files.map(({ path: file }) => readGgufHeader(file)))
  t.is(language!.metadata.get('general.architecture'), 'llama')
  const rows = language!.tensors.find(({ name }) => name === 'token_embd.weight')?.shape[0]
  t.is<unknown, unknown>((language!.metadata.get('tokenizer.ggml.tokens') as readonly string[]).length, rows)
  const keys = ['has_text_encoder', 'has_vision_encoder', 'has_llava_projector', 'projector_type', 'use_gelu']
  const visionKeys = [
    'image_size',
    'patch_size',
    'embedding_length',
    'feed_forward_length',
    'projection_dim',
    'attention.head_count',
    'attention.layer_norm_epsilon',
    'block_count',
    'image_mean',
    'image_std',
  ]
  for (const key of [...keys.map((leaf) => `clip.${leaf}`), ...visionKeys.map((leaf) => `clip.vision.${leaf}`)])
    t.true(vision!.metadata.has(key), key)
  t.is(vision!.metadata.get('clip.vision.block_count'), 2) // of the three layers, the last does not run
  t.deepEqual([...(vision!.metadata.get('clip.vision.feature_layer') as Iterable<number>)], [2]) // else llama.cpp leaves out another one
  const up = vision!.tensors.find(({ name }) => name === 'v.blk.0.ffn_up.weight')!
  t.true(up.shape[0]! > up.shape[1]!)
  t.is(vision!.metadata.get('general.file_type'), 1) // f16, whatever the language model is
})

test('in a directory a pair is named after the model and its type', async (t) => {
  const folder = await temporaryFolder(t)
  const { files } = await convertModel(readCase('gguf-single-f16').model, folder, { type: 'q4_0', pair: true })
  t.deepEqual(
    files.map(({ path: file }) => file),
    [path.join(folder, 'tiny-llava-q4_0.gguf'), path.join(folder, 'mmproj-tiny-llava-q4_0.gguf')],
  )
})

test('a path that ends in a slash is a folder, which is made', async (t) => {
  const folder = path.join(await temporaryFolder(t), 'new', 'folder')
  const { model } = readCase('gguf-single-f16')
  const single = await convertModel(model, `${folder}/`, { type: 'q8_0' })
  t.deepEqual(
    single.files.map(({ path: file }) => file),
    [path.join(folder, 'tiny-llava-q8_0.gguf')],
  )
  await convertModel(model, `${folder}/`, { type: 'q4_0', pair: true })
  t.deepEqual((await readdir(folder)).sort(), [
    'mmproj-tiny-llava-q4_0.gguf',
    'tiny-llava-q4_0.gguf',
    'tiny-llava-q8_0.gguf',
  ])
})

test('what is quantised gets no more bits by default, and what is quantised anew is counted before anything is written', async (t) => {
  const folder = await temporaryFolder(t)
  const wide = await wideCheckpoint(t, 2)
  const eight = await convertModel(wide, path.join(folder, 'eight.gguf'), { type: 'q8_0', visionType: 'q8_0' })
  t.is(eight.requantised, 0)
  const file = path.join(folder, 'four.gguf')
  let announced = 0
  const four = await convertModel(eight.files[0]!.path, file, {
    type: 'q4_0',
    onPlan({ files, requantised }) {
      t.deepEqual(
        files.map((one) => one.path),
        [file],
      )
      t.false(existsSync(file))
      announced = requantised
    },
  })
  t.is(announced, 2 * 7 + 2) // seven matrices of each layer, embedding and output
  t.is(four.requantised, announced)
  t.true(four.files[0]!.nbytes < eight.files[0]!.nbytes)
  const types = new Map((await readGgufHeader(file)).tensors.map(({ name, dtype }) => [name, dtype]))
  t.is(types.get('v.blk.0.attn_q.weight'), 'Q8_0') // not F16
  t.is(types.get('output.weight'), 'Q6_K')
  const again = await typesOf(t, file, 'q4_k_m')
  t.is(again.get('blk.0.attn_v.weight'), 'Q4_K') // Q6_K would hold no more than Q4_0 did
  t.is(again.get('output.weight'), 'Q6_K')
  const pair = await convertModel(eight.files[0]!.path, path.join(folder, 'pair'), { type: 'q4_0', pair: true })
  t.is((await readGgufHeader(pair.files[1]!.path)).metadata.get('general.file_type'), 7) // q8_0
})

test('tied embeddings are stored once', async (t) => {
  const types = await typesOf(t, readCase('hf-4x-names').model, 'q8_0')
  t.false(types.has('output.weight'))
  t.is(types.get('token_embd.weight'), 'Q8_0')
})

test('q8_0 of a model that is q8_0 is copied', async (t) => {
  const { model, parts } = readCase('gguf-pair-q8_0')
  const { files } = await convertModel(model, path.join(await temporaryFolder(t), 'out.gguf'), {
    type: 'q8_0',
    visionType: 'q8_0',
    ...parts,
  })
  const crcs = async (file: string, more: Parts): Promise<unknown> =>
    (await checkModel(file, more)).tensors
      .filter(({ dtype }) => dtype === 'Q8_0')
      .map(({ name, crc32 }) => [name, crc32])
      .sort()
  t.deepEqual(await crcs(files[0]!.path, {}), await crcs(model, parts))
})

test('progress counts up to the bytes of all tensors', async (t) => {
  const seen: number[] = []
  let total = 0
  await convertModel(readCase('hf-f16').model, path.join(await temporaryFolder(t), 'out.gguf'), {
    type: 'q8_0',
    onProgress: (progress) => {
      seen.push(progress.done)
      total = progress.total
    },
  })
  t.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  )
  t.is(seen.at(-1), total)
})

test('an aborted run leaves nothing behind', async (t) => {
  for (const pair of [false, true]) {
    const folder = await temporaryFolder(t)
    const controller = new AbortController()
    const reason = new Error('enough')
    const running = convertModel(readCase('hf-f16').model, path.join(folder, 'out'), {
      type: 'q4_0',
      pair,
      signal: controller.signal,
      onProgress: () => {
        controller.abort(reason)
      },
    })
    const error = await t.throwsAsync(running, { code: 'ABORTED', name: 'AbortError' })
    t.is(error?.cause, reason)
    t.deepEqual(await readdir(folder), [])
  }
})

test('while a run is under way, no file has the name of a model', async (t) => {
  const folder = await temporaryFolder(t)
  const names = new Set<string>()
  await convertModel(readCase('hf-f16').model, path.join(folder, 'out.gguf'), {
    type: 'f16',
    onProgress: () => {
      for (const name of readdirSync(folder)) names.add(name)
    },
  })
  const [temporary, ...others] = names
  t.regex(temporary ?? '', /^out\.gguf\.[-0-9a-f]{36}\.tmp$/)
  t.deepEqual(others, [])
  t.deepEqual(await readdir(folder), ['out.gguf'])
})

test('what the listener throws fails the call, and leaves nothing behind', async (t) => {
  const folder = await temporaryFolder(t)
  const running = convertModel(readCase('hf-f16').model, path.join(folder, 'out.gguf'), {
    type: 'f16',
    onProgress: () => {
      throw new RangeError('no more')
    },
  })
  await t.throwsAsync(running, { instanceOf: RangeError })
  t.deepEqual(await readdir(folder), [])
})

test('a file that is there stays as it is, unless it may be replaced', async (t) => {
  const file = path.join(await temporaryFolder(t), 'out.gguf')
  await writeFile(file, 'mine')
  const { model } = readCase('hf-f16')
  await t.throwsAsync(convertModel(model, file, { type: 'f16' }), {
    code: 'INVALID_ARGUMENT',
    message: /is there already/,
  })
  t.is(await readFile(file, 'utf8'), 'mine')
  await convertModel(model, file, { type: 'f16', overwrite: true })
  t.is((await describeModel(file)).format, 'gguf')
})

/** The tiny checkpoint with values put into one tensor. */
async function spoiled(t: ExecutionContext, values: readonly number[]): Promise<string> {
  const folder = path.join(await temporaryFolder(t), 'spoiled')
  const files = checkpoint()
  const bytes = files['model.safetensors'] as Buffer
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE()))) as Record<
    string,
    { data_offsets: [number, number] }
  >
  const [begin] = header['language_model.model.layers.1.mlp.up_proj.weight']!.data_offsets
  for (const [i, value] of values.entries())
    bytes.writeFloatLE(value, 8 + Number(bytes.readBigUInt64LE()) + begin + 4 * i)
  await writeFiles(folder, files)
  return folder
}

test('weights that are no numbers are not converted', async (t) => {
  const folder = await temporaryFolder(t)
  const message = /language_model\.layers\.1\.mlp\.up_proj\.weight holds 2 values that are NaN and 1 that are infinite/
  await t.throwsAsync(
    convertModel(await spoiled(t, [NaN, -Infinity, NaN]), path.join(folder, 'out.gguf'), { type: 'q4_0' }),
    { code: 'MODEL_CORRUPT', message },
  )
  t.deepEqual(await readdir(folder), [])
})

test('weights too large for a type are not converted to it', async (t) => {
  const model = await spoiled(t, [1e6])
  const folder = await temporaryFolder(t)
  await t.throwsAsync(convertModel(model, path.join(folder, 'out.gguf'), { type: 'f16' }), {
    code: 'MODEL_UNSUPPORTED',
    message: /too large for F16/,
  })
  t.deepEqual(await readdir(folder), [])
  await convertModel(model, path.join(folder, 'out.gguf'), { type: 'bf16' })
})

test('checkModel reads every tensor, and its checksums name file and tensor', async (t) => {
  const { model, parts } = readCase('gguf-pair-q4_0')
  const { sound, files, tensors, format } = await checkModel(model, parts)
  t.true(sound)
  t.is(format, 'gguf-pair')
  t.is(tensors.length, (await describeModel(model, parts)).tensors.length)
  t.deepEqual(
    files.map(({ path: file, sha256 }) => [file, sha256]),
    [model, parts.mmproj!].map((file) => [file, createHash('sha256').update(readFileSync(file)).digest('hex')]),
  )
  t.true(tensors.every(({ crc32 }) => /^[0-9a-f]{8}$/.test(crc32)))
})

test('the same weights have the same checksum in a checkpoint and in its GGUF', async (t) => {
  const { model } = readCase('hf-f32')
  const { files } = await convertModel(model, path.join(await temporaryFolder(t), 'out.gguf'), { type: 'f32' })
  const [before, after] = await Promise.all(
    [model, files[0]!.path].map(
      async (file) => new Map((await checkModel(file)).tensors.map(({ name, crc32 }) => [name, crc32])),
    ),
  )
  for (const [name, crc32] of before!) {
    if (/self_attn\.[qk]_proj/.test(name) && name.startsWith('language_model'))
      t.not(after!.get(name), crc32, name) // their rows lie in another order
    else t.is(after!.get(name), crc32, name)
  }
})

test('checkModel names the tensor that holds NaN or infinite values', async (t) => {
  const { sound, tensors } = await checkModel(await spoiled(t, [Infinity, NaN, NaN]))
  t.false(sound)
  const bad = tensors.filter(({ nan, infinite }) => nan + infinite > 0)
  t.like(bad, [{ name: 'language_model.layers.1.mlp.up_proj.weight', nan: 2, infinite: 1 }])
  t.is(bad.length, 1)
})

test('a model whose weights are no numbers says so when it is asked, and how to find them', async (t) => {
  await using model = await LLaVA.open(await spoiled(t, [NaN]), { template: 'hf', threads: 1 })
  await t.throwsAsync(model.ask([], 'What?', { maxTokens: 1 }), {
    code: 'MODEL_CORRUPT',
    message: /the logit of token 0 is not a number.*llava info --check/,
  })
})

test('checkModel can be stopped', async (t) => {
  const controller = new AbortController()
  const running = checkModel(readCase('hf-f16').model, {
    signal: controller.signal,
    onProgress: () => {
      controller.abort()
    },
  })
  await t.throwsAsync(running, { code: 'ABORTED' })
})
