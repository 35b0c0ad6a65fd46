// The engine itself, where what a test needs to see is below the faces.

import test from 'ava'
import { allocate } from '../../lib/engine/allocate.js'
import { Engine } from '../../lib/engine/engine.js'
import { defaultModel, describeNamedModel } from '../../lib/hub/named-model.js'

test('an abort between two passes of a prompt takes back the first', async (t) => {
  const description = await describeNamedModel(defaultModel, {})
  const engine = await Engine.open(
    description,
    { device: 'cpu', threads: 1, isa: 'auto', kvCache: 'f16', arithmetic: 'fast', weights: 'mapped' },
    () => ({ kvCacheBytes: 2 ** 30, maxWaiting: 1, prefixCacheBytes: 0, pictureCacheBytes: 0 }),
  )
  try {
    const { vocabSize } = engine.config.text
    const logits = () => allocate(vocabSize)
    const prompt = new Int32Array(1000).fill(5) // passes of 512 rows and 488
    const sequence = engine.createSequence()
    const controller = new AbortController()
    const heard: number[] = []
    const aborted = engine.run(controller.signal, (job) =>
      engine.append(sequence, [{ tokens: prompt }], logits(), job, (rows) => {
        heard.push(rows)
        t.is(sequence.length, 512) // the first pass stands in the sequence
        controller.abort()
      }),
    )
    await t.throwsAsync(aborted, { code: 'ABORTED' })
    t.deepEqual(heard, [512])
    t.is(sequence.length, 0)

    const first = [{ tokens: prompt.subarray(0, 512) }]
    const [again, expected] = [logits(), logits()]
    await engine.run(undefined, (job) => engine.append(sequence, first, again, job))
    const fresh = engine.createSequence()
    await engine.run(undefined, (job) => engine.append(fresh, first, expected, job))
    t.deepEqual(again, expected)
    sequence.dispose()
    fresh.dispose()
  } finally {
    engine.dispose()
  }
})
