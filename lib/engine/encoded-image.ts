// A picture after tower and projector, kept to be asked about more than once.

import { LlavaError } from '../errors.js'
import type { ImageInput } from '../image/decode.js'
import type { Engine } from './engine.js'
import { digestOf } from './position-keys.js'
import type { SharedFeatures } from './shared-features.js'
import type { ImageResult, NativeImageFeatures } from '../native.js'

/** A picture to ask about: anything `decodeImage` reads, or one encoded before. */
export type ImageSource = ImageInput | EncodedImage

/**
 * An encoded picture, made by `LLaVA.encodeImage` and good for any number of questions to the model that made it.
 * It holds native memory: `dispose()` it, or bind it with `using`.
 */
export class EncodedImage implements Disposable {
  /** Rows this picture takes in the prompt: 576 at LLaVA 1.5's shape. */
  readonly rows: number
  readonly #shared: SharedFeatures
  readonly #engine: Engine
  #disposed = false

  /** Made by `LLaVA.encodeImage`. */
  constructor(shared: SharedFeatures, engine: Engine) {
    this.#shared = shared
    this.#engine = engine
    this.rows = shared.native.rows
  }

  /** What the vision tower gave: [rows, vision hidden size], row-major, a fresh copy. Throws DISPOSED after `dispose()`. */
  features(): Float32Array {
    return this.read('image_features')
  }

  /** What the decoder reads in place of token embeddings: [rows, text hidden size], row-major, a fresh copy. Throws DISPOSED after `dispose()`. */
  projected(): Float32Array {
    return this.read('projected')
  }

  /** A result by its name; see ImageResult. @internal */
  read(result: ImageResult): Float32Array {
    return this.#engine.read(this.#alive(), result)
  }

  /** Frees the native memory; a second call does nothing. An answer that is being written with this picture goes on. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#shared.release()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
    return Promise.resolve()
  }

  /** The native rows, for the model that made them, until `release()`. @internal */
  hold(engine: Engine): NativeImageFeatures {
    if (this.#engine !== engine) {
      throw new LlavaError(
        'INVALID_ARGUMENT',
        'this EncodedImage was made by another model; encode the picture with the one asked',
      )
    }
    this.#alive()
    return this.#shared.retain().native
  }

  /** @internal */
  release(): void {
    this.#shared.release()
  }

  /** SHA-256 of the pixel_values it was made of, in hexadecimal digits. @internal */
  get digest(): string {
    return digestOf(this.#shared.native)
  }

  /** A second EncodedImage of the same rows, to be disposed of by itself. @internal */
  share(): EncodedImage {
    this.#alive()
    return new EncodedImage(this.#shared.retain(), this.#engine)
  }

  #alive(): NativeImageFeatures {
    if (this.#disposed) throw new LlavaError('DISPOSED', 'this EncodedImage has been disposed of')
    this.#engine.checkAlive()
    return this.#shared.native
  }
}
