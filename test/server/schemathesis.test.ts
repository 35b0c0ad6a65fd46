// /openapi.json held against the server by schemathesis, which makes requests of it, valid ones and others, and looks at what comes back: no failures of the
// server's own, answers of the types and shapes that the document says, and invalid requests refused. SCHEMATHESIS names the program, else it is looked for
// on the path.

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { isAtHand } from '../at-hand.js'
import { running } from './running.js'

const program = process.env['SCHEMATHESIS'] ?? 'schemathesis'
const hooks = fileURLToPath(new URL('../../../test/oracle/', import.meta.url))

const atHand = isAtHand(program, ['--version'])
const ifAtHand = atHand ? test : test.skip
const missing = atHand ? '' : ' (skipped: pip install schemathesis, or name the program in SCHEMATHESIS)'

/** A request may be of the right shape and still ask for what there is not. */
const withoutChecks = 'positive_data_acceptance'

ifAtHand(`schemathesis finds nothing${missing}`, async (t) => {
  t.timeout(300_000)
  const folder = await mkdtemp(path.join(tmpdir(), 'llava-schemathesis-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await using here = await running({ limits: { tokens: 8 } })
  const flags = ['--max-examples=20', '--generation-deterministic', `--exclude-checks=${withoutChecks}`, '--no-color']
  const ending = await new Promise<{ readonly code: unknown; readonly text: string }>((resolve) => {
    const env = {
      ...process.env,
      SCHEMATHESIS_HOOKS: 'schemathesis_hooks',
      PYTHONPATH: hooks,
      PYTHONDONTWRITEBYTECODE: '1',
    }
    execFile(program, ['run', `${here.url}/openapi.json`, ...flags], { cwd: folder, env }, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, text: stdout + stderr })
    })
  })
  t.is(ending.code, 0, ending.text)
  t.regex(ending.text, /\d{3,} generated, \d{3,} passed/)
  t.log(/\d+ generated, \d+ passed/.exec(ending.text)?.[0])
})
