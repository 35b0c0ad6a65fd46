import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import type { TensorEntry } from '../../lib/native.js'
import { describeModel } from '../../lib/weights/describe-model.js'
import type { ModelDescription } from '../../lib/weights/model-description.js'
import { zerosFile } from './pytorch-file.js'
import {
  checkpoint,
  languageFile,
  mmprojFile,
  temporaryFolder,
  textShapes,
  tiny,
  visionShapes,
  writeFiles,
} from './tiny-llava.js'
import {
  adapterFiles,
  clipCheckpoint,
  languageCheckpoint,
  originalCheckpoint,
  originalConfig,
  projectorShapes,
  running,
  wholeFile,
  type AdapterParts,
} from './tiny-original.js'

type Files = Readonly<Record<string, unknown>>

/** Opens `base/` (or the GGUF in it) with `adapter/`; a CLIP stands beside them. */
async function describe(t: ExecutionContext, base: Files, adapter: Files | undefined): Promise<ModelDescription> {
  const root = await temporaryFolder(t)
  await writeFiles(path.join(root, 'base'), base)
  await writeFiles(path.join(root, 'clip-vit-tiny'), clipCheckpoint())
  if (adapter !== undefined) await writeFiles(path.join(root, 'adapter'), adapter)
  return describeModel(path.join(root, 'base'), { adapter: path.join(root, 'adapter') })
}

/** Module -> what its adapter is weighed by. */
const weighingOf = (model: ModelDescription): Record<string, TensorEntry['lora']> =>
  Object.fromEntries(
    model.tensors.flatMap(({ name, lora }) => (lora === undefined ? [] : [[name.replace('.lora_B.weight', ''), lora]])),
  )
const shapesOf = (model: ModelDescription): Record<string, readonly number[]> =>
  Object.fromEntries(model.tensors.map(({ name, shape }) => [name, shape]))
const whole = Object.fromEntries([...textShapes(), ...visionShapes(2)])
const q = 'language_model.layers.0.self_attn.q_proj'
const down = 'language_model.layers.1.mlp.down_proj'
const pairs = {
  [`${q}.lora_A.weight`]: [3, 32],
  [`${q}.lora_B.weight`]: [32, 3],
  [`${down}.lora_A.weight`]: [3, 64],
  [`${down}.lora_B.weight`]: [32, 3],
}

test('PEFT’s pairs stand beside the matrices of a Hugging Face checkpoint', async (t) => {
  const model = await describe(t, checkpoint(), adapterFiles())
  t.deepEqual(weighingOf(model), { [q]: { scale: 2, interleavedHeads: 0 }, [down]: { scale: 2, interleavedHeads: 0 } })
  t.deepEqual(shapesOf(model), { ...whole, ...pairs })
})

const spellings: readonly (readonly [what: string, module: string])[] = [
  ['of transformers 4', 'base_model.model.language_model.model.layers.0.self_attn.q_proj'],
  ['of transformers 5', 'base_model.model.model.language_model.layers.0.self_attn.q_proj'],
  ['of the LLaVA repository', 'base_model.model.model.layers.0.self_attn.q_proj'],
]

for (const [what, module] of spellings) {
  test(`an adapter with the names ${what} finds its matrix`, async (t) => {
    const model = await describe(t, checkpoint(), adapterFiles({ modules: { [module]: [32, 32] } }))
    t.deepEqual(shapesOf(model)[`${q}.lora_A.weight`], [3, 32])
  })
}

test('the tower’s matrices can be changed too, but for the layer that does not run', async (t) => {
  const layer = (n: number): string => `base_model.model.vision_tower.vision_model.encoder.layers.${n}.self_attn.q_proj`
  const model = await describe(
    t,
    checkpoint(),
    adapterFiles({ modules: { [layer(1)]: [64, 64], [layer(2)]: [64, 64] } }),
  )
  t.deepEqual(
    Object.keys(shapesOf(model)).filter((name) => name.includes('.lora_A.')),
    ['vision_tower.encoder.layers.1.self_attn.q_proj.lora_A.weight'],
  )
})

test('a rank-stabilised adapter is scaled by the root of its rank', async (t) => {
  t.is(
    weighingOf(await describe(t, checkpoint(), adapterFiles({ settings: { use_rslora: true } })))[q]?.scale,
    6 / Math.sqrt(3),
  )
})

