// A model that goes on until somebody stops it, slowly enough to be watched.

import type { LLaVA } from '../../lib/index.js'

const msPerToken = 20
const clock = new Int32Array(new SharedArrayBuffer(4))

export function endless(model: LLaVA): void {
  const chat = model.chat.bind(model)
  const goOn: typeof chat = (messages, options) =>
    chat(messages, {
      ...options,
      regex: '[a-z ]{100000}',
      logitsProcessor: {
        process() {
          Atomics.wait(clock, 0, 0, msPerToken)
        },
      },
    })
  model.chat = goOn
}
