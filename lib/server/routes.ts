// The routes of the APIs, in the order in which openapi.json lists them.

import { attention } from './llava/attention.js'
import { chat } from './ollama/chat.js'
import { embed } from './ollama/embed.js'
import { generate } from './ollama/generate.js'
import { show, tags, version } from './ollama/models.js'
import { chatCompletions } from './openai/chat-completions.js'
import { embeddings } from './openai/embeddings.js'
import { listModels, oneModel } from './openai/models.js'
import { responses } from './openai/responses.js'
import { preview } from './preview.js'
import type { Route } from './route.js'

export const apiRoutes: readonly Route[] = [
  ...[chatCompletions, responses, embeddings, listModels, oneModel],
  attention,
  ...[chat, generate, embed, tags, show, version],
  preview,
]
