import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LlavaError } from '../../lib/errors.js'
import { describeModel, type ModelDescription } from '../../lib/weights/model-description.js'
import { pickle, dict, tensor, torchFile, global, emptyTuple, reduce, zerosFile } from './pytorch-file.js'
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

test('a PEFT adapter of a GGUF’s query or key rows is refused, with the way out', async (t) => {
  await t.throwsAsync(describe(t, pair, adapterFiles()), { code: 'MODEL_UNSUPPORTED', message: /q_proj\.lora_A.*another order.*convert_lora_to_gguf/ })
})

test('a projector for a GGUF without its vision half is refused', async (t) => {
  await t.throwsAsync(describe(t, { 'model.gguf': languageFile() }, { 'mm_projector.bin': wholeFile(projectorShapes) }), { code: 'MODEL_UNSUPPORTED', message: /mmproj/ })
})

const lora = (parts: AdapterParts): Files => adapterFiles(parts)
const setting = (settings: object): Files => lora({ settings })
const failures: readonly (readonly [what: string, code: string, adapter: Files | undefined, message: RegExp])[] = [
  ['that is not there', 'MODEL_NOT_FOUND', undefined, /no such adapter/],
  ['without files', 'MODEL_NOT_FOUND', {}, /no adapter/],
  ['without weights', 'MODEL_NOT_FOUND', { 'adapter_config.json': { r: 3, lora_alpha: 6 } }, /neither adapter_model\.safetensors nor adapter_model\.bin/],
  ['of another method', 'MODEL_UNSUPPORTED', setting({ peft_type: 'IA3' }), /"IA3"/],
  ['with DoRA', 'MODEL_UNSUPPORTED', setting({ use_dora: true }), /DoRA/],
  ['with transposed matrices', 'MODEL_UNSUPPORTED', setting({ fan_in_fan_out: true }), /fan_in_fan_out/],
  ['with biases', 'MODEL_UNSUPPORTED', setting({ bias: 'lora_only' }), /biases/],
  ['with ranks by layer', 'MODEL_UNSUPPORTED', setting({ rank_pattern: { q_proj: 4 } }), /rank_pattern/],
  ['with alphas by layer', 'MODEL_UNSUPPORTED', setting({ alpha_pattern: { q_proj: 4 } }), /alpha_pattern/],
  ['that began by changing its base', 'MODEL_UNSUPPORTED', setting({ init_lora_weights: 'pissa_niter_4' }), /pissa/],
  ['with replicated layers', 'MODEL_UNSUPPORTED', setting({ layer_replication: [[0, 2]] }), /layer_replication/],
  ['of an embedding', 'MODEL_UNSUPPORTED', lora({ modules: { 'base_model.model.model.embed_tokens': [32, 270] } }), /linear layers/],
  ['of a layer that is not there', 'MODEL_UNSUPPORTED', lora({ modules: { 'base_model.model.model.layers.9.self_attn.q_proj': [32, 32] } }), /layers\.9/],
  ['of a module of another model', 'MODEL_UNSUPPORTED', lora({ modules: { 'base_model.model.transformer.h.0.attn.c_attn': [32, 32] } }), /c_attn/],
  ['without a rank', 'MODEL_CORRUPT', setting({ r: null }), /`r` is missing/],
  ['with another rank than its tensors', 'MODEL_CORRUPT', setting({ r: 8 }), /rank 3, but `r` is 8/],
  ['with a scale that is no number', 'MODEL_CORRUPT', setting({ lora_alpha: 'much' }), /lora_alpha/],
  ['for another hidden size', 'MODEL_CORRUPT', lora({ modules: { 'base_model.model.model.layers.0.self_attn.q_proj': [64, 32] } }), /\[3, 64\].*\[3, 32\]/],
  ['with a tensor of no module', 'MODEL_UNSUPPORTED', { ...adapterFiles(), 'non_lora_trainables.bin': zerosFile([['base_model.model.something', [2]]]) }, /something/],
  ['whose pickle would run code', 'MODEL_UNSUPPORTED', { ...adapterFiles(), 'non_lora_trainables.bin': torchFile(pickle(global('os', 'abort'), emptyTuple, reduce)) }, /"os\.abort"/],
  ['with half a pair', 'MODEL_CORRUPT', { ...adapterFiles(), 'adapter_model.safetensors': undefined, 'adapter_model.bin': torchFile(pickle(dict({ 'base_model.model.lm_head.lora_A.weight': tensor() }))) }, /other half/],
]

for (const [what, code, adapter, message] of failures) {
  test(`an adapter ${what} fails with ${code}`, async (t) => {
    await t.throwsAsync(describe(t, checkpoint(), adapter), { instanceOf: LlavaError, code, message })
  })
}

test('a projector for a language model that nothing makes a LLaVA of is refused', async (t) => {
  await t.throwsAsync(describe(t, languageCheckpoint(), { ...llavaAdapter, 'config.json': undefined }), { code: 'MODEL_UNSUPPORTED', message: /without a vision tower/ })
})

test('an adapter opened as a model says what to open instead', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFiles(folder, llavaAdapter)
  await t.throwsAsync(describeModel(folder), { code: 'MODEL_NOT_FOUND', message: /`adapter`/ })
})
