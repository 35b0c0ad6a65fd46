// What a package costs before it does anything: the time that npm takes to install it into an empty project with an
// empty cache, its size on the disk, the time of its import, and the time from `node` to an answer and the end of the
// process. Ours answers about a picture, with the model that comes with it; node-llama-cpp, which brings none, answers
// the text of the same question with that model's language model. The others bring none either. No scripts are run, as
// some of them download. The processes of all packages take turns.

import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { median } from '../lib/benchmark/statistics.js'
import { convertModel } from '../lib/index.js'
import { packageFile } from '../lib/package-files.js'

export const installedPackages = [
  'llava-native',
  'node-llama-cpp',
  'onnxruntime-node',
  '@huggingface/transformers',
  'sharp',
] as const

export type InstalledPackage = (typeof installedPackages)[number]

export interface InstallLine {
  readonly kind: 'install'
  readonly package: InstalledPackage
  readonly version: string
  /** Seconds of npm, downloads included. */
  readonly installSeconds: number
  /** Bytes of node_modules. */
  readonly nbytes: number
  /** Milliseconds, medians: the import, and a whole process that imports, opens, answers and ends. */
  readonly importMs: number
  readonly answerMs?: number
  readonly answer?: string
  /** A whole process that does nothing. */
  readonly nodeMs: number
  /** Processes that ran or waited for a CPU, averaged over a minute: before the turns and after them. */
  readonly load: readonly [before: number, after: number]
}

export interface InstallOptions {
  /** Where the projects are made. */
  readonly directory: string
  readonly packages: readonly InstalledPackage[]
  /** Turns of the processes. */
  readonly repeat: number
}

/** Installs each package, then times processes of all in turns. */
export async function measureInstall({ directory, packages, repeat }: InstallOptions): Promise<readonly InstallLine[]> {
  const projects: Project[] = []
  for (const name of packages) projects.push(await Project.install(name, directory))
  const before = loadavg()[0]!
  for (let turn = 0; turn < repeat; turn++) for (const project of projects) await project.takeTurn()
  return projects.map((project) => project.line([before, loadavg()[0]!]))
}

const question = 'What is in this picture?'

/** Writes what a program needs into its project, and gives the program, which prints an answer. */
const answering: Partial<Record<InstalledPackage, (folder: string) => Promise<string>>> = {
  'llava-native': () =>
    Promise.resolve(`import { LLaVA } from 'llava-native'
const llava = await LLaVA.open()
const { text } = await llava.ask(${JSON.stringify(packageFile('models/demo.png'))}, '${question}')
llava.dispose()
console.log(text)
`),
  'node-llama-cpp': async (folder) => {
    await convertModel('default', path.join(folder, 'tiny'), { type: 'f16', pair: true })
    return `import { getLlama, LlamaCompletion } from 'node-llama-cpp'
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' })
const model = await llama.loadModel({ modelPath: 'tiny.gguf' })
const context = await model.createContext({ contextSize: 256 })
const completion = new LlamaCompletion({ contextSequence: context.getSequence() })
console.log(await completion.generateCompletion('USER: ${question} ASSISTANT:', { maxTokens: 16, temperature: 0 }))
await llama.dispose()
`
  },
}

const run = promisify(execFile)

class Project {
  readonly #answers: string[] = []
  readonly #milliseconds = { node: [] as number[], import: [] as number[], answer: [] as number[] }

  private constructor(
    readonly name: InstalledPackage,
    readonly folder: string,
    readonly answers: boolean,
    readonly installed: Pick<InstallLine, 'version' | 'installSeconds' | 'nbytes'>,
  ) {}

  static async install(name: InstalledPackage, directory: string): Promise<Project> {
    const folder = path.join(directory, name.replace('/', '-'))
    await mkdir(folder, { recursive: true })
    const cache = path.join(folder, 'npm-cache')
    await writeFile(path.join(folder, 'package.json'), '{ "name": "project", "private": true, "type": "module" }')
    const words = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--cache', cache, await specifier(name)]
    const start = performance.now()
    await run('npm', words, { cwd: folder })
    const installSeconds = (performance.now() - start) / 1e3
    await rm(cache, { recursive: true })

    const { stdout } = await run('du', ['-sk', '--apparent-size', 'node_modules'], { cwd: folder })
    const manifest = JSON.parse(await readFile(path.join(folder, 'node_modules', name, 'package.json'), 'utf8')) as {
      readonly version: string
    }
    await writeFile(path.join(folder, 'nothing.js'), '')
    await writeFile(
      path.join(folder, 'import.js'),
      `const start = performance.now()\nawait import('${name}')\nconsole.log(performance.now() - start)\nprocess.exit()\n`,
    )
    const program = await answering[name]?.(folder)
    if (program !== undefined) await writeFile(path.join(folder, 'answer.js'), program)
    const { version } = manifest
    const nbytes = Number.parseInt(stdout, 10) * 1024
    return new Project(name, folder, program !== undefined, { version, installSeconds, nbytes })
  }

  async takeTurn(): Promise<void> {
    this.#milliseconds.node.push((await this.#time('nothing.js')).milliseconds)
    this.#milliseconds.import.push(Number((await this.#time('import.js')).stdout))
    if (!this.answers) return
    const { milliseconds, stdout } = await this.#time('answer.js')
    this.#milliseconds.answer.push(milliseconds)
    this.#answers.push(stdout.trim())
  }

  async #time(file: string): Promise<{ readonly milliseconds: number; readonly stdout: string }> {
    const start = performance.now()
    const { stdout } = await run(process.execPath, [file], { cwd: this.folder })
    return { milliseconds: performance.now() - start, stdout }
  }

  line(load: InstallLine['load']): InstallLine {
    const { node, import: imports, answer } = this.#milliseconds
    return {
      kind: 'install',
      package: this.name,
      ...this.installed,
      importMs: median(imports),
      ...(this.answers ? { answerMs: median(answer), answer: this.#answers[0]! } : {}),
      nodeMs: median(node),
      load,
    }
  }
}

/** What npm is asked for: of ours the file that `npm run package` makes. */
async function specifier(name: InstalledPackage): Promise<string> {
  if (name !== 'llava-native') return name
  const { version } = JSON.parse(await readFile(packageFile('package.json'), 'utf8')) as { readonly version: string }
  return packageFile(`build/llava-native-${version}.tgz`)
}
