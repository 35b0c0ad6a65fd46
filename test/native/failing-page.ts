// What failing-allocations.test.ts runs in a process of its own, with the probe preloaded: of a pass, one step gets no page, and all others are cancelled
// while it is under way. Prints 'midway' once that has been seen, and throws on anything that should not be.

import { setTimeout as sleep } from 'node:timers/promises'
import { native, type NativeStep } from '../../lib/native.js'
import { loadProbe } from './allocation-probe.js'
import { difference, GoldenModel } from './golden-models.js'

const probe = loadProbe()
native()
if (probe.watch('llava_native') === 0) throw new Error('the native code is not there to be watched')

using golden = await GoldenModel.open('hf-f32', { threads: 2, arithmetic: 'exact' })
const { vocabSize, contextLength } = golden.config.text
const [short, long] = [golden.tokens(2, 40), golden.tokens(1, contextLength)]
const expected = (await golden.run([short])).slice(-vocabSize)
const codeOf = (failure: Error | null | undefined) => (failure as { readonly code?: string } | null | undefined)?.code

/** A pass of one short text and of many long ones, in which allocation `n` fails. */
async function pass(n: number, cancel: (cancelAll: () => void) => Promise<void>): Promise<readonly (Error | null)[]> {
  const cancellation = new (native().Cancellation)()
  const others = Array.from({ length: 60 }, (): NativeStep => ({ sequence: golden.model.createSequence(), segments: [long], logits: 'none', cancellation }))
  const failing: NativeStep = { sequence: golden.model.createSequence(), segments: [short], logits: 'last', cancellation: null }
  const logits = new Float32Array(vocabSize)
  probe.fail(n)
  try {
    const running = golden.model.forward([failing, ...others], logits)
    await cancel(() => {
      cancellation.cancel()
    })
    const { failures } = await running
    if (failing.sequence.length !== (failures[0] === null ? 40 : 0)) throw new Error(`a step that ended with ${codeOf(failures[0])} has ${failing.sequence.length} positions`)
    for (const [i, { sequence }] of others.entries()) {
      const failure = failures[i + 1]
      if (failure !== null && codeOf(failure) !== 'ABORTED') throw new Error('a cancelled step has a failure of another', { cause: failure })
      if (sequence.length !== (failure === null ? contextLength : 0)) throw new Error(`a step that ended with ${codeOf(failure)} has ${sequence.length} positions`)
    }
    return failures
  } finally {
    probe.fail(0)
    for (const { sequence } of [failing, ...others]) sequence.dispose()
  }
}

/** The allocation that is the page of the first step: when it fails, that step does, and no other. */
async function pageOfTheFirst(): Promise<number> {
  for (let n = 1; n < 1000; n++) {
    try {
      const failures = await pass(n, () => Promise.resolve())
      if (codeOf(failures[0]) === 'OUT_OF_MEMORY' && failures.slice(1).every((failure) => failure === null)) return n
    } catch (error) {
      if (codeOf(error as Error) !== 'OUT_OF_MEMORY') throw error
    }
  }
  throw new Error('no allocation is the page of the first step')
}

for (let i = 0; i < 3; i++) await pass(0, () => Promise.resolve()) // activations have their memory from now on, so that a pass asks for pages alone
const page = await pageOfTheFirst()
let midway = false
// a busy machine may cancel too early or too late for the test, though never wrongly
for (let attempt = 0; attempt < 60 && !midway; attempt++) {
  const failures = await pass(page, async (cancelAll) => {
    await sleep(attempt % 12)
    cancelAll()
  })
  if (codeOf(failures[0]) !== 'OUT_OF_MEMORY') throw new Error('the step without a page has another failure', { cause: failures[0] })
  midway = failures.slice(1).every((failure) => failure?.message === 'the work was cancelled')
  const wrong = difference((await golden.run([short])).slice(-vocabSize), expected)
  if (wrong !== undefined) throw new Error(`afterwards, ${wrong}`)
}
process.stdout.write(midway ? 'midway' : 'never midway')
