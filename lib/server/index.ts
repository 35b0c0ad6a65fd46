// The public names of `llava-native/server`.

export { serve } from './server.js'
export type { LlavaServer } from './server.js'
export type { LogEntry, ServerLimits, ServerOptions } from './server-options.js'
