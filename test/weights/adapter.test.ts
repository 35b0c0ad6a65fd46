import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { describeModel, type ModelDescription } from '../../lib/weights/model-description.js'
import { zerosFile } from './pytorch-file.js'
import { checkpoint, languageFile, mmprojFile, temporaryFolder, textShapes, tiny, visionShapes, writeFiles } from './tiny-llava.js'
import { adapterFiles, clipCheckpoint, languageCheckpoint, originalCheckpoint, originalConfig, projectorShapes, running, wholeFile, type AdapterParts } from './tiny-original.js'

type Files = Readonly<Record<string, unknown>>

/** Opens `base/` (or the GGUF in it) with `adapter/`; a CLIP stands beside them. */
async function describe(t: ExecutionContext, base: Files, adapter: Files | undefined): Promise<ModelDescription> {
  const root = await temporaryFolder(t)
  await writeFiles(path.join(root, 'base'), base)
  await writeFiles(path.join(root, 'clip-vit-tiny'), clipCheckpoint())
  if (adapter !== undefined) await writeFiles(path.join(root, 'adapter'), adapter)
  return describeModel(path.join(root, 'base'), { adapter: path.join(root, 'adapter') })
}

const shapesOf = (model: ModelDescription): Record<string, readonly number[]> => Object.fromEntries(model.tensors.map(({ name, shape }) => [name, shape]))
const whole = Object.fromEntries([...textShapes(), ...visionShapes(2)])
const q = 'language_model.layers.0.self_attn.q_proj'
const down = 'language_model.layers.1.mlp.down_proj'
const pairs = { [`${q}.lora_A.weight`]: [3, 32], [`${q}.lora_B.weight`]: [32, 3], [`${down}.lora_A.weight`]: [3, 64], [`${down}.lora_B.weight`]: [32, 3] }

test('PEFT’s pairs stand beside the matrices of a Hugging Face checkpoint', async (t) => {
  const model = await describe(t, checkpoint(), adapterFiles())
  t.is(model.config.loraScale, 2)
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
  const model = await describe(t, checkpoint(), adapterFiles({ modules: { [layer(1)]: [64, 64], [layer(2)]: [64, 64] } }))
  t.deepEqual(Object.keys(shapesOf(model)).filter((name) => name.includes('.lora_A.')), ['vision_tower.encoder.layers.1.self_attn.q_proj.lora_A.weight'])
})

test('a rank-stabilised adapter is scaled by the root of its rank', async (t) => {
  t.is((await describe(t, checkpoint(), adapterFiles({ settings: { use_rslora: true } }))).config.loraScale, 6 / Math.sqrt(3))
})

test('a .bin of PEFT is read', async (t) => {
  const { 'adapter_config.json': settings } = adapterFiles()
  const shapes = [[`base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight`, [3, 32]], [`base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight`, [32, 3]]] as const
  const model = await describe(t, checkpoint(), { 'adapter_config.json': settings, 'adapter_model.bin': zerosFile(shapes) })
  t.deepEqual(shapesOf(model)[`${q}.lora_B.weight`], [32, 3])
})

const llavaAdapter = { ...adapterFiles(), 'config.json': originalConfig, 'non_lora_trainables.bin': wholeFile(projectorShapes) }

test('an adapter of the LLaVA repository makes a LLaVA of a language model', async (t) => {
  const model = await describe(t, languageCheckpoint(), llavaAdapter)
  t.deepEqual(shapesOf(model), { ...Object.fromEntries(running), ...pairs })
  t.is(model.config.vision?.projectorLayers, 2)
  t.is(model.imageProcessor?.aspectRatio, 'pad')
})

test('a projector by itself makes a LLaVA of a language model', async (t) => {
  const model = await describe(t, languageCheckpoint(), { 'config.json': originalConfig, 'mm_projector.bin': wholeFile(projectorShapes, '') })
  t.deepEqual(shapesOf(model), Object.fromEntries(running))
  t.is(model.config.loraScale, undefined)
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

test('a PEFT adapter of a GGUF may change what is in the checkpoint’s own order', async (t) => {
  const modules = { 'base_model.model.model.layers.0.self_attn.v_proj': [tiny.D, tiny.Hk * tiny.Dh], 'base_model.model.model.layers.1.mlp.down_proj': [tiny.F, tiny.D] } as const
  t.deepEqual(shapesOf(await describe(t, pair, adapterFiles({ modules })))[`${down}.lora_A.weight`], [3, 64])
})

const lora = (parts: AdapterParts): Files => adapterFiles(parts)
const setting = (settings: object): Files => lora({ settings })
const failures: readonly (readonly [what: string, code: string, adapter: Files | undefined, message: RegExp])[] = [
  ['with DoRA', 'MODEL_UNSUPPORTED', setting({ use_dora: true }), /DoRA/],
  ['with biases', 'MODEL_UNSUPPORTED', setting({ bias: 'lora_only' }), /biases/],
  ['with ranks by layer', 'MODEL_UNSUPPORTED', setting({ rank_pattern: { q_proj: 4 } }), /rank_pattern/],
  ['with alphas by layer', 'MODEL_UNSUPPORTED', setting({ alpha_pattern: { q_proj: 4 } }), /alpha_pattern/],
  ['that began by changing its base', 'MODEL_UNSUPPORTED', setting({ init_lora_weights: 'pissa_niter_4' }), /pissa/],
  ['with replicated layers', 'MODEL_UNSUPPORTED', setting({ layer_replication: [[0, 2]] }), /layer_replication/],
  ['of an embedding', 'MODEL_UNSUPPORTED', lora({ modules: { 'base_model.model.model.embed_tokens': [32, 270] } }), /linear layers/],
]

for (const [what, code, adapter, message] of failures) {
  test(`an adapter ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(describe(t, checkpoint(), adapter), { instanceOf: LlavaError, code, message })
  })
}
