// What is said beside an answer: how far it is before its first word, and what it took.

import type { Answer, ProgressListener } from '../index.js'
import type { Session } from './session.js'

/** Says on a terminal what happens before the first word. */
export function progressStatus(session: Session): ProgressListener {
  const words = {
    weights: 'copying the weights',
    image: 'encoding pictures',
    prompt: 'reading the prompt',
    generate: 'writing',
  }
  return ({ stage, done, total }) => {
    if (stage === 'weights') session.status(`${words[stage]} … ${Math.floor((100 * done) / Math.max(1, total))} %`)
    else if (stage !== 'generate' || done === 0) session.status(`${words[stage]} … ${done}/${total}`)
  }
}

/** What an answer took: `13 tokens, 41.2 tokens/s; picture 8 ms, prompt 34 ms`. */
export function summary({ usage, timings, finishReason }: Answer): string {
  const rate =
    timings.generateMs > 0 ? `, ${((usage.completionTokens / timings.generateMs) * 1000).toFixed(1)} tokens/s` : ''
  const picture = usage.imageTokens > 0 ? `picture ${timings.imageMs.toFixed(0)} ms, ` : ''
  const cut = finishReason === 'length' ? '; cut at the limit' : ''
  return `${usage.completionTokens} tokens${rate}; ${picture}prompt ${timings.promptMs.toFixed(0)} ms${cut}`
}
