// Pictures that went through tower and projector, kept for the next question about them: known by what the tower saw,
// so that one file, its copy and its pixels are the same. The least recently used leave when there is no room. Equal
// pictures that come at once are computed once. Where there is a store on disk (picture-store.ts), it is asked before
// the tower.

import { LRUCache } from 'lru-cache'
import type { Encoded } from './batches.js'
import type { Job } from './job.js'
import { nameRows, pictureDigest } from './position-keys.js'
import type { PictureStore, StoredPicture, StoreUse } from './picture-store.js'
import { SharedFeatures } from './shared-features.js'
import { withResolvers } from './with-resolvers.js'
import { guardedNow, type ImageResult, type NativeImageFeatures } from '../native.js'

/** What a cache holds and what it was good for. */
export interface CacheUse {
  readonly entries: number
  readonly bytes: number
  readonly limit: number
  readonly hits: number
  readonly misses: number
}

/** What is done with what a store has. */
type Restore = (results: readonly ImageResult[], values: StoredPicture) => Promise<NativeImageFeatures>

/** A store on disk, and how its pictures come back into the model's memory. */
export interface BackingStore {
  readonly store: PictureStore
  readonly restore: Restore
}

type Encode = (
  pixelValues: Float32Array,
  results: readonly ImageResult[],
  job: Job,
) => Promise<Encoded<NativeImageFeatures>>

export class PictureCache {
  readonly #limit: number
  readonly #bytesOf: (result: ImageResult) => number
  readonly #encode: Encode
  readonly #backing: BackingStore | undefined
  readonly #kept: LRUCache<string, SharedFeatures> | undefined
  /** Pictures under way; never rejected. */
  readonly #underWay = new Map<string, Promise<void>>()
  #hits = 0
  #misses = 0

  /**
   * @param limit bytes of what is kept, at most; 0 keeps nothing
   * @param bytesOf what a result of a picture takes
   */
  constructor(limit: number, bytesOf: (result: ImageResult) => number, encode: Encode, backing?: BackingStore) {
    this.#backing = backing
    this.#limit = limit
    this.#bytesOf = bytesOf
    this.#encode = encode
    if (limit > 0) {
      this.#kept = new LRUCache({
        maxSize: limit,
        dispose: (features) => {
          features.release()
        },
      })
    }
  }

  get use(): CacheUse {
    const { size: entries = 0, calculatedSize: bytes = 0 } = this.#kept ?? {}
    return { entries, bytes, limit: this.#limit, hits: this.#hits, misses: this.#misses }
  }

  /** Of the store on disk, where there is one. */
  get storeUse(): StoreUse | undefined {
    return this.#backing?.store.use
  }

  /** `results` of a picture whose digest alone is known, if they are remembered. The caller releases them. */
  async find(digest: string, results: readonly ImageResult[]): Promise<SharedFeatures | undefined> {
    const key = `${digest} ${results.join()}`
    const known = this.#kept?.get(key)
    if (known !== undefined) return known.retain()
    const stored = await this.#stored(digest, results)
    return stored && this.#keep(stored, digest, key, results)
  }

  /** `results` of a picture, computed or remembered. The caller releases them. */
  async get(pixelValues: Float32Array, results: readonly ImageResult[], job: Job): Promise<SharedFeatures> {
    const digest = pictureDigest(pixelValues)
    const key = `${digest} ${results.join()}`
    for (let other = this.#underWay.get(key); other !== undefined; other = this.#underWay.get(key))
      await job.race(other)
    const known = this.#kept?.get(key)
    if (known !== undefined) {
      this.#hits++
      return known.retain()
    }
    this.#misses++
    const { promise, resolve } = withResolvers()
    this.#underWay.set(key, promise)
    try {
      const stored = await this.#stored(digest, results)
      if (stored !== undefined) return this.#keep(stored, digest, key, results)
      const { result } = await this.#encode(pixelValues, results, job)
      this.#backing?.store.put(digest, results, () => results.map((kind) => guardedNow(() => result.read(kind))))
      return this.#keep(result, digest, key, results)
    } finally {
      this.#underWay.delete(key)
      resolve()
    }
  }

  async #stored(digest: string, results: readonly ImageResult[]): Promise<NativeImageFeatures | undefined> {
    const values = await this.#backing?.store.get(digest, results)
    return values && this.#backing?.restore(results, values)
  }

  #keep(image: NativeImageFeatures, digest: string, key: string, results: readonly ImageResult[]): SharedFeatures {
    nameRows(image, digest)
    const features = new SharedFeatures(image)
    const size = results.reduce((sum, kind) => sum + this.#bytesOf(kind), 0)
    if (this.#kept !== undefined && size <= this.#limit) this.#kept.set(key, features.retain(), { size })
    return features
  }

  /** Resolves once what is on its way to the disk is there. */
  async settled(): Promise<void> {
    await this.#backing?.store.settled()
  }

  /** Forgets all pictures in memory; those in use stay until their users release them. */
  clear(): void {
    this.#kept?.clear()
  }
}
