// The cache that downloads from the hub share, laid out as huggingface_hub lays out its own, so that each finds what the other has downloaded:
//   models--OWNER--NAME/blobs/ETAG                    a file's bytes, under their SHA-256 or, where git itself holds them, the SHA-1 of git's blob
//   models--OWNER--NAME/snapshots/COMMIT/PATH         a link to them, under the file's name
//   models--OWNER--NAME/refs/main                     the commit that the name stands for
// A blob gets its name once its bytes are verified, a snapshot its links once all blobs are there, and refs/main is written last.

import path from 'node:path'
import { link, mkdir, readFile, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { outputFailure } from '../errors.js'

/** A file with its place in a repository. */
export interface CachedFile {
  readonly path: string
  readonly etag: string
}

const branch = 'main'

export class RepositoryCache {
  readonly #folder: string
  readonly #locks: string

  private constructor(cache: string, folder: string) {
    this.#folder = path.join(cache, folder)
    this.#locks = path.join(cache, '.locks', folder)
  }

  /** @param repository `owner/name` */
  static async of(repository: string, cacheDirectory: string): Promise<RepositoryCache> {
    const { getRepoFolderName } = await import('@huggingface/hub')
    return new RepositoryCache(cacheDirectory, getRepoFolderName({ name: repository, type: 'model' }))
  }

  get blobs(): string {
    return path.join(this.#folder, 'blobs')
  }

  blob(etag: string): string {
    return path.join(this.blobs, etag)
  }

  /** Not the name that huggingface_hub gives what it is downloading: it would append to the same file. */
  incomplete(etag: string): string {
    return `${this.blob(etag)}.llava-incomplete`
  }

  lock(etag: string): string {
    return path.join(this.#locks, `${etag}.llava-lock`)
  }

  /** Where a file of a commit is found under its own name. */
  file(commit: string, name: string): string {
    return path.join(this.#folder, 'snapshots', commit, name)
  }

  /** Makes the directories that downloads are written to. */
  async prepare(): Promise<void> {
    await outputFailure(this.blobs, () => mkdir(this.blobs, { recursive: true }))
    await outputFailure(this.#locks, () => mkdir(this.#locks, { recursive: true }))
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
    const ref = path.join(this.#folder, 'refs', branch)
    await outputFailure(ref, () => replace(ref, (temporary) => writeFile(temporary, commit)))
  }

  /** The commit that was published last and the paths of its files that are whole; undefined where there is none. */
  async published(): Promise<{ readonly commit: string; readonly paths: readonly string[] } | undefined> {
    const commit = (await readFile(path.join(this.#folder, 'refs', branch), 'utf8').catch(() => '')).trim()
    if (!/^[0-9a-f]{40}$/.test(commit)) return undefined
    const names = await readdir(this.file(commit, ''), { recursive: true }).catch(() => [])
    const paths: string[] = []
    for (const name of names.sort()) {
      if ((await stat(this.file(commit, name)).catch(() => undefined))?.isFile() === true) paths.push(name.replaceAll(path.sep, '/'))
    }
    return { commit, paths }
  }
}

/** A symbolic link, or where the system has none for us (Windows), a hard one. */
async function linkTo(blob: string, place: string): Promise<void> {
  await replace(place, async (temporary) => {
    await symlink(path.relative(path.dirname(place), blob), temporary).catch(() => link(blob, temporary))
  })
}

/** Makes a file under another name, then gives it its own, which may be taken. */
async function replace(file: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`
  await mkdir(path.dirname(file), { recursive: true })
  await rm(temporary, { force: true })
  await make(temporary)
  await rename(temporary, file)
}
