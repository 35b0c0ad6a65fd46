// Memory runs out at every place where native code asks for some, one after the other: each time the call fails with OUT_OF_MEMORY, nothing is left
// behind, and the same model does the work the next time. Linux with glibc only, for the probe that is preloaded.

import test from 'ava'
import pLimit from 'p-limit'
import { probePath } from './allocation-probe.js'
import { runChild, wellEnded } from './child.js'
import { kindsOfWork } from './work-that-allocates.js'

const onLinux = process.platform === 'linux' ? test : test.skip

/** Processes at once. */
const limit = pLimit(2)

for (const work of kindsOfWork) {
  onLinux(`memory runs out anywhere while ${work}`, async (t) => {
    const { stdout, ...ending } = await limit(() => runChild(work, ['--expose-gc'], { script: 'failing-allocations.js', env: { LD_PRELOAD: probePath } }))
    t.deepEqual({ ...ending, stdout: '' }, wellEnded(''))
    const { sites, harmless } = JSON.parse(stdout) as { readonly sites: number; readonly harmless: number }
    t.log(`${sites} allocations failed, ${harmless} of them without harm`)
    t.true(sites > 0)
  })
}

onLinux('a step that gets no page and the others, which are cancelled, report each its own failure, and the model goes on', async (t) => {
  t.deepEqual(await limit(() => runChild('', [], { script: 'failing-page.js', env: { LD_PRELOAD: probePath } })), wellEnded('midway'))
})
