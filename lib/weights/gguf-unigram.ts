// SigLIP's vocabulary as GGUF keys: those that llama.cpp has for T5's (tokenizer.ggml.model "t5"), and
// llava.tokenizer.lower_case.

import { checkedUnigram, type UnigramSpec } from '../tokenizer/unigram.js'
import type { Fields } from './fields.js'
import type { Entries } from './gguf-metadata.js'

const model = 't5'

export function unigramFields(spec: UnigramSpec): Entries {
  return [
    ['tokenizer.ggml.model', ['string', model]],
    ['tokenizer.ggml.pre', ['string', 'default']],
    ['tokenizer.ggml.tokens', ['strings', spec.pieces]],
    ['tokenizer.ggml.scores', ['f32s', spec.scores]],
    ['tokenizer.ggml.token_type', ['i32s', spec.types]],
    ['tokenizer.ggml.eos_token_id', ['u32', spec.eosId]],
    ['tokenizer.ggml.unknown_token_id', ['u32', spec.unknownId]],
    ['tokenizer.ggml.padding_token_id', ['u32', spec.padId]],
    ['tokenizer.ggml.add_space_prefix', ['bool', true]],
    ['tokenizer.ggml.remove_extra_whitespaces', ['bool', spec.removeExtraWhitespaces]],
    ['tokenizer.ggml.precompiled_charsmap', ['u8s', spec.charsmap]],
    ['llava.tokenizer.lower_case', ['bool', spec.lowerCase]],
  ]
}

export function isUnigramGguf(keys: Fields): boolean {
  return keys.raw('tokenizer.ggml.model') === model
}

export function ggufUnigram(keys: Fields): UnigramSpec {
  const pieces = keys.required('tokenizer.ggml.tokens', keys.raw('tokenizer.ggml.tokens'))
  if (!Array.isArray(pieces) || !pieces.every((piece) => typeof piece === 'string'))
    throw keys.mistake('tokenizer.ggml.tokens', 'a list of strings')
  const numbers = (key: string): readonly number[] => {
    const values = keys.required(key, keys.numbers(key))
    if (values.length !== pieces.length) throw keys.mistake(key, `a list of ${pieces.length} numbers`)
    return values
  }
  const id = (key: string): number =>
    keys.required(`tokenizer.ggml.${key}_token_id`, keys.integer(`tokenizer.ggml.${key}_token_id`, 0))
  const charsmap = keys.raw('tokenizer.ggml.precompiled_charsmap') ?? new Uint8Array(0)
  if (!(charsmap instanceof Uint8Array || charsmap instanceof Int8Array))
    throw keys.mistake('tokenizer.ggml.precompiled_charsmap', 'bytes')
  return checkedUnigram({
    pieces,
    scores: Float32Array.from(numbers('tokenizer.ggml.scores')),
    types: Uint8Array.from(numbers('tokenizer.ggml.token_type')),
    unknownId: id('unknown'),
    charsmap: Uint8Array.from(charsmap),
    removeExtraWhitespaces: keys.boolean('tokenizer.ggml.remove_extra_whitespaces') !== false,
    eosId: id('eos'),
    padId: id('padding'),
    lowerCase: keys.boolean('llava.tokenizer.lower_case') !== false,
  })
}
