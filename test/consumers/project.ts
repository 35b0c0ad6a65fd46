// Throw-away projects that use the package as it is published: build/llava-native-VERSION.tgz, which `npm run package`
// makes.

import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../../', import.meta.url))

const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { readonly version: string }
export const tarball = path.join(root, `build/llava-native-${version}.tgz`)
export const staged = path.join(root, 'build/package')

/** What the model that comes with the package says of the picture that comes with it. */
export const expected = 'The picture shows a rocket, a dog and a cactus.'

export interface Ran {
  readonly code: number
  readonly stdout: string
  /** Standard output and error, for messages. */
  readonly all: string
}

/** Runs a program to its end, ten minutes at most. */
export function run(
  command: string,
  words: readonly string[],
  options: { readonly cwd: string; readonly env?: NodeJS.ProcessEnv },
): Promise<Ran> {
  const env = options.env ?? { ...process.env, ...quiet }
  return new Promise((resolve) => {
    execFile(
      command,
      words,
      { cwd: options.cwd, env, timeout: 600_000, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
        resolve({ code, stdout, all: `${stdout}${stderr}${error?.message ?? ''}` })
      },
    )
  })
}

/** ava's own settings are none of a consumer's. */
const quiet = { NODE_OPTIONS: '', NO_COLOR: '1', FORCE_COLOR: '0', npm_config_audit: 'false', npm_config_fund: 'false' }

/** A folder of many projects, with one npm cache. */
export class Workplace {
  private constructor(readonly folder: string) {}

  static async make(): Promise<Workplace> {
    return new Workplace(await realpath(await mkdtemp(path.join(tmpdir(), 'llava-consumers-'))))
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, ...quiet, npm_config_cache: this.#cache }
  }

  get #cache(): string {
    return path.join(this.folder, 'npm-cache')
  }

  /** A project with these files; `manifest` is its package.json. */
  async project(name: string, files: Readonly<Record<string, string>> = {}, manifest: object = {}): Promise<string> {
    const folder = path.join(this.folder, name)
    await mkdir(folder, { recursive: true })
    const all = {
      'package.json': JSON.stringify({ name: 'consumer', version: '1.0.0', private: true, ...manifest }),
      ...files,
    }
    for (const [file, text] of Object.entries(all)) {
      await mkdir(path.dirname(path.join(folder, file)), { recursive: true })
      await writeFile(path.join(folder, file), text)
    }
    return folder
  }

  /** The same, with the packages that another project has installed. */
  async sharing(
    installed: string,
    name: string,
    files: Readonly<Record<string, string>>,
    manifest: object = {},
  ): Promise<string> {
    const folder = await this.project(name, files, manifest)
    await symlink(path.join(installed, 'node_modules'), path.join(folder, 'node_modules'))
    return folder
  }

  /** The same, with a copy of what is installed. */
  async copying(
    installed: string,
    name: string,
    files: Readonly<Record<string, string>>,
    manifest: object = {},
  ): Promise<string> {
    const folder = await this.project(name, files, manifest)
    await cp(path.join(installed, 'node_modules'), path.join(folder, 'node_modules'), {
      recursive: true,
      verbatimSymlinks: true,
    })
    return folder
  }

  npm(folder: string, ...words: readonly string[]): Promise<Ran> {
    return run('npm', words, { cwd: folder, env: this.env })
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** Whether a program is on the PATH. */
export function isThere(program: string): boolean {
  return (process.env['PATH'] ?? '').split(path.delimiter).some((folder) => existsSync(path.join(folder, program)))
}

/**
 * A program that asks the model that comes with the package about the picture at `picture`, an expression, and prints
 * the answer.
 */
export const asking = (load: string, picture: string): string => `${load}
async function main() {
  const llava = await LLaVA.open(process.env.MODEL, { threads: 1 })
  const { text } = await llava.ask(${picture}, 'What is in this picture?')
  await llava.dispose()
  console.log(text)
}
main()
`

const packaged = "require.resolve('llava-native/package.json').replace('package.json', 'models/demo.png')"
export const byRequire = asking("const { LLaVA } = require('llava-native')", packaged)
export const byImport = asking(
  "import { LLaVA } from 'llava-native'\nimport { createRequire } from 'node:module'\nconst require = createRequire(import.meta.url)",
  packaged,
)
