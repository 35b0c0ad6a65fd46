// Answers go on within the products of a long prompt, which are cut for them where they take long, and nobody's bits depend on it.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { LLaVA } from '../../lib/index.js'
import { writeSafetensors } from '../../lib/weights/safetensors-writer.js'
import { llavaConfig, savedName, temporaryFolder, textShapes, tiny, tokenizerJson, writeFiles } from '../weights/tiny-llava.js'

/**
 * Two layers, of which the last computes its last row alone. Products of 500 rows of the first take long where the scalar
 * table computes them: gate and up some tenths of a second.
 */
const sizes = { ...tiny, D: 512, F: 2048, H: 8, Hk: 8, Dh: 64, layers: 2 }
/** Between which others have their turn: the first begins the pass. */
const products = 10

async function slowModel(t: ExecutionContext): Promise<string> {
  const folder = path.join(await temporaryFolder(t), 'model')
  const config = {
    ...llavaConfig.text_config,
    architectures: ['LlamaForCausalLM'],
    hidden_size: sizes.D,
    intermediate_size: sizes.F,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.H,
    num_key_value_heads: sizes.Hk,
    max_position_embeddings: 512,
  }
  await writeFiles(folder, { 'config.json': config, 'tokenizer.json': tokenizerJson })
  const tensors = [...textShapes(sizes)].map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return [savedName(name).replace(/^language_model\./, ''), { shape, data: Float32Array.from({ length: count }, (_, n) => Math.sin(n * 12.9898) / 16) }] as const
  })
  await writeSafetensors(path.join(folder, 'model.safetensors'), Object.fromEntries(tensors))
  return folder
}

test('tokens come between the parts of a long product, and the logits of its prompt are those that it has alone', async (t) => {
  using model = await LLaVA.open(await slowModel(t), { isa: 'scalar', threads: 1 })
  const prompt = Int32Array.from({ length: 500 }, (_, n) => n % sizes.V)
  using alone = model.createContext()
  const expected = await alone.forward([prompt])

  using beside = model.createContext()
  using answer = model.createContext()
  await answer.forward([Int32Array.of(1)])
  let reading = true
  let tokens = 0
  const read = beside.forward([prompt]).finally(() => {
    reading = false
  })
  while (reading) {
    await answer.forward([Int32Array.of(2)])
    if (reading) tokens++
  }
  t.deepEqual(await read, expected)
  t.true(tokens >= products, `${tokens} tokens came meanwhile`)
})
