// The routes of the APIs, in the order in which openapi.json lists them.

import { chatCompletions } from './openai/chat-completions.js'
import { listModels, oneModel } from './openai/models.js'
import type { Route } from './route.js'

export const apiRoutes: readonly Route[] = [chatCompletions, listModels, oneModel]
