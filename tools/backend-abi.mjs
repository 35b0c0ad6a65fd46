// node tools/backend-abi.mjs [--write]: whether kAbiSources of native/ops/backend_library.h is the digest of the
// headers that describe what crosses between the addon and the shared library of a back end; with --write puts it
// there. Comments and layout do not count.

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const native = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../native')
const library = 'ops/backend_library.h'
/** Those that backend_library.h stands on, and the codes of errors. */
const headers = [
  'common/blocks.h',
  'common/cancellation.h',
  'common/dtype.h',
  'common/error.h',
  'ops/args.h',
  'ops/backend_library.h',
  'ops/device.h',
  'ops/ops.def',
  'ops/tensor.h',
]
const constant = /kAbiSources = (\w+);/

const read = (file) => readFileSync(path.join(native, file), 'utf8')

function digest() {
  const hash = createHash('sha256')
  for (const file of headers) {
    const code = read(file)
      .replace(constant, '')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/\/\/.*$/gm, '')
    hash.update(`${file}\n${code.replace(/\s+/g, '')}\n`)
  }
  return `0x${hash.digest('hex').slice(0, 16)}`
}

const { values } = parseArgs({ options: { write: { type: 'boolean', default: false } } })
const now = digest()
const [, stands] = constant.exec(read(library))
if (values.write) writeFileSync(path.join(native, library), read(library).replace(constant, `kAbiSources = ${now};`))
else if (stands !== now) {
  console.error(
    `kAbiSources of native/${library} is ${stands}, and its headers are ${now}: node tools/backend-abi.mjs --write`,
  )
  process.exitCode = 1
}
