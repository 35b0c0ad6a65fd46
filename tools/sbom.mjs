// npm run sbom: build/sbom.cdx.json, a CycloneDX bill of all that ships: the packages as npm knows them, bundled ones
// too, and the models.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { version, license } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

/** Trained for this package by models/recipe, and under its licence. */
const models = ['models/default.gguf', 'models/clip/model.safetensors']

function modelComponent(file) {
  const content = createHash('sha256')
    .update(readFileSync(path.join(root, file)))
    .digest('hex')
  return {
    type: 'machine-learning-model',
    'bom-ref': file,
    name: file,
    version,
    hashes: [{ alg: 'SHA-256', content }],
    licenses: [{ license: { id: license } }],
  }
}

const { status, stdout, stderr } = spawnSync('npm', ['sbom', '--omit', 'dev', '--sbom-format', 'cyclonedx'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 1 << 26,
})
if (status !== 0) throw new Error(`npm sbom failed:\n${stderr}`)
const bill = JSON.parse(stdout)
bill.components.push(...models.map(modelComponent))
const unlicensed = bill.components.filter(({ licenses = [] }) => licenses.length === 0).map(({ name }) => name)
if (unlicensed.length > 0) throw new Error(`no licence is known of ${unlicensed.join(', ')}`)
mkdirSync(path.join(root, 'build'), { recursive: true })
writeFileSync(path.join(root, 'build/sbom.cdx.json'), `${JSON.stringify(bill, null, 2)}\n`)
console.log(`build/sbom.cdx.json  ${bill.components.length} components`)
