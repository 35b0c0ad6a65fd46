// Which file is the compiled addon on this machine, and what stands in the way where none loads. A file is mapped at the first use, never at import.

import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { LlavaError } from './errors.js'
import { packageRoot } from './package-files.js'

let given: unknown

/** Takes an addon that is loaded already: `llava-native/linux-x64` and its like load theirs by a path that bundlers follow. */
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
  /** `musl 1.2.5` */
  readonly libc?: string
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
  const libc = target.libc === undefined ? '' : `, ${target.libc}`
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

interface DetectLibc {
  familySync(): string | null
  versionSync(): string | null
}

/** What this process needs. */
export function thisTarget(): Target {
  const { platform, arch } = process
  const name = `${platform}-${arch}`
  if (platform !== 'linux' || packageRoot === undefined) return { name }
  const libc = createRequire(import.meta.url)('detect-libc') as DetectLibc
  const family = libc.familySync() ?? 'glibc'
  return { name: family === 'musl' ? `${name}-musl` : name, libc: `${family} ${libc.versionSync() ?? ''}`.trim() }
}
