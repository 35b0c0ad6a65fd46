// Which of many GGUF files make up a model: a language model, all its parts, and the vision half that goes with it. By their names alone: of a repository
// nothing else is at hand before the download. `llava-v1.5-7b-Q4_K_M.gguf` is of type q4_k_m, and whatever has mmproj in its name is a vision half.

import path from 'node:path'
import { LlavaError } from '../errors.js'
import { conversionTypes } from '../weights/conversion-plan.js'
import { firstParts, partNames } from '../weights/gguf-split.js'

/** Types of GGUF files, as their names give them. */
export const pullTypes = [...conversionTypes, 'q5_k_s', 'q4_k_s', 'q3_k_l', 'q3_k_s'] as const

export type PullType = (typeof pullTypes)[number]

export interface Wanted {
  readonly type?: PullType
  /** The path of one of the files; for a split one, of any part. */
  readonly file?: string
}

export interface GgufChoice {
  /** All parts in order. */
  readonly language: readonly string[]
  /** Absent where there is none. */
  readonly vision?: readonly string[]
}

/** The better one first: four bits, where nothing else is asked for. */
const languageTypes: readonly PullType[] = ['q4_k_m', 'q4_0', 'q4_k_s', 'q4_1']

/** Halves and better: towers are small, and lose more by quantisation. */
const visionTypes: readonly PullType[] = ['f16', 'bf16', 'f32', 'q8_0']

export function isGguf(file: string): boolean {
  return /\.gguf$/i.test(file)
}

/** Chooses among the paths of files at `where`. @throws LlavaError MODEL_NOT_FOUND where none fits, INVALID_ARGUMENT where several do. */
export function chooseGguf(where: string, paths: readonly string[], { type, file }: Wanted): GgufChoice {
  const ggufs = firstParts(paths.filter(isGguf))
  const languages = ggufs.filter((name) => !isVision(name))
  if (ggufs.length === 0) throw new LlavaError('MODEL_NOT_FOUND', `${where}: no GGUF file is there`)
  if (file !== undefined && isVision(file)) return { language: wholeOf(where, paths, named(where, ggufs, file)) }
  const language = file === undefined ? chooseLanguage(where, languages, type) : named(where, ggufs, file)
  const visions = bestVisions(ggufs.filter(isVision))
  if (visions.length > 1 && file === undefined) throw several(where, visions)
  const vision = visions.length === 1 ? visions[0] : undefined // of several, the caller takes one by its own name
  return {
    language: wholeOf(where, paths, language),
    ...(vision !== undefined && { vision: wholeOf(where, paths, vision) }),
  }
}

/** Of the paths of files, those that a language model is opened by. */
export function languageFiles(paths: readonly string[]): readonly string[] {
  return firstParts(paths.filter(isGguf)).filter((name) => !isVision(name))
}

/** Paths of all parts of the file that this one is, or is a part of. */
export function partPaths(file: string): readonly string[] {
  return partNames(path.posix.basename(file)).map((name) => path.posix.join(path.posix.dirname(file), name))
}

function isVision(name: string): boolean {
  return /mmproj/i.test(path.posix.basename(name))
}

/** Paths of all parts of a file. */
function wholeOf(where: string, paths: readonly string[], first: string): readonly string[] {
  const parts = partPaths(first)
  const missing = parts.find((part) => !paths.includes(part))
  if (missing !== undefined)
    throw new LlavaError('MODEL_NOT_FOUND', `${where}: of ${parts.length} parts ${missing} is missing`)
  return parts
}

function named(where: string, ggufs: readonly string[], file: string): string {
  const [directory, base] = [path.posix.dirname(file), path.posix.basename(file)]
  const first = ggufs.find(
    (name) => path.posix.dirname(name) === directory && partNames(path.posix.basename(name)).includes(base),
  )
  if (first === undefined)
    throw new LlavaError('MODEL_NOT_FOUND', `${where}: ${file} is not there, but ${listed(ggufs)}`)
  return first
}

function chooseLanguage(where: string, languages: readonly string[], type: PullType | undefined): string {
  const wanted = type === undefined ? languageTypes : [type]
  const [chosen, ...others] =
    wanted.map((one) => languages.filter((name) => typeOf(name) === one)).find(({ length }) => length > 0) ?? []
  if (chosen !== undefined && others.length === 0) return chosen
  if (chosen !== undefined) throw several(where, [chosen, ...others])
  const [only, ...more] = languages
  if (only === undefined) throw new LlavaError('MODEL_NOT_FOUND', `${where}: no language model is there`)
  if (type !== undefined)
    throw new LlavaError('MODEL_NOT_FOUND', `${where}: no file of type ${type} is there, but ${listed(languages)}`)
  if (more.length > 0) throw several(where, languages)
  return only
}

function bestVisions(visions: readonly string[]): readonly string[] {
  return (
    visionTypes.map((type) => visions.filter((name) => typeOf(name) === type)).find(({ length }) => length > 0) ??
    visions
  )
}

/** The last word of a name that is a type; `q4_k` alone is llama.cpp's other name for `q4_k_m`. */
export function typeOf(name: string): string | undefined {
  const words = path.posix
    .basename(name)
    .toLowerCase()
    .match(/(?<=^|[-_.])(?:bf16|f16|f32|q\d_k_[sml]|q\d_k|q\d_\d)(?=[-_.])/g)
  return words?.at(-1)?.replace(/^(q[345]_k)$/, '$1_m')
}

function several(where: string, names: readonly string[]): LlavaError {
  return new LlavaError(
    'INVALID_ARGUMENT',
    `${where}: several files fit; name one of them as ${where}:FILE: ${listed(names)}`,
  )
}

function listed(names: readonly string[]): string {
  return names.join(', ')
}
