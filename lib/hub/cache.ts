// The cache that downloads from the hub share, laid out as huggingface_hub lays out its own, so that each finds what the other has downloaded:
//   models--OWNER--NAME/blobs/ETAG                    a file's bytes
//   models--OWNER--NAME/snapshots/COMMIT/PATH         a link to them, under the file's name
//   models--OWNER--NAME/refs/main                     the commit that the name stands for
// An etag is a SHA-256, or, for the small files that git itself holds, the SHA-1 of git's blob.
// A blob gets its name once its bytes are verified, a snapshot its links once all blobs are there, and refs/main is written last.

import { randomUUID } from 'node:crypto'
import type { Stats } from 'node:fs'
import path from 'node:path'
import { link, mkdir, readFile, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { LlavaError, outputFailure } from '../errors.js'

/** A file with its place in a repository. */
export interface CachedFile {
  readonly path: string
  readonly etag: string
}

/** A download that has begun. */
export interface BegunDownload {
  /** Bytes that have come, as far as the disk shows it. */
  readonly nbytes: number
  /** When the last of them came. */
  readonly at: Date
}

/**
 * Behind the name of a blob whose bytes are not all there. Not huggingface_hub's own: it would append to the same file.
 */
const incompleteSuffix = '.llava-incomplete'

const lockSuffix = '.llava-lock'

/** The branch that a name stands for. */
export const branch = 'main'

export class RepositoryCache {
  /** All that the cache has of the repository, but for locks. */
  readonly folder: string
  readonly locks: string

  private constructor(cache: string, folder: string) {
    this.folder = path.join(cache, folder)
    this.locks = path.join(cache, '.locks', folder)
  }

  /** The repositories that have a folder in the cache, as `owner/name`, in order. */
  static async repositories(cacheDirectory: string): Promise<readonly string[]> {
    const folders = (await entries(cacheDirectory)).map((name) => /^models--([^-]+(?:-[^-]+)*)--(.+)$/.exec(name))
    return folders.flatMap((match) => (match === null ? [] : [`${match[1]}/${match[2]}`])).sort()
  }

  /** @param repository `owner/name` */
  static async of(repository: string, cacheDirectory: string): Promise<RepositoryCache> {
    const { getRepoFolderName } = await import('@huggingface/hub')
    return new RepositoryCache(cacheDirectory, getRepoFolderName({ name: repository, type: 'model' }))
  }

  get blobs(): string {
    return path.join(this.folder, 'blobs')
  }

  blob(etag: string): string {
    return path.join(this.blobs, etag)
  }

  incomplete(etag: string): string {
    return this.blob(etag) + incompleteSuffix
  }

  /** Whether this is the name of a blob whose bytes are not all there. */
  static isIncomplete(name: string): boolean {
    return name.endsWith(incompleteSuffix)
  }

  /** Downloads that were left before their end, or are on their way. */
  async begun(): Promise<readonly BegunDownload[]> {
    const names = (await readdir(this.blobs).catch(() => [])).filter((name) => RepositoryCache.isIncomplete(name))
    const found = await Promise.all(names.map((name) => stat(path.join(this.blobs, name)).catch(() => undefined)))
    return found.flatMap((stats) => (stats === undefined ? [] : [{ nbytes: bytesOnDisk(stats), at: stats.mtime }]))
  }

  lock(etag: string): string {
    return path.join(this.locks, etag + lockSuffix)
  }

  /** The locks of this package's downloads that are there, whoever has left them. */
  async presentLocks(): Promise<readonly string[]> {
    const names = await readdir(this.locks).catch(() => [])
    return names.filter((name) => name.endsWith(lockSuffix)).map((name) => path.join(this.locks, name))
  }

  /** Where a file of a commit is found under its own name. */
  file(commit: string, name: string): string {
    return path.join(this.folder, 'snapshots', commit, name)
  }

  /** Makes the directories that downloads are written to. */
  async prepare(): Promise<void> {
    await outputFailure(this.blobs, () => mkdir(this.blobs, { recursive: true }))
    await outputFailure(this.locks, () => mkdir(this.locks, { recursive: true }))
  }

  /** Whether a file's bytes are there, all of them. */
  async has({ etag, nbytes }: { readonly etag: string; readonly nbytes: number }): Promise<boolean> {
    return (await stat(this.blob(etag)).catch(() => undefined))?.size === nbytes
  }

  /** Gives blobs their names in a commit, in this order, and makes that the commit of `refs/main`. */
  async publish(commit: string, files: readonly CachedFile[]): Promise<void> {
    for (const { path: name, etag } of files) {
      const place = this.file(commit, name)
      await outputFailure(place, () => linkTo(this.blob(etag), place))
    }
    const ref = path.join(this.folder, 'refs', branch)
    await outputFailure(ref, () => replace(ref, (temporary) => writeFile(temporary, commit)))
  }

  /** The commit that was published last and the paths of its files that are whole; undefined where there is none. */
  async published(): Promise<{ readonly commit: string; readonly paths: readonly string[] } | undefined> {
    const commit = (await readFile(path.join(this.folder, 'refs', branch), 'utf8').catch(() => '')).trim()
    if (!/^[0-9a-f]{40}$/.test(commit)) return undefined
    const names = await readdir(this.file(commit, ''), { recursive: true }).catch(() => [])
    const paths: string[] = []
    for (const name of names.sort()) {
      if ((await stat(this.file(commit, name)).catch(() => undefined))?.isFile() === true)
        paths.push(name.replaceAll(path.sep, '/'))
    }
    return { commit, paths }
  }
}

/** What stands in the cache, which need not be there yet. */
async function entries(cacheDirectory: string): Promise<readonly string[]> {
  try {
    return await readdir(cacheDirectory)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return []
    const problem = `the cache cannot be read (${code}); check HF_HUB_CACHE and HF_HOME`
    throw new LlavaError('MODEL_NOT_FOUND', `${cacheDirectory}: ${problem}`, { cause })
  }
}

/** A file with gaps takes less than it is long. Windows does not count blocks. */
export function bytesOnDisk({ size, blocks }: Stats): number {
  return process.platform === 'win32' ? size : Math.min(size, blocks * 512)
}

/** A symbolic link, or where the system has none for us (Windows), a hard one. */
async function linkTo(blob: string, place: string): Promise<void> {
  await replace(place, async (temporary) => {
    await symlink(path.relative(path.dirname(place), blob), temporary).catch(() => link(blob, temporary))
  })
}

/** Makes a file under another name, then gives it its own, which may be taken. */
async function replace(file: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${file}.${randomUUID()}.tmp`
  await mkdir(path.dirname(file), { recursive: true })
  try {
    await make(temporary)
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
