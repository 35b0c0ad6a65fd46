// npm run package: what is published, as build/package/ and as build/llava-native-VERSION.tgz. Needs dist (npm run
// build:ts, npm run build:web) and prebuilds/ (npm run prebuilds).
//   dist      the JavaScript of lib and bench in few files, as every file of its own costs an import half a
//             millisecond; types as tsc wrote them. What is used of some packages is in them, a fifth of what these
//             weigh; their licences stand in THIRD_PARTY_LICENSES.txt
//   TARGET    a subpath for each binary, which loads it by a literal require: for bundlers, which follow nothing else
// package.json comes without what only a checkout needs.

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const from = (...names) => path.join(root, ...names)
const staged = from('build/package')
const to = (...names) => path.join(staged, ...names)

/** Copied as they are. */
const files = [
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'SECURITY.md',
  'ARCHITECTURE.md',
  'docs',
  'models/default.gguf',
  'models/clip',
  'models/demo.png',
  'dist/web',
  'prebuilds',
  'native',
  'binding.gyp',
  'CMakeLists.txt',
  'tools/build-native.mjs',
  'tools/make-nodedir.mjs',
]

/**
 * Dependencies that are bundled: JavaScript without binaries, in ESM, of which little is used or which every import
 * would load.
 */
const bundled = [
  '@eslint-community/regexpp',
  '@huggingface/hub',
  '@huggingface/jinja',
  '@huggingface/tokenizers',
  '@valibot/to-json-schema',
  'hono',
  'hyparquet',
  'hyparquet-writer',
  'lru-cache',
  'p-limit',
  'valibot',
]

const manifest = JSON.parse(readFileSync(from('package.json'), 'utf8'))
for (const key of ['private', 'scripts', 'devDependencies', 'ava', 'c8', 'config']) delete manifest[key]
const dependencies = Object.fromEntries(
  Object.entries(manifest.dependencies).filter(([name]) => !bundled.includes(name)),
)

/**
 * What is imported or run by name: subpaths, the command, a process of the bench, and what the subpaths of binaries
 * import.
 */
const entryPoints = [
  ...Object.values(manifest.exports).flatMap((subpath) => subpath.default ?? []),
  ...Object.values(manifest.bin),
  'dist/bench/count-child.js',
  'dist/lib/native-binary.js',
]

function copyFiles() {
  for (const file of files) cpSync(from(file), to(file), { recursive: true })
  rmSync(to('native/testing'), { recursive: true })
  for (const folder of ['dist/lib', 'dist/bench'])
    cpSync(from(folder), to(folder), { recursive: true, filter: (file) => !/\.js(\.map)?$/.test(file) })
}

/** Writes dist; the packages that have gone into it. */
function bundle() {
  const { metafile } = buildSync({
    absWorkingDir: root,
    entryPoints,
    outbase: 'dist',
    outdir: path.relative(root, to('dist')),
    chunkNames: 'lib/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    external: Object.keys({ ...dependencies, ...manifest.peerDependencies }),
    minifyWhitespace: true,
    legalComments: 'none', // all licences stand in one file
    metafile: true,
    logLevel: 'warning',
  })
  const used = Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : [])),
  )
  const folders = used.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [])
  return [...new Set(folders)].sort()
}

function writeLicences(folders) {
  const texts = folders.map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(from(folder, 'package.json'), 'utf8'))
    const file = readdirSync(from(folder)).find((one) => /^licen[cs]e/i.test(one))
    const text = file === undefined ? '' : `\n${readFileSync(from(folder, file), 'utf8').trim()}\n`
    return `${name} ${version} (${license})\n${text}`
  })
  writeFileSync(
    to('THIRD_PARTY_LICENSES.txt'),
    `Parts of these packages are in dist; dist/web/licenses.md has those of the chat page.\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`,
  )
}

/**
 * Each target's two files: a CommonJS one, whose require bundlers follow, and the module that hands its binary to the
 * library.
 */
function writeTargets(targets) {
  mkdirSync(to('dist/targets'))
  for (const target of targets) {
    const module = `import addon from './${target}.cjs'\nimport { useBinary } from '../lib/native-binary.js'\nuseBinary(addon)\nexport * from '../lib/index.js'\n`
    writeFileSync(
      to(`dist/targets/${target}.cjs`),
      `module.exports = require('../../prebuilds/${target}/llava_native.node')\n`,
    )
    writeFileSync(to(`dist/targets/${target}.js`), module)
    writeFileSync(to(`dist/targets/${target}.d.ts`), `export * from '../lib/index.js'\n`)
  }
}

function writeManifest(targets) {
  const subpaths = targets.map((target) => [
    `./${target}`,
    { types: `./dist/targets/${target}.d.ts`, default: `./dist/targets/${target}.js` },
  ])
  const exports = { ...manifest.exports, ...Object.fromEntries(subpaths) }
  writeFileSync(to('package.json'), `${JSON.stringify({ ...manifest, exports, dependencies }, null, 2)}\n`)
}

rmSync(staged, { recursive: true, force: true })
const targets = existsSync(from('prebuilds')) ? readdirSync(from('prebuilds')).sort() : []
if (targets.length === 0) {
  console.error('There is no binary to publish in prebuilds/: npm run prebuilds makes them.')
  process.exit(1)
}
copyFiles()
writeLicences(bundle())
writeTargets(targets)
writeManifest(targets)
const { status, stdout, stderr } = spawnSync('npm', ['pack', staged, '--json', '--pack-destination', from('build')], {
  encoding: 'utf8',
  maxBuffer: 1 << 26,
})
if (status !== 0) throw new Error(`npm pack failed:\n${stderr}`)
const packed = JSON.parse(stdout)
const [{ filename, size, unpackedSize }] = Array.isArray(packed) ? packed : Object.values(packed)
console.log(
  `build/${filename}  ${(size / 1e6).toFixed(1)} MB, ${(unpackedSize / 1e6).toFixed(1)} MB unpacked  ${targets.join(' ')}`,
)
