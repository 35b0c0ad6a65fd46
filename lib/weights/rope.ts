// Inverse frequencies of the rotary embedding, [headDim / 2], rounded to float32 after every step as transformers does on tensors:
//   f_j = 1 / theta^(2j / headDim);  linear: f_j / factor;
//   llama3: wavelengths 2*pi/f_j above context/low are divided by factor, those below context/high stay, between them a blend.

import { unsupported } from './model-error.js'
import type { Fields } from './fields.js'

export interface Llama3Scaling {
  readonly kind: 'llama3'
  readonly factor: number
  readonly lowFreqFactor: number
  readonly highFreqFactor: number
  /** Positions the model was pretrained on. */
  readonly originalContext: number
}

/** `divisors`: one per frequency, as GGUF's `rope_freqs.weight` has them. */
export type RopeScaling =
  | { readonly kind: 'linear'; readonly factor: number }
  | Llama3Scaling
  | { readonly kind: 'divisors'; readonly divisors: Float32Array; readonly factor: number }

export interface Rope {
  readonly theta: number
  readonly scaling: RopeScaling
}

const f32 = Math.fround

export function ropeInvFreq(headDim: number, rope: Rope): Float32Array {
  const base = f32(rope.theta)
  const unscaled = Float32Array.from({ length: headDim / 2 }, (_, j) => f32(1 / f32(base ** f32((2 * j) / headDim))))
  const { scaling } = rope
  if (scaling.kind === 'llama3') return unscaled.map((frequency) => llama3(frequency, scaling))
  const scaled = unscaled.map((frequency) => f32(frequency / f32(scaling.factor)))
  return scaling.kind === 'divisors'
    ? scaled.map((frequency, j) => f32(frequency / (scaling.divisors[j] ?? 1)))
    : scaled
}

// A number divided by a tensor is computed there as number * (1 / tensor), in two rounded steps.
function llama3(frequency: number, s: Llama3Scaling): number {
  const wavelength = f32(f32(1 / frequency) * f32(2 * Math.PI))
  if (wavelength > f32(s.originalContext / s.lowFreqFactor)) return f32(frequency / f32(s.factor))
  if (wavelength < f32(s.originalContext / s.highFreqFactor)) return frequency
  const periods = f32(f32(1 / wavelength) * s.originalContext)
  const smooth = f32(f32(periods - f32(s.lowFreqFactor)) / f32(s.highFreqFactor - s.lowFreqFactor))
  return f32(f32(f32(f32(1 - smooth) * frequency) / f32(s.factor)) + f32(smooth * frequency))
}

/** From a LLaMA config.json: `rope_theta` with `rope_scaling` (4.x), or `rope_parameters` (5.x). */
export function ropeFromConfig(text: Fields, maxPositions: number): Rope {
  const parameters = text.object('rope_scaling') ?? text.object('rope_parameters')
  if ((parameters?.number('partial_rotary_factor') ?? text.number('partial_rotary_factor') ?? 1) !== 1) {
    throw unsupported(text.where, 'a `partial_rotary_factor` other than 1', 'rotary embeddings over whole heads')
  }
  const theta = parameters?.number('rope_theta', 0) ?? text.number('rope_theta', 0) ?? 10_000
  return {
    theta,
    scaling: parameters === undefined ? { kind: 'linear', factor: 1 } : scalingFromConfig(parameters, maxPositions),
  }
}

function scalingFromConfig(parameters: Fields, maxPositions: number): RopeScaling {
  const kind = parameters.string('rope_type') ?? parameters.string('type') ?? 'default'
  const need = (key: string): number => parameters.required(key, parameters.number(key, 0))
  if (kind === 'default') return { kind: 'linear', factor: 1 }
  if (kind === 'linear') return { kind, factor: need('factor') }
  if (kind !== 'llama3') throw unsupported(parameters.where, `rope type "${kind}"`, 'default, linear, llama3')
  return {
    kind,
    factor: need('factor'),
    lowFreqFactor: need('low_freq_factor'),
    highFreqFactor: need('high_freq_factor'),
    originalContext: parameters.integer('original_max_position_embeddings') ?? maxPositions,
  }
}
