// Which file is the compiled addon on this machine, and what stands in the way where none loads. A file is mapped at
// the first use, never at import.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { LlavaError } from './errors.js'
import { packageRoot } from './package-files.js'

let given: unknown

/**
 * Takes an addon that is loaded already: `llava-native/linux-x64` and its like load theirs by a path that bundlers
 * follow.
 */
export function useBinary(addon: unknown): void {
  given = addon
}

/** The addon. Fails with NATIVE_UNAVAILABLE, which says what was looked for, what is there, and what to do. */
export function loadBinary(): unknown {
  return given ?? loadFrom(process.env['LLAVA_NATIVE_PREBUILD'] ?? packageRoot, thisTarget())
}

/** What a binary must fit, and how to name it: `linux-x64-musl`. */
export interface Target {
  readonly name: string
  readonly libc?: 'glibc' | 'musl'
}

/** The binary of `target` in the package at `root`: one that was built there, else the one that came with it. */
export function loadFrom(root: string | undefined, target: Target): unknown {
  if (root === undefined)
    throw unavailable(
      target,
      'this is a bundle, in which no binary can be found',
      `keep llava-native external, or import llava-native/${target.name} in place of it`,
    )
  const files = [`build/Release/llava_native.node`, `prebuilds/${target.name}/llava_native.node`]
  const file = files.map((name) => path.join(root, name)).find((name) => existsSync(name))
  if (file === undefined) throw unavailable(target, `${root} holds ${listed(shipped(root))}`, rebuild)
  const module: { exports: unknown } = { exports: {} }
  try {
    process.dlopen(module, file)
  } catch (cause) {
    throw unavailable(target, `${file} does not load: ${reason(cause)}`, rebuild, cause)
  }
  return module.exports
}

const rebuild = 'run `npx llava rebuild` to build it here'

function unavailable(target: Target, what: string, advice: string, cause?: unknown): LlavaError {
  const { version, platform, arch } = process
  const libc = target.libc === undefined ? '' : `, ${[target.libc, glibcVersion()].filter(Boolean).join(' ')}`
  return new LlavaError(
    'NATIVE_UNAVAILABLE',
    `no native binary for ${target.name} (Node.js ${version} for ${platform} ${arch}${libc}): ${what}; ${advice}`,
    { cause },
  )
}

const reason = (cause: unknown): string => (cause instanceof Error ? cause.message.split('\n')[0]! : String(cause))

function shipped(root: string): readonly string[] {
  try {
    return readdirSync(path.join(root, 'prebuilds')).sort()
  } catch {
    return []
  }
}

function listed(targets: readonly string[]): string {
  return targets.length === 0 ? 'none at all' : `those for ${targets.join(', ')}`
}

/** What this process needs. */
export function thisTarget(): Target {
  const name = `${process.platform}-${process.arch}`
  if (process.platform !== 'linux') return { name }
  return isMusl() ? { name: `${name}-musl`, libc: 'musl' } : { name, libc: 'glibc' }
}

/**
 * Whether no glibc is mapped: a system may have both libraries, and what its files say is not what this process runs
 * on.
 */
function isMusl(): boolean {
  try {
    return !/\/libc(?:\.so\.6|-2\.\d+\.so)$/m.test(readFileSync('/proc/self/maps', 'latin1'))
  } catch {
    return glibcVersion() === undefined
  }
}

function glibcVersion(): string | undefined {
  const { header } = process.report.getReport() as { readonly header: { readonly glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime
}
