// sharp, loaded at the first picture, not at import.

import { createRequire } from 'node:module'
import type sharp from 'sharp'

/**
 * sharp's CommonJS form: its ESM form has the same code and takes three times as long to load, as Node reads through
 * the 50 files of its CommonJS dependencies for their exports first.
 */
export async function loadSharp(): Promise<typeof sharp> {
  const { url } = import.meta as { readonly url?: string }
  // somebody's bundle in CommonJS has no URL, and there import() is require()
  if (url === undefined) return (await import('sharp')).default
  return createRequire(url)('sharp') as typeof sharp
}
