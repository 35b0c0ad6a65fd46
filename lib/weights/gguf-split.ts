// A GGUF in several parts, `name-00001-of-00003.gguf` …: metadata stands in the first, tensors in any; together they make one header.

import path from 'node:path'
import { access } from 'node:fs/promises'
import { readGgufHeader, type GgufHeader } from './gguf.js'
import { corrupt, notFound } from './model-error.js'

const partName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i

/** Of a directory's GGUF files, those that a model is opened by: whole files, and the first part at hand of each split one. */
export function firstParts(names: readonly string[]): readonly string[] {
  const seen = new Set<string>()
  return names.toSorted().filter((name) => {
    const [, stem, , count] = partName.exec(name) ?? []
    if (stem === undefined) return true
    const split = `${stem}-of-${count}`
    return !seen.has(split) && seen.add(split)
  })
}

/** The names of all parts of the file that is called `name`, in order; its own where it is whole. */
export function partNames(name: string): readonly string[] {
  const [, stem, , count] = partName.exec(name) ?? []
  return stem === undefined
    ? [name]
    : Array.from({ length: Number(count) }, (_, i) => `${stem}-${number(i + 1)}-of-${count}.gguf`)
}

/** The header of the file at `file`; where it is one part of several, that of all of them. */
export async function readWholeGguf(file: string): Promise<GgufHeader> {
  const part = await readGgufHeader(file)
  const count = part.metadata.get('split.count') ?? 1
  if (count === 0 || count === 1) return part
  const [, stem, , counted] = partName.exec(path.basename(file)) ?? []
  if (typeof count !== 'number' || stem === undefined || Number(counted) !== count)
    throw corrupt(
      file,
      `it is one of ${String(count)} parts, but its name does not say which (name-00001-of-${number(Number(count))}.gguf)`,
    )
  const paths = partNames(path.basename(file)).map((name) => path.join(path.dirname(file), name))
  await checkAllThere(file, paths)
  return joined(paths.length, await readAll(paths))
}

function number(n: number): string {
  return String(n).padStart(5, '0')
}

async function checkAllThere(file: string, paths: readonly string[]): Promise<void> {
  for (const each of paths) {
    await access(each).catch((cause: unknown) => {
      throw notFound(file, `of its ${paths.length} parts ${path.basename(each)} is missing`, cause)
    })
  }
}

/** One after the other: a header may take megabytes. */
async function readAll(paths: readonly string[]): Promise<readonly GgufHeader[]> {
  const parts: GgufHeader[] = []
  for (const each of paths) parts.push(await readGgufHeader(each))
  return parts
}

function joined(count: number, parts: readonly GgufHeader[]): GgufHeader {
  const [first] = parts
  const tensors = parts.flatMap((part) => part.tensors)
  for (const [i, { path: where, metadata }] of parts.entries()) {
    const [no, of] = [metadata.get('split.no'), metadata.get('split.count')]
    if (typeof no !== 'number' || of === undefined)
      throw corrupt(where, `it should be part ${i + 1} of ${count}, but does not say which part it is`)
    if (no !== i || of !== count)
      throw corrupt(where, `it should be part ${i + 1} of ${count}, but calls itself part ${no + 1} of ${String(of)}`)
    const total = metadata.get('split.tensors.count')
    if (total !== tensors.length)
      throw corrupt(where, `the parts should hold ${String(total)} tensors together, but hold ${tensors.length}`)
  }
  return { ...(first as GgufHeader), tensors }
}
