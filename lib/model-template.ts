// The prompt format of a model when nobody names one, by what its description says.

import { defaultTemplate } from './prompt/default-template.js'
import type { TemplateName } from './prompt/templates.js'
import type { ModelDescription } from './weights/model-description.js'

export function modelTemplate({ card, imageTokens, tokenizer, chatTemplate }: ModelDescription): TemplateName {
  return defaultTemplate({
    name: card.name,
    imageTokens: imageTokens !== undefined,
    byteLevelVocabulary: tokenizer.byteLevel !== undefined,
    imStartToken: tokenizer.addedTokens.some(({ content }) => content === '<|im_start|>'),
    chatTemplate: chatTemplate !== undefined,
  })
}
