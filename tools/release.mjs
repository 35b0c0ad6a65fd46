// npm run release -- [--dry-run]: publishes the version of package.json, with what is in prebuilds/. With --dry-run
// everything but that. Stops at the first thing that is wrong.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({ options: { 'dry-run': { type: 'boolean', default: false } } })
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

const targets = [
  'linux-x64',
  'linux-x64-musl',
  'linux-arm64',
  'linux-arm64-musl',
  'win32-x64',
  'darwin-arm64',
  'darwin-x64',
]

const wrong = []

/** Says what is wrong; without --dry-run nothing is done after it. */
function check(isRight, sentence) {
  if (isRight) return
  console.error(sentence)
  wrong.push(sentence)
}

function run(command, ...words) {
  const { status } = spawnSync(command, words, { cwd: root, stdio: 'inherit' })
  check(status === 0, `${[command, ...words].join(' ')} failed`)
}

const { stdout: changes } = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' })
check(changes === '', 'the tree has changes that are not committed')
check(
  readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8').includes(`\n## ${version}\n`),
  `CHANGELOG.md has no section ${version}`,
)
const missing = targets.filter((target) => !existsSync(path.join(root, 'prebuilds', target, 'llava_native.node')))
check(missing.length === 0, `prebuilds/ lacks ${missing.join(', ')}`)
run('npm', 'run', '--silent', 'package')
run('npm', 'run', '--silent', 'sbom')
run(process.execPath, 'tools/api-report.mjs', '--check')
const publish = ['publish', `build/llava-native-${version}.tgz`, '--provenance', '--access', 'public']
if (values['dry-run']) console.log(`would run: npm ${publish.join(' ')}`)
else if (wrong.length === 0) run('npm', ...publish)
process.exitCode = wrong.length === 0 ? 0 : 1