const inTower = 'vision_tower.encoder.layers.0.mlp.fc1'
const inProjector = 'multi_modal_projector.linear_1'

test('every linear layer of tower and projector can be changed', async (t) => {
  const modules = {
    'base_model.model.model.vision_tower.vision_model.encoder.layers.0.mlp.fc1': [tiny.Dv, tiny.Fv],
    'base_model.model.model.multi_modal_projector.linear_1': [tiny.Dv, tiny.D],
  } as const
  t.deepEqual(Object.keys(weighingOf(await describe(t, checkpoint(), adapterFiles({ modules })))), [
    inTower,
    inProjector,
  ])
})

for (const [what, settings, scale] of [
  ['a name’s end', { alpha_pattern: { q_proj: 12 } }, 4],
  ['a whole name', { alpha_pattern: { '^model.layers.0.self_attn.q_proj': 12 } }, 4],
  ['an escaped name', { alpha_pattern: { 'layers\\.0\\.self_attn\\.q_proj': 12 } }, 4],
  ['the first of two that fit', { alpha_pattern: { 'self_attn.q_proj': 12, q_proj: 15 } }, 4],
  ['another module', { alpha_pattern: { v_proj: 12 } }, 2],
  ['half a word', { alpha_pattern: { proj: 12 } }, 2],
  ['a name from another place', { alpha_pattern: { '^layers.0.self_attn.q_proj': 12 } }, 2],
  ['its rank', { r: 8, rank_pattern: { q_proj: 3, down_proj: 3 } }, 2],
] as const) {
  test(`a pattern of ranks or alphas: ${what}`, async (t) => {
    t.is(weighingOf(await describe(t, checkpoint(), adapterFiles({ settings })))[q]?.scale, scale)
  })
}

test('layers of different ranks have their own scales', async (t) => {
  const ofRank = (module: string, rank: number, input: number, out: number) =>
    [
      [`${module}.lora_A.weight`, [rank, input]],
      [`${module}.lora_B.weight`, [out, rank]],
    ] as const
  const stored = zerosFile([
    ...ofRank('base_model.model.model.layers.0.self_attn.q_proj', 3, 32, 32),
    ...ofRank('base_model.model.model.layers.1.mlp.down_proj', 2, 64, 32),
  ])
  const model = await describe(t, checkpoint(), {
    'adapter_config.json': { r: 3, lora_alpha: 6, rank_pattern: { down_proj: 2 } },
    'adapter_model.bin': stored,
  })
  t.deepEqual(
    Object.values(weighingOf(model)).map((lora) => lora?.scale),
    [2, 3],
  )
})

test('a .bin of PEFT is read', async (t) => {
  const { 'adapter_config.json': settings } = adapterFiles()
  const shapes = [
    [`base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight`, [3, 32]],
    [`base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight`, [32, 3]],
  ] as const
  const model = await describe(t, checkpoint(), {
    'adapter_config.json': settings,
    'adapter_model.bin': zerosFile(shapes),
  })
  t.deepEqual(shapesOf(model)[`${q}.lora_B.weight`], [32, 3])
})

const llavaAdapter = {
  ...adapterFiles(),
  'config.json': originalConfig,
  'non_lora_trainables.bin': wholeFile(projectorShapes),
}

test('an adapter of the LLaVA repository makes a LLaVA of a language model', async (t) => {
  const model = await describe(t, languageCheckpoint(), llavaAdapter)
  t.deepEqual(shapesOf(model), { ...Object.fromEntries(running), ...pairs })
  t.is(model.config.vision?.projectorLayers, 2)
  t.is(model.imageProcessor?.aspectRatio, 'pad')
})

test('a projector by itself makes a LLaVA of a language model', async (t) => {
  const model = await describe(t, languageCheckpoint(), {
    'config.json': originalConfig,
    'mm_projector.bin': wholeFile(projectorShapes, ''),
  })
  t.deepEqual(shapesOf(model), Object.fromEntries(running))
  t.deepEqual(weighingOf(model), {})
})

test('a tensor saved whole takes the place of the base’s', async (t) => {
  const projector = { ...llavaAdapter, 'config.json': undefined }
  for (const base of [checkpoint(), originalCheckpoint()]) {
    const model = await describe(t, base, projector)
    const entry = model.tensors.find(({ name }) => name === 'multi_modal_projector.linear_2.weight')
    t.is(path.basename(model.files[entry?.file ?? -1] ?? ''), 'non_lora_trainables.bin')
  }
})

