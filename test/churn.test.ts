// What bench/churn.ts does with a model, for a while: `npm run bench -- serve-load --steps 1000000` goes on for longer.

import test from 'ava'
import { churn } from '../bench/churn.js'
import { goldenCase } from './tiny-model.js'

for (const [name, prefixPages] of [
  ['hf-f32', 12],
  ['gguf-pair-q4_0', 40],
] as const) {
  test(`${name}: whoever comes and goes, answers are those of questions alone, and all memory comes back`, async (t) => {
    const { model, picture } = goldenCase(name)
    await t.notThrowsAsync(churn({ model, picture, template: 'hf', steps: 300, seed: 7, prefixPages }))
  })
}
