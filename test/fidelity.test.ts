// What `npm run bench -- fidelity` measures: int8 activations against float32 on the model that comes with the package.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { measureText } from '../bench/fidelity.js'
import { convertModel } from '../lib/index.js'

const packaged = fileURLToPath(new URL('../../models/default.gguf', import.meta.url))
const text = 'The picture shows a rocket, a dog and a cactus. '.repeat(16)

test('fidelity of a text: all its positions count, fast arithmetic departs a little from exact, and perplexity with it', async (t) => {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-fidelity-'))
  try {
    const file = path.join(directory, 'q8.gguf')
    await convertModel(packaged, file, { type: 'q8_0' })
    const [ours] = await measureText(file, text, 150)
    t.is(ours!.engine, 'llava-native')
    t.is(ours!.positions, 150)
    t.true(ours!.klDivergence > 0 && ours!.klDivergence < 1e-3, `${ours!.klDivergence}`)
    t.true(Math.abs(Math.log(ours!.perplexity / ours!.exactPerplexity)) < 1e-2, `${ours!.perplexity}`)
  } finally {
    await rm(directory, { recursive: true })
  }
})
