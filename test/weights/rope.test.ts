import test from 'ava'
import { ropeInvFreq, type RopeScaling } from '../../lib/weights/rope.js'

// inv_freq of transformers 5.23's LlamaRotaryEmbedding for heads of 16, printed with the digits that tell one float32 from the next.
const cases: readonly (readonly [what: string, theta: number, scaling: RopeScaling, expected: readonly number[]])[] = [
  [
    'plain',
    10_000,
    { kind: 'linear', factor: 1 },
    [1, 0.31622776, 0.1, 0.03162278, 0.01, 0.0031622779, 0.001, 0.0003162278],
  ],
  [
    'linear',
    10_000,
    { kind: 'linear', factor: 2.5 },
    [0.4, 0.1264911, 0.04, 0.012649111, 0.0039999997, 0.0012649111, 0.00040000002, 0.00012649111],
  ],
  [
    'llama3',
    500_000,
    { kind: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 8192 },
    [1, 0.19392276, 0.03760603, 0.007292665, 0.000524846, 3.4281024e-5, 6.6478697e-6, 1.2891732e-6],
  ],
]

for (const [what, theta, scaling, expected] of cases) {
  test(`${what} rotary frequencies equal those of transformers bit for bit`, (t) => {
    t.deepEqual(ropeInvFreq(16, { theta, scaling }), Float32Array.from(expected))
  })
}

test('divisors of a GGUF scale each frequency by its own', (t) => {
  const divisors = Float32Array.of(1, 2, 4, 8)
  t.deepEqual(
    ropeInvFreq(8, { theta: 10_000, scaling: { kind: 'divisors', divisors, factor: 1 } }),
    Float32Array.from([1, 0.1 / 2, 0.01 / 4, 0.001 / 8].map(Math.fround)),
  )
})
