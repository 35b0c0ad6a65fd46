// The work formulas against LLaVA 1.5's published totals, computed elsewhere and printed in whole GFLOP: less than one apart.

import test from 'ava'
import { imageOperations, kvBytes, prefillOperations } from '../../lib/benchmark/work.js'
import type { ModelConfig } from '../../lib/native.js'

const text = {
  hiddenSize: 4096,
  intermediateSize: 11008,
  layers: 32,
  heads: 32,
  kvHeads: 32,
  headDim: 128,
  vocabSize: 32000,
  rmsNormEps: 1e-5,
  ropeLayout: 'half',
  ropeInvFreq: new Float32Array(64),
  contextLength: 4096,
} as const
const vision = {
  hiddenSize: 1024,
  intermediateSize: 4096,
  layers: 23,
  heads: 16,
  imageSize: 336,
  patchSize: 14,
  layerNormEps: 1e-5,
  activation: 'quick_gelu',
  dropClassRow: true,
} as const
const model7b: ModelConfig = { text, vision }
const model13b: ModelConfig = {
  text: { ...text, hiddenSize: 5120, intermediateSize: 13824, layers: 40, heads: 40, kvHeads: 40 },
  vision,
}

test("a picture of LLaVA 1.5's shape takes 366.03 GFLOP in the tower and 24.16 or 36.24 in the projector", (t) => {
  t.is((imageOperations(model7b) / 1e9).toFixed(2), (366.03 + 24.16).toFixed(2))
  t.is((imageOperations(model13b) / 1e9).toFixed(2), (366.03 + 36.24).toFixed(2))
})

test('a model without a tower has no picture to encode', (t) => {
  t.is(imageOperations({ text }), 0)
})

for (const [positions, gflop7b, gflop13b] of [
  [576, 7547, 14752],
  [624, 8184, 15994],
  [640, 8397, 16408],
  [1024, 13538, 26415],
  [2048, 27626, 53688],
] as const) {
  test(`prefilling ${positions} positions takes ${gflop7b} GFLOP at 7B and ${gflop13b} at 13B, less what the last layer need not do`, (t) => {
    for (const [{ text }, gflop] of [
      [model7b, gflop7b],
      [model13b, gflop13b],
    ] as const) {
      const { hiddenSize, intermediateSize } = text
      const products = 2 * (positions - 1) * (2 * hiddenSize ** 2 + 3 * hiddenSize * intermediateSize) // q, o, gate, up, down
      const attention = 4 * hiddenSize * ((positions * (positions - 1)) / 2)
      t.true(Math.abs((prefillOperations({ text }, positions) + products + attention) / 1e9 - gflop) < 1)
    }
  })
}

test('keys and values take 512 KiB per position in f16 at 7B, twice that in f32, and 34 bytes for 64 in q8_0', (t) => {
  t.is(kvBytes(model7b, 'f16', 1), 524_288)
  t.is(kvBytes(model7b, 'f32', 2), 4 * 524_288)
  t.is(kvBytes(model7b, 'q8_0', 1), (524_288 / 64) * 34)
})

test('fewer heads of keys and values take less, and less work', (t) => {
  const grouped: ModelConfig = { text: { ...text, kvHeads: 8 } }
  t.is(kvBytes(grouped, 'f16', 1), 524_288 / 4)
  t.true(prefillOperations(grouped, 64) < prefillOperations({ text }, 64))
})
