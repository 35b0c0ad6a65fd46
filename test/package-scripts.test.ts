// package.json names files; each must be in the checkout, or be built from one that is.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const { scripts, bin, exports } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Record<
  'scripts' | 'bin' | 'exports',
  object
>

/** dist/bench/main.js comes from bench/main.ts: a file of an earlier build in dist proves nothing. */
const source = (file: string): string => file.replace(/^(?:\.\/)?dist\/(.*?)(?:\.d\.ts|\.js)$/, '$1.ts')

for (const file of new Set(JSON.stringify([scripts, bin, exports]).match(/[\w./-]+\.(?:mjs|js|d\.ts)\b/g))) {
  test(`${file} of package.json comes from the checkout`, (t) => {
    t.true(existsSync(path.join(root, source(file))), source(file))
  })
}
