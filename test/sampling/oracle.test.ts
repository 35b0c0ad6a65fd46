// Bias, penalties and truncation against transformers' processors (test/oracle/make_sampling_fixture.py), step by step as the sampler runs them.

import { readFileSync } from 'node:fs'
import test from 'ava'
import { plainCandidates } from './plain-candidates.js'
import { logprobsOf } from '../../lib/sampling/logprobs.js'
import type { SamplingOptions } from '../../lib/sampling/options.js'
import { Penalties } from '../../lib/sampling/penalties.js'
import { Truncation } from '../../lib/sampling/truncation.js'

interface Case {
  readonly options: SamplingOptions
  readonly ids: readonly number[]
  readonly logits: readonly number[]
  readonly probabilities: readonly number[]
}

const fixture = new URL('../../../test/fixtures/sampling/expected.json', import.meta.url)
const { cases, logits, logSoftmax } = JSON.parse(readFileSync(fixture, 'utf8')) as {
  readonly cases: readonly Case[]
  readonly logits: readonly number[]
  readonly logSoftmax: readonly number[]
}

function probabilities({ options, ids, logits: raw }: Case): number[] {
  const z = Float32Array.from(raw)
  for (const [id, bias] of Object.entries(options.logitBias ?? {})) z[Number(id)] = (z[Number(id)] ?? 0) + bias
  new Penalties(options).apply(z, ids)
  const truncation = new Truncation(options, z.length)
  const total = truncation.weigh(z, Math.max(...z))
  const shares = new Array<number>(z.length).fill(0)
  for (let i = 0; i < truncation.count; i++)
    shares[truncation.ids[i] as number] = (truncation.weights[i] as number) / total
  return shares
}

// The reference computes in float32: each of the few steps on the way to exp(z) errs by half an ulp of z, |z / T| < 64, so by 2^-18 in all of exp(z), and the sum likewise.
const bound = 2 ** -16

test('transformers leaves the same ids, with the same probabilities', (t) => {
  t.true(cases.length > 50)
  for (const one of cases) {
    const ours = probabilities(one)
    for (const [id, expected] of one.probabilities.entries()) {
      const share = ours[id] as number
      const what = JSON.stringify({ options: one.options, ids: one.ids, id, share, expected })
      t.is(share > 0, expected > 0, what)
      t.true(Math.abs(share - expected) <= bound * expected, what)
    }
  }
})

test('log-probabilities are torch.log_softmax of the raw logits', (t) => {
  const raw = Float32Array.from(logits)
  const best = plainCandidates(raw, 1)
  const scale = Math.max(...logSoftmax.map(Math.abs))
  for (const [id, expected] of logSoftmax.entries())
    t.true(Math.abs(logprobsOf(best, id, raw[id] as number, 0).logprob - expected) <= 2 ** -22 * scale)
})
