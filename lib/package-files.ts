// Where files of this package lie: its models, its binaries. Found from this module upwards, as it may be bundled with
// others.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the package; undefined in a bundle that somebody made of it. */
export const packageRoot = findRoot()

function findRoot(): string | undefined {
  // a bundle in CommonJS has no URL
  const { url } = import.meta as { readonly url?: string }
  if (url === undefined) return undefined
  for (
    let folder = path.dirname(fileURLToPath(url)), up = '';
    folder !== up;
    up = folder, folder = path.dirname(folder)
  )
    if (existsSync(path.join(folder, 'models/default.gguf')) && existsSync(path.join(folder, 'package.json')))
      return unpacked(folder)
  return undefined
}

/**
 * Electron packs an application into app.asar, out of which nothing can be mapped, and unpacks what it is told to
 * beside it.
 */
function unpacked(folder: string): string {
  const beside = folder.replace(/\bapp\.asar(?=[\\/])/, 'app.asar.unpacked')
  return existsSync(beside) ? beside : folder
}

/** The path of a file that comes with the package. */
export function packageFile(name: string): string {
  return path.join(packageRoot ?? 'llava-native', name)
}
