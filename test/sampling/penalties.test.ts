import test from 'ava'
import { Penalties } from '../../lib/sampling/penalties.js'
import type { SamplingOptions } from '../../lib/sampling/options.js'

function penalised(options: SamplingOptions, logits: readonly number[], ids: readonly number[]): number[] {
  const z = Float32Array.from(logits)
  new Penalties(options).apply(z, ids)
  return [...z]
}

test('without options nothing changes', (t) => {
  t.deepEqual(penalised({}, [1, -2, 3], [0, 1, 0]), [1, -2, 3])
})

test('a repetition penalty divides positive and multiplies negative logits of ids that were there, once', (t) => {
  t.deepEqual(penalised({ repetitionPenalty: 2 }, [4, -4, 0, 4, -4], [0, 1, 2, 0]), [2, -8, 0, 4, -4])
  t.deepEqual(penalised({ repetitionPenalty: 0.5 }, [4, -4, 4], [0, 1]), [8, -2, 4])
})

test('a presence penalty counts once, a frequency penalty each time', (t) => {
  t.deepEqual(penalised({ presencePenalty: 0.5 }, [1, 1, 1], [0, 0, 1]), [0.5, 0.5, 1])
  t.deepEqual(penalised({ frequencyPenalty: 0.5 }, [1, 1, 1], [0, 0, 1]), [0, 0.5, 1])
  t.deepEqual(penalised({ frequencyPenalty: -0.25, presencePenalty: 1 }, [1, 1, 1], [0, 0, 1]), [0.5, 0.25, 1])
})

test('repetition comes before frequency and presence', (t) => {
  t.deepEqual(penalised({ repetitionPenalty: 2, frequencyPenalty: 1, presencePenalty: 1 }, [4, -1], [0, 1]), [0, -4])
})

test('an id that is ruled out stays so', (t) => {
  t.deepEqual(penalised({ repetitionPenalty: 2, frequencyPenalty: -1, presencePenalty: -1 }, [-Infinity], [0]), [
    -Infinity,
  ])
})

test('what would complete an n-gram again is ruled out', (t) => {
  const out = -Infinity
  t.deepEqual(penalised({ noRepeatNgramSize: 2 }, [1, 1, 1, 1], [0, 1, 0, 2, 0]), [1, out, out, 1])
  t.deepEqual(penalised({ noRepeatNgramSize: 3 }, [1, 1, 1, 1], [0, 1, 2, 0, 1]), [1, 1, out, 1])
  t.deepEqual(penalised({ noRepeatNgramSize: 3 }, [1, 1, 1, 1], [0, 1, 2, 3, 1]), [1, 1, 1, 1])
  t.deepEqual(penalised({ noRepeatNgramSize: 1 }, [1, 1, 1, 1], [0, 2]), [out, 1, out, 1])
})

test('n-grams longer than what was said rule out nothing', (t) => {
  for (const ids of [[], [0], [0, 0]]) t.deepEqual(penalised({ noRepeatNgramSize: 4 }, [1, 1], ids), [1, 1])
  t.deepEqual(penalised({ noRepeatNgramSize: 2 }, [1, 1], [0]), [1, 1])
})

test('counting goes on where the last call stopped', (t) => {
  const penalties = new Penalties({ frequencyPenalty: 1 })
  const ids: number[] = []
  for (const [id, expected] of [
    [0, [-1, 0]],
    [1, [-1, -1]],
    [0, [-2, -1]],
  ] as const) {
    ids.push(id)
    const z = new Float32Array(2)
    penalties.apply(z, ids)
    t.deepEqual([...z], [...expected])
  }
})
