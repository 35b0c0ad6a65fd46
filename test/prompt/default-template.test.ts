import test from 'ava'
import { defaultTemplate, type CheckpointTraits } from '../../lib/prompt/default-template.js'
import type { TemplateName } from '../../lib/prompt/templates.js'

const traits: CheckpointTraits = {
  name: 'model',
  imageTokens: false,
  byteLevelVocabulary: false,
  imStartToken: false,
  chatTemplate: false,
}

test("a checkpoint's name says its template, as in the original", (t) => {
  const names: Readonly<Record<string, TemplateName>> = {
    'llava-v1.5-7b': 'vicuna_v1',
    'llava-1.5-7b-hf': 'vicuna_v1',
    'ggml-model-q4_k': 'vicuna_v1',
    'bakllava-1': 'vicuna_v1',
    'Mistral-7B': 'vicuna_v1',
    'llava-llama-2-13b-chat-lightning-preview': 'llava_llama_2',
    'llava-v1.6-mistral-7b-hf': 'mistral_instruct',
    'llava-v1.6-34b': 'chatml',
    'LLaVA-Lightning-MPT-7B-preview': 'mpt',
    'llava-pretrain-v1-mmtag': 'v1_mmtag',
    'llava-7b-mmtag': 'v0_mmtag',
  }
  for (const [name, template] of Object.entries(names)) t.is(defaultTemplate({ ...traits, name }), template, name)
})

test('tokens around pictures mean the first LLaVA, unless the name says v1', (t) => {
  t.is(defaultTemplate({ ...traits, name: 'LLaVA-7B-delta-v0', imageTokens: true }), 'v0')
  t.is(defaultTemplate({ ...traits, name: 'llava-v1-0719-336px-lora', imageTokens: true }), 'vicuna_v1')
})

test("another family's vocabulary takes the checkpoint's own template, or chatml where it can", (t) => {
  const other = { ...traits, byteLevelVocabulary: true }
  t.is(defaultTemplate({ ...other, imStartToken: true, chatTemplate: true }), 'checkpoint')
  t.is(defaultTemplate({ ...other, imStartToken: true }), 'chatml')
  t.is(defaultTemplate(other), 'vicuna_v1')
  t.is(defaultTemplate({ ...traits, chatTemplate: true }), 'vicuna_v1')
})
