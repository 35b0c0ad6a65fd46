// Every block of code in the documents is run as a reader would run it, against the model that comes with the package.
//   ts: type-checked together, then run · js: run as it stands · sh: each line by bash · console: each command, and its output is the one printed

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import ts from 'typescript'

const root = fileURLToPath(new URL('../../', import.meta.url))
/** docs/api.md is a list of declarations. */
const pages = readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== 'api.md')
const documents = ['README.md', 'bench/README.md', ...pages.map((name) => `docs/${name}`)]

interface Block {
  /** `README.md:61` */
  readonly where: string
  readonly language: string
  readonly code: string
}

async function blocksOf(document: string): Promise<readonly Block[]> {
  const text = await readFile(path.join(root, document), 'utf8')
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(({ 1: language = '', 2: code = '', index }) => {
    return { where: `${document}:${text.slice(0, index).split('\n').length}`, language, code }
  })
}

const blocks = (await Promise.all(documents.map(blocksOf))).flat()

/** A reader's folder, inside the package so that its name means itself. */
let folder: string
let environment: NodeJS.ProcessEnv

test.before(async () => {
  await mkdir(path.join(root, 'build'), { recursive: true })
  folder = await mkdtemp(path.join(root, 'build/documents-'))
  const bin = path.join(folder, 'bin')
  await mkdir(bin)
  await writeFile(
    path.join(bin, 'llava'),
    `#!/bin/sh\nexec '${process.execPath}' '${path.join(root, 'dist/lib/cli/main.js')}' "$@"\n`,
  )
  await chmod(path.join(bin, 'llava'), 0o755)
  await symlink(path.join(root, 'models'), path.join(folder, 'models'))
  for (const picture of ['cat.jpg', 'before.png', 'after.png'])
    await copyFile(path.join(root, 'models/demo.png'), path.join(folder, picture))
  await mkdir(path.join(folder, 'out'))
  const hub = { HF_ENDPOINT: 'http://127.0.0.1:1', HF_HUB_CACHE: path.join(folder, 'hub'), HF_TOKEN: '' }
  environment = { ...process.env, ...hub, DEBUG: undefined, PATH: `${bin}:${process.env['PATH']}` }
})

test.after.always(() => rm(folder, { recursive: true, force: true }))

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

async function run(command: string, args: readonly string[]): Promise<Ran> {
  try {
    const running = promisify(execFile)(command, args, { cwd: folder, env: environment, timeout: 240_000 })
    running.child.stdin?.end()
    return { code: 0, ...(await running) }
  } catch (error) {
    const {
      code,
      stdout = '',
      stderr = '',
    } = error as { readonly code?: unknown; readonly stdout?: string; readonly stderr?: string }
    return { code: typeof code === 'number' ? code : -1, stdout, stderr: stderr === '' ? String(error) : stderr }
  }
}

test('the documents have blocks of each kind', (t) => {
  t.deepEqual([...new Set(blocks.map(({ language }) => language))].sort(), ['console', 'js', 'sh', 'ts'])
  t.true(blocks.length >= 12)
})

/** The anchor that GitHub gives a heading. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s-]/gu, '')
    .replaceAll(' ', '-')

test('the links of the documents lead somewhere', async (t) => {
  for (const document of documents) {
    const text = await readFile(path.join(root, document), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [file = '', fragment] = target.split('#')
      const page = path.join(root, file === '' ? document : path.join(path.dirname(document), file))
      t.true(existsSync(page), `${document}: ${target}`)
      if (fragment === undefined) continue
      const headings = [...(await readFile(page, 'utf8')).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading)
      t.true(headings.map(anchor).includes(fragment), `${document}: ${target}`)
    }
  }
})

test('every page of the guide stands in its contents and on the site', async (t) => {
  const contents = await readFile(path.join(root, 'docs/README.md'), 'utf8')
  const { projectDocuments } = JSON.parse(await readFile(path.join(root, 'typedoc.json'), 'utf8')) as {
    readonly projectDocuments: readonly string[]
  }
  for (const page of pages) {
    t.true(projectDocuments.includes(`docs/${page}`), page)
    if (page !== 'README.md') t.true(contents.includes(`](${page})`), page)
  }
})

const typescript = blocks.filter(({ language }) => language === 'ts')
const fileOf = ({ where }: Block, extension: string) =>
  path.join(folder, `${where.replaceAll(/\W/g, '-')}.${extension}`)

test.serial('the TypeScript of the documents has no type error', async (t) => {
  for (const block of typescript) await writeFile(fileOf(block, 'mts'), block.code)
  const options = {
    strict: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  }
  const program = ts.createProgram(
    typescript.map((block) => fileOf(block, 'mts')),
    { ...options, skipLibCheck: true, types: ['node'] },
  )
  t.deepEqual(
    ts
      .getPreEmitDiagnostics(program)
      .map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
    [],
  )
})

for (const block of blocks.filter(({ language }) => language === 'ts' || language === 'js')) {
  test.serial(`${block.where} runs`, async (t) => {
    const options = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext }
    const code =
      block.language === 'js' ? block.code : ts.transpileModule(block.code, { compilerOptions: options }).outputText
    await writeFile(fileOf(block, 'mjs'), code)
    const {
      code: status,
      stdout,
      stderr,
    } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', fileOf(block, 'mjs')])
    t.is(stderr, '')
    t.is(status, 0)
    t.not(stdout, '')
  })
}

/** Lines that end otherwise here, where there is no hub and llava-1.5-7b has not been pulled. */
const endsOtherwise: readonly (readonly [line: RegExp, code: RegExp])[] = [
  [/^llava pull /, /DOWNLOAD_FAILED/],
  [/^llava (?:show|rm) llava-1\.5-7b/, /MODEL_NOT_FOUND/],
]