const pair = { 'model.gguf': languageFile(), 'mmproj-model.gguf': mmprojFile() }

test('a PEFT adapter’s rows of query and key are to be interleaved for a GGUF, by heads of their own', async (t) => {
  const projections = { q_proj: tiny.H * tiny.Dh, k_proj: tiny.Hk * tiny.Dh, v_proj: tiny.Hk * tiny.Dh }
  const modules = Object.fromEntries(
    Object.entries(projections).map(([name, rows]) => [
      `base_model.model.model.layers.0.self_attn.${name}`,
      [tiny.D, rows] as const,
    ]),
  )
  const heads = (model: ModelDescription): (number | undefined)[] =>
    Object.values(weighingOf(model)).map((lora) => lora?.interleavedHeads)
  t.deepEqual(heads(await describe(t, pair, adapterFiles({ modules }))), [tiny.H, tiny.Hk, 0])
  t.deepEqual(heads(await describe(t, checkpoint(), adapterFiles({ modules }))), [0, 0, 0])
})

test('the tower’s rows of query and key are not', async (t) => {
  const modules = {
    'base_model.model.model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj': [tiny.Dv, tiny.Dv],
  } as const
  t.deepEqual(weighingOf(await describe(t, pair, adapterFiles({ modules }))), {
    'vision_tower.encoder.layers.0.self_attn.q_proj': { scale: 2, interleavedHeads: 0 },
  })
})

test('a whole matrix in the place of a GGUF’s query rows is refused', async (t) => {
  const saved = zerosFile([['base_model.model.model.layers.0.self_attn.q_proj.weight', [32, 32]]])
  await t.throwsAsync(describe(t, pair, { 'non_lora_trainables.bin': saved }), {
    code: 'MODEL_UNSUPPORTED',
    message: /q_proj\.weight.*another order/,
  })
})

test('what an adapter changes of parts that do not run is passed over', async (t) => {
  const modules = { 'base_model.model.model.vision_tower.vision_model.head.mlp.fc1': [8, 8] } as const
  t.deepEqual(weighingOf(await describe(t, checkpoint(), adapterFiles({ modules }))), {})
})

const lora = (parts: AdapterParts): Files => adapterFiles(parts)
const setting = (settings: object): Files => lora({ settings })
const failures: readonly (readonly [what: string, code: string, adapter: Files | undefined, message: RegExp])[] = [
  ['with DoRA', 'MODEL_UNSUPPORTED', setting({ use_dora: true }), /DoRA/],
  ['with biases', 'MODEL_UNSUPPORTED', setting({ bias: 'lora_only' }), /biases/],
  [
    'with another rank than its pattern says',
    'MODEL_CORRUPT',
    setting({ rank_pattern: { q_proj: 4 } }),
    /rank 3, but .*`rank_pattern` says 4/,
  ],
  ['with a rank that is no number', 'MODEL_CORRUPT', setting({ rank_pattern: { q_proj: 'many' } }), /q_proj/],
  [
    'with alphas by expression',
    'MODEL_UNSUPPORTED',
    setting({ alpha_pattern: { '.*_proj': 4 } }),
    /alpha_pattern.*\.\*_proj/,
  ],
  [
    'of the patch convolution',
    'MODEL_UNSUPPORTED',
    lora({ modules: { 'base_model.model.model.vision_tower.vision_model.embeddings.patch_embedding': [12, 64] } }),
    /linear layers/,
  ],
  ['that began by changing its base', 'MODEL_UNSUPPORTED', setting({ init_lora_weights: 'pissa_niter_4' }), /pissa/],
  ['of a part of the text', 'MODEL_UNSUPPORTED', setting({ alora_invocation_tokens: [5] }), /alora_invocation_tokens/],
  ['of pooled inputs', 'MODEL_UNSUPPORTED', setting({ use_qalora: true }), /use_qalora/],
  ['with replicated layers', 'MODEL_UNSUPPORTED', setting({ layer_replication: [[0, 2]] }), /layer_replication/],
  [
    'of an embedding',
    'MODEL_UNSUPPORTED',
    lora({ modules: { 'base_model.model.model.embed_tokens': [32, 270] } }),
    /linear layers/,
  ],
]

for (const [what, code, adapter, message] of failures) {
  test(`an adapter ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(describe(t, checkpoint(), adapter), { instanceOf: LlavaError, code, message })
  })
}
