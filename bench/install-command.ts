// npm run bench -- install

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { listOf, whole } from './flags.js'
import { installedPackages, measureInstall, type InstalledPackage, type InstallLine } from './install.js'

interface InstallFlags {
  readonly packages: readonly InstalledPackage[]
  readonly repeat: number
  readonly json?: boolean
}

export function addInstall(program: Command): void {
  program
    .command('install')
    .description(
      'the package that `npm run package` made beside others: installing, size on the disk, import, and from `node` to an answer',
    )
    .option('--packages <list>', 'which, between commas', listOf(installedPackages), [...installedPackages])
    .option('--repeat <n>', 'turns of the processes, of which the median counts', whole, 9)
    .option('--json', 'JSON lines')
    .action(install)
}

async function install({ json, ...options }: InstallFlags): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-install-'))
  try {
    const lines = await measureInstall({ directory, ...options })
    if (json === true) for (const line of lines) console.log(JSON.stringify(line))
    else print(lines)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const columns = ['npm install', 'on the disk', 'import', 'an answer']

function print(lines: readonly InstallLine[]): void {
  const [first] = lines
  if (first === undefined) return
  const [before, after] = first.load
  console.log(
    `Node.js ${process.version}, of which a process that does nothing takes ${first.nodeMs.toFixed(0)} ms; load ${before.toFixed(1)} to ${after.toFixed(1)}`,
  )
  console.log(`${''.padEnd(34)}${columns.map((text) => text.padStart(13)).join('')}`)
  for (const line of lines) console.log(row(line))
}

function row({ package: name, version, installSeconds, nbytes, importMs, answerMs, answer }: InstallLine): string {
  const cells = [
    `${installSeconds.toFixed(1)} s`,
    `${(nbytes / 1e6).toFixed(0)} MB`,
    `${importMs.toFixed(0)} ms`,
    answerMs === undefined ? '' : `${answerMs.toFixed(0)} ms`,
  ]
  return `${`${name} ${version}`.padEnd(34)}${cells.map((text) => text.padStart(13)).join('')}  ${answer ?? ''}`
}
