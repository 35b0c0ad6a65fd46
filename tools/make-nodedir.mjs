// node tools/make-nodedir.mjs DIRECTORY: a header tree for node-gyp, made out of the package node-api-headers.
// node-gyp wants the headers of one Node.js release and downloads them; an addon on Node-API needs none of those beyond the Node-API ones.
// With `--nodedir=DIRECTORY` (or `npm_package_config_node_gyp_nodedir`, see package.json) nothing is downloaded on any machine.

import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Release settings of a plain Node-API addon; what the project itself wants stands in binding.gyp. */
const commonGypi = `{
  'variables': { 'node_engine%': 'v8', 'openssl_fips%': '', 'clang%': 0, 'enable_lto%': 'false' },
  'target_defaults': {
    'default_configuration': 'Release',
    'configurations': { 'Release': { 'defines': ['NDEBUG'] }, 'Debug': { 'cflags': ['-g'] } },
    'cflags': ['-fPIC', '-pthread'],
    'ldflags': ['-pthread']
  }
}
`

/**
 * Writes `directory`/include/node; existing files are replaced. Headers are as old as the package's: nothing is compiled
 * again for a copy.
 */
export function makeNodedir(directory) {
  const include = path.join(path.resolve(directory), 'include/node')
  mkdirSync(include, { recursive: true })
  cpSync(createRequire(import.meta.url)('node-api-headers').include_dir, include, {
    recursive: true,
    preserveTimestamps: true,
  })
  writeFileSync(path.join(include, 'config.gypi'), "{ 'target_defaults': {}, 'variables': {} }\n")
  writeFileSync(path.join(include, 'common.gypi'), commonGypi)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const directory = process.argv[2]
  if (directory === undefined) {
    console.error('usage: node tools/make-nodedir.mjs DIRECTORY')
    process.exit(1)
  }
  makeNodedir(directory)
}
