// Takes a repository, or some of its files, out of the cache again: their names in snapshots, then the blobs that no
// other name needs.
// Snapshots that another reference than main names (a tag, a branch that huggingface_hub has downloaded) keep their
// files. Those that none names are what main stood for before, and go as well. Only what lies in the repository's own
// folder is touched, and a folder that is a link is left alone.

import { readdir, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { LlavaError, outputFailure } from '../errors.js'
import { branch, RepositoryCache } from './cache.js'
import { isRealDirectory, readContents, type Blob, type Contents, type NamedFile } from './contents.js'
import { isHeld } from './lock.js'

export interface Removal {
  readonly names: readonly NamedFile[]
  readonly blobs: readonly Blob[]
  /** What the disk has free afterwards that it had not before. */
  readonly nbytes: number
  /** Whether nothing of the repository is left for `main` to stand for. */
  readonly whole: boolean
}

/** @param wanted Paths of the files to remove; undefined for all, with what of them is incomplete. */
export async function planRemoval(cache: RepositoryCache, wanted: ReadonlySet<string> | undefined): Promise<Removal> {
  const contents = await readContents(cache)
  const kept = keptCommits(contents)
  const isWanted = (name: string) => wanted === undefined || wanted.has(name)
  const names = contents.names.filter(({ commit, path: name }) => !kept.has(commit) && isWanted(name))
  const left = contents.names.filter((name) => !names.includes(name))
  const whole = !left.some(({ commit }) => !kept.has(commit))
  const needed = new Set(left.map(({ inode }) => inode))
  const going = new Set(names.map(({ inode }) => inode))
  const blobs = contents.blobs.filter(({ place, inode, whole: isWhole }) => {
    if (going.has(inode)) return !needed.has(inode)
    return wanted === undefined && !needed.has(inode) && (isWhole || RepositoryCache.isIncomplete(place))
  })
  return { names, blobs, nbytes: bytesOf(names, blobs), whole }
}

function keptCommits({ refs }: Contents): ReadonlySet<string> {
  return new Set([...refs].filter(([ref]) => ref !== branch).map(([, commit]) => commit))
}

/** The same bytes once, however many names they have. */
function bytesOf(names: readonly NamedFile[], blobs: readonly Blob[]): number {
  const byInode = new Map([...names, ...blobs].map(({ inode, nbytes }) => [inode, nbytes] as const))
  return [...byInode.values()].reduce((sum, nbytes) => sum + nbytes, 0)
}

/** Throws where the repository's folder is not the cache's own, or a process is downloading to it. */
export async function checkRemovable(what: string, cache: RepositoryCache): Promise<void> {
  for (const directory of [cache.folder, cache.blobs, path.join(cache.folder, 'snapshots')]) {
    if ((await isRealDirectory(directory)) || (await readdir(directory).catch(() => undefined)) === undefined) continue
    const problem = `${directory} is a link that leads out of the cache`
    throw new LlavaError('OUTPUT_FAILED', `${what}: ${problem}; remove what it leads to yourself`)
  }
  const held = await Promise.all((await cache.presentLocks()).map((lock) => isHeld(lock)))
  const advice = 'wait until it has ended, or stop it'
  if (held.includes(true)) throw new LlavaError('BUSY', `${what}: another process is downloading it; ${advice}`)
}

/** The name of the model goes first, so that nothing half removed has one. */
export async function carryOut({ names, blobs, whole }: Removal, cache: RepositoryCache): Promise<void> {
  const ref = path.join(cache.folder, 'refs', branch)
  for (const place of [...(whole ? [ref] : []), ...names.map((name) => name.place), ...blobs.map((blob) => blob.place)])
    await outputFailure(place, () => rm(place, { force: true }))
  for (const { place } of names) await removeEmpty(path.dirname(place), cache.folder)
  if (!whole) return
  for (const name of ['snapshots', 'blobs', 'refs']) await removeEmpty(path.join(cache.folder, name), cache.folder)
  const { names: others, blobs: foreign } = await readContents(cache)
  if (others.length + foreign.length === 0)
    await outputFailure(cache.folder, () => rm(cache.folder, { recursive: true, force: true }))
  for (const lock of await cache.presentLocks()) await rm(lock, { force: true })
  await rmdir(cache.locks).catch(() => undefined) // the locks of other programs stay
}

/** Removes a directory that holds nothing, and those above it, up to `top`. */
async function removeEmpty(directory: string, top: string): Promise<void> {
  for (let at = directory; at !== top; at = path.dirname(at)) {
    const removed = await rmdir(at).then(
      () => true,
      () => false,
    )
    if (!removed) return
  }
}
