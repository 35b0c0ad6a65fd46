// node tools/format-native.mjs [--check]: lays out native code as .clang-format says; with --check only says which files are not.
// Takes the command in CLANG_FORMAT, else clang-format; another version than this one would lay out other lines.

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const version = '23.1.5'
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
const command = process.env.CLANG_FORMAT ?? 'clang-format'

const found = spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout ?? ''
if (!found.includes(version)) {
  console.error(
    `Native code is laid out by clang-format ${version}: pip install clang-format==${version}, or name it in CLANG_FORMAT.`,
  )
  process.exit(1)
}
const files = readdirSync(path.join(root, 'native'), { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.(?:cc|h|cu|cuh)$/.test(file))
  .map((file) => path.join('native', file))
const { status } = spawnSync(command, [...(values.check ? ['--dry-run', '--Werror'] : ['-i']), ...files], {
  cwd: root,
  stdio: 'inherit',
})
process.exitCode = status ?? 1