/** Lines that install, build or measure: what they name is looked up, and nothing is run. */
const lookedUp: readonly RegExp[] = [/^npm /, /^node tools\//]

/** Another program; llama-cpp.test.ts asks it the same where it is at hand. */
const elsewhere = /^llama-mtmd-cli /

/** A line that goes on until it is stopped: it is, once it says something. */
const goesOn = /^llava serve\b/

const commands = blocks.flatMap(({ where, language, code }) => {
  if (language !== 'sh') return []
  const lines = code
    .trimEnd()
    .split('\n')
    .filter((line) => !elsewhere.test(line))
  return lines.map((line) => ({ where, line: line.replace(/\s+# .*$/, '') }))
})

for (const { where, line } of commands.filter(({ line: one }) => goesOn.test(one))) {
  test.serial(`${where}: ${line} goes on until it is stopped`, async (t) => {
    const child = spawn('bash', ['-c', `exec ${line} --port 0`], { cwd: folder, env: environment })
    const [said] = (await once(child.stdout, 'data')) as [Buffer]
    t.regex(said.toString(), /"event":"listening"/)
    child.stdout.resume()
    child.kill('SIGTERM')
    t.deepEqual(await once(child, 'close'), [0, null])
  })
}

const ends = (line: string) => !goesOn.test(line) && !lookedUp.some((pattern) => pattern.test(line))

for (const { where, line } of commands.filter(({ line: one }) => ends(one))) {
  test.serial(`${where}: ${line}`, async (t) => {
    const [, failure] = endsOtherwise.find(([pattern]) => pattern.test(line)) ?? []
    const { code, stderr } = await run('bash', ['-c', line])
    if (failure !== undefined) t.regex(stderr, failure)
    t.is(code, failure === undefined ? 0 : 1, stderr)
  })
}

for (const { where, line } of commands.filter(({ line: one }) => lookedUp.some((pattern) => pattern.test(one)))) {
  test.serial(`${where}: ${line} names what is there`, async (t) => {
    const { scripts } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
      readonly scripts: Readonly<Record<string, string>>
    }
    for (const [, script = ''] of line.matchAll(/npm (?:run )?([\w:]+)/g))
      t.true(script in scripts || ['ci', 'cit'].includes(script), script)
    for (const [file] of line.matchAll(/tools\/[\w.-]+/g)) t.true((await readFile(path.join(root, file))).length > 0)
    const [, verb] = /npm run bench -- ([\w-]+)/.exec(line) ?? []
    const help =
      verb === undefined
        ? ''
        : (await run(process.execPath, [path.join(root, 'dist/bench/main.js'), verb, '--help'])).stdout
    if (verb !== undefined) for (const [flag] of line.matchAll(/--[a-z]+/g)) t.true(help.includes(flag), flag)
  })
}

for (const { where, code } of blocks.filter(({ language }) => language === 'console')) {
  for (const [, command = '', printed = ''] of code.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) {
    test.serial(`${where}: ${command} prints what the document says`, async (t) => {
      const { stdout, code: status } = await run('bash', ['-c', command])
      t.is(stdout, printed)
      t.is(status, 0)
    })
  }
}
