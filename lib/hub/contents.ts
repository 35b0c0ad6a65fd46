// What the cache holds of a repository, as it lies on the disk: names in snapshots, blobs, and which of them are the
// same file. That is told by the inode, as a name may be a symbolic link, a hard one, or, where huggingface_hub could
// make none, the file itself. No link is followed to find more.

import type { Stats } from 'node:fs'
import { lstat, readFile, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { bytesOnDisk, type RepositoryCache } from './cache.js'

/** A file's name in a snapshot. */
export interface NamedFile {
  readonly commit: string
  /** In the repository, with slashes. */
  readonly path: string
  /** Absolute. */
  readonly place: string
  /** Of its bytes; undefined where there are none any more. */
  readonly inode: string | undefined
  /** Bytes that go with the name itself: none of a link's. */
  readonly nbytes: number
}

export interface Blob {
  /** Absolute. */
  readonly place: string
  readonly inode: string
  readonly nbytes: number
  /** Whether all of it is there. */
  readonly whole: boolean
}

export interface Contents {
  readonly names: readonly NamedFile[]
  readonly blobs: readonly Blob[]
  /** Branches and other references, and the commits that they stand for. */
  readonly refs: ReadonlyMap<string, string>
}

export async function readContents(cache: RepositoryCache): Promise<Contents> {
  const names = await namesIn(path.join(cache.folder, 'snapshots'))
  return { names, blobs: await blobsIn(cache.blobs), refs: await refsIn(path.join(cache.folder, 'refs')) }
}

/** Bytes of whole blobs that no snapshot names. */
export async function unnamedBytes(cache: RepositoryCache): Promise<number> {
  const { names, blobs } = await readContents(cache)
  const named = new Set(names.map(({ inode }) => inode))
  return blobs.filter(({ whole, inode }) => whole && !named.has(inode)).reduce((sum, { nbytes }) => sum + nbytes, 0)
}

async function namesIn(snapshots: string): Promise<readonly NamedFile[]> {
  const places = await filesUnder(snapshots)
  const names = places.map(async (place) => {
    const [own, bytes] = await Promise.all([lstat(place), stat(place).catch(() => undefined)])
    const [commit = '', ...rest] = path.relative(snapshots, place).split(path.sep)
    const nbytes = own.isFile() ? bytesOnDisk(own) : 0
    return { commit, path: rest.join('/'), place, inode: bytes && inodeOf(bytes), nbytes }
  })
  return Promise.all(names)
}

async function blobsIn(directory: string): Promise<readonly Blob[]> {
  const blobs = (await filesUnder(directory)).map(async (place) => {
    const own = await lstat(place)
    const whole = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(path.basename(place))
    return { place, inode: inodeOf(own), nbytes: bytesOnDisk(own), whole }
  })
  return Promise.all(blobs)
}

async function refsIn(directory: string): Promise<ReadonlyMap<string, string>> {
  const refs = (await filesUnder(directory)).map(async (place) => {
    const commit = (await readFile(place, 'utf8').catch(() => '')).trim()
    return [path.relative(directory, place).replaceAll(path.sep, '/'), commit] as const
  })
  return new Map(await Promise.all(refs))
}

/** All that is no directory, however deep; nothing where the directory itself is a link or is not there. */
async function filesUnder(directory: string): Promise<readonly string[]> {
  if (!(await isRealDirectory(directory))) return []
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => path.join(entry.parentPath, entry.name))
}

/** A directory, and not a link to one. */
export async function isRealDirectory(location: string): Promise<boolean> {
  return (await lstat(location).catch(() => undefined))?.isDirectory() === true
}

function inodeOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`
}
