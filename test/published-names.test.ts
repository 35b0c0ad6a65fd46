// What is promised and what the documents say of it.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'

const root = fileURLToPath(new URL('../../', import.meta.url))
const textOf = (file: string) => readFileSync(path.join(root, file), 'utf8')

test('the guide lists every error code, and no other', (t) => {
  const [, codes = ''] = /export type LlavaErrorCode =((?:\s*\| '\w+')+)/.exec(textOf('lib/errors.ts')) ?? []
  const defined = codes.match(/\w+/g) ?? []
  const listed = [...textOf('docs/troubleshoot.md').matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code]) => code!)
  t.true(defined.length > 0)
  t.deepEqual(listed.sort(), defined.sort())
})

test('docs/api.md is what lib/index.ts exports', async (t) => {
  await t.notThrowsAsync(promisify(execFile)(process.execPath, [path.join(root, 'tools/api-report.mjs'), '--check']))
})
